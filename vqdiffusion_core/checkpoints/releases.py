"""The published models, as data: what files each of them consists of, and what tells them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..networks.specs import TransformerSpec

HEADS = 16  # of every transformer in the authors' configurations; no file tells it
IMAGE_SIDE = 256  # pixels a side, of every model
CLASSES = 1000  # ImageNet's; a model with one row more has a trained null class
MIRROR = "https://github.com/tzco/storage/releases/tag/vqdiffusion"
ON_HUB = ("microsoft/vq-diffusion-ithq",)  # repositories of the Hugging Face hub in the diffusers layout

ITHQ_VQGAN = "ithq_vqvae.pth"
OPENIMAGES_VQGAN = "taming_f8_8192_openimages_last.pth"
IMAGENET_VQGAN = "vqgan_imagenet_f16_16384.pth"
FFHQ_VQGAN = "vqgan_ffhq_f16_1024.pth"


@dataclass(frozen=True)
class Release:
    """A model of the papers (Gu et al. 2022, Tang et al. 2022), its files called as they were published."""

    name: str
    checkpoint: str | None  # None: the transformer was never published
    codebook_size: int
    layers: int
    width: int
    condition: Literal["text", "class", "none"]
    learned_null: bool
    vqgan: str
    code_map: str | None = None


def base_text(name: str, checkpoint: str, learned_null: bool = False) -> Release:
    """The model of 19 layers, which five data sets were learned with."""
    return Release(
        name, checkpoint, 2887, 19, 1024, "text", learned_null, OPENIMAGES_VQGAN, code_map="taming_vqvae_2887.pt"
    )


def imagenet(name: str, checkpoint: str, learned_null: bool) -> Release:
    return Release(
        name, checkpoint, 974, 24, 512, "class", learned_null, IMAGENET_VQGAN, code_map="taming_vqvae_974.pt"
    )


RELEASES = (
    Release("ithq", "ithq_learnable.pth", 4096, 36, 1408, "text", learned_null=True, vqgan=ITHQ_VQGAN),
    base_text("coco", "coco_pretrained.pth"),
    base_text("coco-learnable", "coco_learnable.pth", learned_null=True),
    base_text("conceptual-captions", "CC_pretrained.pth"),
    base_text("conceptual-captions-learnable", "cc_learnable.pth", learned_null=True),
    base_text("cub-200", "cub_pretrained.pth"),
    base_text("laion-human", "human_pretrained.pth"),
    imagenet("imagenet", "imagenet_pretrained.pth", learned_null=False),
    imagenet("imagenet-learnable", "imagenet_learnable.pth", learned_null=True),
    Release("ffhq", None, 1024, 20, 512, "none", learned_null=False, vqgan=FFHQ_VQGAN),
)


@dataclass(frozen=True)
class TwoStages:
    """A transformer of taming-transformers (Esser et al. 2021): what its file does not tell, by what it does."""

    name: str
    codebook_size: int
    layers: int
    width: int
    heads: int
    condition: Literal["class", "none"]


TWO_STAGES = (
    TwoStages("ffhq or celebahq", 1024, 24, 1664, HEADS, "none"),
    TwoStages("cin", 16384, 48, 1536, 24, "class"),  # ImageNet
)


def releases_like(spec: TransformerSpec) -> list[Release]:
    """The releases of this shape: one, or those that differ in their training alone."""
    shape = (spec.codebook_size, spec.layers, spec.width, spec.condition)
    return [r for r in RELEASES if shape == (r.codebook_size, r.layers, r.width, r.condition)]


def parts_for(codebook_size: int) -> str:
    """The files, beside the checkpoint, that a codebook of this size is made from, in words.

    >>> parts_for(974)
    'vqgan_imagenet_f16_16384.pth with taming_vqvae_974.pt'
    """
    releases = [release for release in RELEASES if release.codebook_size == codebook_size]
    parts = [r.vqgan + (f" with {r.code_map}" if r.code_map else "") for r in releases]
    return " or ".join(dict.fromkeys(parts)) or f"a VQGAN of {codebook_size} codes"


def two_stages_like(codebook_size: int, layers: int, width: int) -> TwoStages | None:
    """The published transformer of taming-transformers that has this shape."""
    shape = (codebook_size, layers, width)
    return next((each for each in TWO_STAGES if shape == (each.codebook_size, each.layers, each.width)), None)
