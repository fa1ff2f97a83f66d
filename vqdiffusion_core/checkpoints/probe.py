"""The shape of a network, read off the shapes of its weights: what no tensor tells is an argument."""

from __future__ import annotations

import re
from typing import Any, Literal

from ..networks.specs import GPTSpec, TextSpec, TransformerSpec, VQGANSpec
from .errors import CheckpointError
from .misfit import complaint, name_in_file
from .rename import Weights, pattern_of

ACTIVATIONS = ("quick_gelu", "gelu")  # of the CLIP models


def shape_of(weights: Weights, name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of a tensor that the part cannot be recognised without. Raises CheckpointError."""
    if name not in weights.tensors:
        told = complaint(weights, [name], weights.unknown)
        raise CheckpointError(f"{weights.source}: {name_in_file(weights, name)} is missing. {told}")
    shape = tuple(weights.tensors[name].shape)
    if len(shape) != dimensions or 0 in shape:
        theirs = name_in_file(weights, name)
        raise CheckpointError(f"{weights.source}: {theirs} is {shape}; expected {dimensions} sizes above 0.")
    return shape


def count(weights: Weights, pattern: str) -> int:
    """How many numbers stand at the one `{}` of the pattern among our names. Raises CheckpointError on a gap."""
    prefix = re.compile(pattern_of(pattern))
    numbers = {int(match[1]) for name in weights.tensors if (match := prefix.match(name))}
    if gaps := set(range(len(numbers))) - numbers:
        gap = name_in_file(weights, pattern.format(min(gaps)))
        raise CheckpointError(f"{weights.source}: {gap} is missing, though later ones exist. Was it cut short?")
    return len(numbers)


def vqgan_spec(vqgan: Weights, norm_groups: int, junk_code: bool, cells_alone: bool = False) -> VQGANSpec:
    """Read off everything that the tensors tell: not the groups of a norm, nor how codes are chosen."""
    levels = count(vqgan, "encoder.down.{}")
    spec = VQGANSpec(
        level_channels=tuple(shape_of(vqgan, f"encoder.down.{i}.block.0.conv1.weight", 4)[0] for i in range(levels)),
        res_blocks=count(vqgan, "encoder.down.0.block.{}"),
        attention_levels=tuple(i for i in range(levels) if count(vqgan, f"encoder.down.{i}.attn.{{}}")),
        latent_channels=shape_of(vqgan, "encoder.conv_out.weight", 4)[0],
        code_dim=shape_of(vqgan, "quantize.embedding.weight", 2)[1],
        codebook_size=shape_of(vqgan, "quantize.embedding.weight", 2)[0],
        norm_groups=norm_groups,
        gumbel="quantize.proj.weight" in vqgan.tensors,
        junk_code=junk_code,
        cells_alone=cells_alone,
    )
    if odd := [channels for channels in spec.level_channels if channels % norm_groups]:
        raise CheckpointError(f"{vqgan.source}: {odd[0]} channels cannot be normed in {norm_groups} groups.")
    return spec


def codes_of(transformer: Weights) -> int:
    """K: a row each, and one for the mask."""
    return shape_of(transformer, "content_emb.emb.weight", 2)[0] - 1


def transformer_spec(transformer: Weights, heads: int, grid: tuple[int, int] | None) -> TransformerSpec:
    """Read off everything that the tensors tell; the heads they do not. `grid` None: that of the position tables."""
    _, width = shape_of(transformer, "content_emb.emb.weight", 2)
    table_rows, _ = shape_of(transformer, "content_emb.height_emb.weight", 2)
    table_columns, _ = shape_of(transformer, "content_emb.width_emb.weight", 2)
    tables = table_rows, table_columns
    conv = "blocks.0.mlp.conv1.weight" in transformer.tensors
    mlp = ("blocks.0.mlp.conv1.weight", 4) if conv else ("blocks.0.mlp.0.weight", 2)
    spec = TransformerSpec(
        codebook_size=codes_of(transformer),
        grid=grid or tables,
        layers=count(transformer, "blocks.{}"),
        width=width,
        heads=heads,
        num_timesteps=shape_of(transformer, "blocks.0.ln1.emb.weight", 2)[0],
        mlp="conv" if conv else "linear",
        mlp_ratio=shape_of(transformer, *mlp)[0] // width,
        position_grid=None if grid in (None, tables) else tables,
        **condition_of(transformer),
    )
    if spec.width % heads:
        raise CheckpointError(f"{transformer.source}: a width of {width} cannot be split among {heads} heads.")
    if spec.num_tokens > tables[0] * tables[1]:
        raise CheckpointError(f"{transformer.source}: position tables of {tables} do not reach a grid of {spec.grid}.")
    return spec


def gpt_spec(
    gpt: Weights, heads: int, grid: tuple[int, int], condition: Literal["class", "none"], class_rows: int
) -> GPTSpec:
    """Read off everything that the tensors tell; what it draws from they do so for text alone."""
    codes, width = shape_of(gpt, "tok_emb.weight", 2)
    if width % heads:
        raise CheckpointError(f"{gpt.source}: a width of {width} cannot be split among {heads} heads.")
    prefix = shape_of(gpt, "pos_emb.weight", 2)[0] + 1 - grid[0] * grid[1]
    by_text = "text_emb.weight" in gpt.tensors
    if prefix != 1 and (prefix < 1 or not by_text):
        raise CheckpointError(f"{gpt.source}: its table of positions does not belong to a grid of {grid}.")
    return GPTSpec(
        codebook_size=codes,
        grid=grid,
        layers=count(gpt, "blocks.{}"),
        width=width,
        heads=heads,
        condition="text" if by_text else condition,
        text_width=shape_of(gpt, "text_emb.weight", 2)[1] if by_text else 512,
        class_rows=class_rows,
        prefix=prefix,
    )


def condition_of(transformer: Weights) -> dict[str, Any]:
    if "blocks.0.attn2.key.weight" in transformer.tensors:
        return {"condition": "text", "text_width": shape_of(transformer, "blocks.0.attn2.key.weight", 2)[1]}
    if "blocks.0.ln2.emb.weight" in transformer.tensors:
        return {"condition": "class", "class_rows": shape_of(transformer, "blocks.0.ln2.emb.weight", 2)[0]}
    return {"condition": "none"}


def text_spec(text: Weights, heads: int, activation: str) -> TextSpec:
    vocabulary, width = shape_of(text, "embeddings.token_embedding.weight", 2)
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"{text.source}: hidden_act is {activation!r}; expected one of {', '.join(ACTIVATIONS)}.")
    if heads < 1 or width % heads:
        raise CheckpointError(f"{text.source}: a width of {width} cannot be split among {heads} heads.")
    return TextSpec(
        vocabulary=vocabulary,
        length=shape_of(text, "embeddings.position_embedding.weight", 2)[0],
        width=width,
        layers=count(text, "encoder.layers.{}"),
        heads=heads,
        mlp_width=shape_of(text, "encoder.layers.0.mlp.fc1.weight", 2)[0],
        activation=activation,
    )
