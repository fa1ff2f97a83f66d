"""What a set of tensors is, told from its names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# What a file can be; they end a sentence that begins with "it is".
CHECKPOINT = "a VQ-Diffusion checkpoint"
TAMING_VQGAN = "a VQGAN"
TAMING_GPT = "an autoregressive transformer with its VQGAN"
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
