"""What a set of tensors is, told from names and shapes."""

from __future__ import annotations

from ..specs import TextSpec, TransformerSpec, VQGANSpec
from .errors import CheckpointError
from .rename import Renamed


def vqgan_spec(vqgan: Renamed, norm_groups: int, junk_code: bool) -> VQGANSpec:
    """Read off everything that the tensors tell; the groups of a norm they do not."""
    levels = vqgan.count("encoder.down.{}")
    return VQGANSpec(
        level_channels=tuple(vqgan.shape(f"encoder.down.{i}.block.0.conv1.weight")[0] for i in range(levels)),
        res_blocks=vqgan.count("encoder.down.0.block.{}"),
        attention_levels=tuple(i for i in range(levels) if vqgan.count(f"encoder.down.{i}.attn.{{}}")),
        latent_channels=vqgan.shape("encoder.conv_out.weight")[0],
        code_dim=vqgan.shape("quantize.embedding.weight")[1],
        codebook_size=vqgan.shape("quantize.embedding.weight")[0],
        norm_groups=norm_groups,
        gumbel="quantize.proj.weight" in vqgan.tensors,
        junk_code=junk_code,
    )


def transformer_spec(transformer: Renamed, heads: int, grid: tuple[int, int] | None) -> TransformerSpec:
    """Read off everything that the tensors tell; the heads they do not. `grid` None: that of the position tables."""
    rows, width = transformer.shape("content_emb.emb.weight")
    tables = transformer.shape("content_emb.height_emb.weight")[0], transformer.shape("content_emb.width_emb.weight")[0]
    names = transformer.tensors.keys()
    conv = "blocks.0.mlp.conv1.weight" in names
    spec = TransformerSpec(
        codebook_size=rows - 1,
        grid=grid or tables,
        layers=transformer.count("blocks.{}"),
        width=width,
        heads=heads,
        num_timesteps=transformer.shape("blocks.0.ln1.emb.weight")[0],
        mlp="conv" if conv else "linear",
        mlp_ratio=transformer.shape("blocks.0.mlp.conv1.weight" if conv else "blocks.0.mlp.0.weight")[0] // width,
        position_grid=None if grid in (None, tables) else tables,
        **condition(transformer),
    )
    if spec.width % heads:
        raise CheckpointError(f"{transformer.what}: a width of {width} cannot be split among {heads} heads.")
    if spec.num_tokens > tables[0] * tables[1]:
        raise CheckpointError(f"{transformer.what}: position tables of {tables} do not reach a grid of {spec.grid}.")
    return spec


def condition(transformer: Renamed) -> dict:
    if "blocks.0.attn2.key.weight" in transformer.tensors:
        return {"condition": "text", "text_width": transformer.shape("blocks.0.attn2.key.weight")[1]}
    if "blocks.0.ln2.emb.weight" in transformer.tensors:
        return {"condition": "class", "class_rows": transformer.shape("blocks.0.ln2.emb.weight")[0]}
    return {"condition": "none"}


def text_spec(text: Renamed, heads: int, activation: str) -> TextSpec:
    vocabulary, width = text.shape("embeddings.token_embedding.weight")
    if heads < 1 or width % heads:
        raise CheckpointError(f"{text.what}: a width of {width} cannot be split among {heads} heads.")
    return TextSpec(
        vocabulary=vocabulary,
        length=text.shape("embeddings.position_embedding.weight")[0],
        width=width,
        layers=text.count("encoder.layers.{}"),
        heads=heads,
        mlp_width=text.shape("encoder.layers.0.mlp.fc1.weight")[0],
        activation=activation,
    )
