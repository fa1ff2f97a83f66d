"""What a set of tensors is, told from names and shapes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..networks.specs import TextSpec, TransformerSpec, VQGANSpec
from .errors import CheckpointError
from .rename import Renamed

ACTIVATIONS = ("quick_gelu", "gelu")  # of the CLIP models

# What a file can be; they end a sentence that begins with "it is".
CHECKPOINT = "a VQ-Diffusion checkpoint"
TAMING_VQGAN = "a VQGAN"
TAMING_GPT = "taming's autoregressive transformer, of which VQ-Diffusion can use the VQGAN alone"
CODE_MAP = "a code map"
CLIP = "OpenAI's CLIP"
CLIP_TRANSFORMERS = "a CLIP of transformers"
UNKNOWN = "nothing that is known here"

SIGNS = (  # the first whose name is there decides
    ("model.diffusion_model.input_blocks.0.0.weight", "a Stable Diffusion checkpoint"),
    ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "a Flux checkpoint"),
    ("transformer.transformer.content_emb.emb.weight", CHECKPOINT),
    ("transformer.tok_emb.weight", TAMING_GPT),
    ("quantize.embedding.weight", TAMING_VQGAN),
    ("quantize.embedding", TAMING_VQGAN),
    ("quantize.embed.weight", TAMING_VQGAN),
    ("transformer.resblocks.0.attn.in_proj_weight", CLIP),
    ("text_model.embeddings.token_embedding.weight", CLIP_TRANSFORMERS),
    ("embeddings.token_embedding.weight", CLIP_TRANSFORMERS),
    ("latent_image_embedding.emb.weight", "the transformer of a diffusers folder, which needs the rest of that folder"),
    ("encoder.down_blocks.0.resnets.0.conv1.weight", "a VAE or VQGAN of a diffusers folder"),
)


def detect(state: Mapping[str, Tensor]) -> str:
    """What a set of tensors is, in words; one of the constants above for what can be used."""
    if len(state) == 1 and is_code_map(next(iter(state.values()))):
        return CODE_MAP
    return next((kind for name, kind in SIGNS if name in state), UNKNOWN)


def is_code_map(tensor: Tensor) -> bool:
    return tensor.dim() == 1 and not tensor.is_floating_point() and not tensor.is_complex()


def vqgan_spec(vqgan: Renamed, norm_groups: int, junk_code: bool) -> VQGANSpec:
    """Read off everything that the tensors tell; the groups of a norm they do not."""
    levels = vqgan.count("encoder.down.{}")
    spec = VQGANSpec(
        level_channels=tuple(vqgan.shape(f"encoder.down.{i}.block.0.conv1.weight", 4)[0] for i in range(levels)),
        res_blocks=vqgan.count("encoder.down.0.block.{}"),
        attention_levels=tuple(i for i in range(levels) if vqgan.count(f"encoder.down.{i}.attn.{{}}")),
        latent_channels=vqgan.shape("encoder.conv_out.weight", 4)[0],
        code_dim=vqgan.shape("quantize.embedding.weight", 2)[1],
        codebook_size=vqgan.shape("quantize.embedding.weight", 2)[0],
        norm_groups=norm_groups,
        gumbel="quantize.proj.weight" in vqgan.tensors,
        junk_code=junk_code,
    )
    if odd := [channels for channels in spec.level_channels if channels % norm_groups]:
        raise CheckpointError(f"{vqgan.what}: {odd[0]} channels cannot be normed in {norm_groups} groups.")
    return spec


def transformer_spec(transformer: Renamed, heads: int, grid: tuple[int, int] | None) -> TransformerSpec:
    """Read off everything that the tensors tell; the heads they do not. `grid` None: that of the position tables."""
    rows, width = transformer.shape("content_emb.emb.weight", 2)
    table_rows, _ = transformer.shape("content_emb.height_emb.weight", 2)
    table_columns, _ = transformer.shape("content_emb.width_emb.weight", 2)
    tables = table_rows, table_columns
    conv = "blocks.0.mlp.conv1.weight" in transformer.tensors
    mlp = ("blocks.0.mlp.conv1.weight", 4) if conv else ("blocks.0.mlp.0.weight", 2)
    spec = TransformerSpec(
        codebook_size=rows - 1,
        grid=grid or tables,
        layers=transformer.count("blocks.{}"),
        width=width,
        heads=heads,
        num_timesteps=transformer.shape("blocks.0.ln1.emb.weight", 2)[0],
        mlp="conv" if conv else "linear",
        mlp_ratio=transformer.shape(*mlp)[0] // width,
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
        return {"condition": "text", "text_width": transformer.shape("blocks.0.attn2.key.weight", 2)[1]}
    if "blocks.0.ln2.emb.weight" in transformer.tensors:
        return {"condition": "class", "class_rows": transformer.shape("blocks.0.ln2.emb.weight", 2)[0]}
    return {"condition": "none"}


def text_spec(text: Renamed, heads: int, activation: str) -> TextSpec:
    vocabulary, width = text.shape("embeddings.token_embedding.weight", 2)
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"{text.what}: hidden_act is {activation!r}; expected one of {', '.join(ACTIVATIONS)}.")
    if heads < 1 or width % heads:
        raise CheckpointError(f"{text.what}: a width of {width} cannot be split among {heads} heads.")
    return TextSpec(
        vocabulary=vocabulary,
        length=text.shape("embeddings.position_embedding.weight", 2)[0],
        width=width,
        layers=text.count("encoder.layers.{}"),
        heads=heads,
        mlp_width=text.shape("encoder.layers.0.mlp.fc1.weight", 2)[0],
        activation=activation,
    )
