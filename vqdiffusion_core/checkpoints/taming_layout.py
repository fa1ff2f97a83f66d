"""The two-stage models of taming-transformers: a GPT and the VQGAN whose codes it draws, in one Lightning file."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from ..diffusion.schedule import Schedule
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..networks.vqgan import VQGAN
from ..notices import notify
from . import key_maps
from .build import Dtypes, build, check_parts
from .errors import CheckpointError
from .original_files import File
from .probe import count, gpt_spec, shape_of, vqgan_spec
from .releases import CLASSES, HEADS, two_stages_like
from .rename import Weights, rename

IMAGE_OF_IMAGE = (
    "{}: this transformer draws an image from another one (a map of depths, segments or coordinates: {}), which cannot "
    "be given here. Expected one that draws classes, or without any condition."
)


def load_two_stages(file: File, name: str, dtypes: Dtypes) -> VQDiffusion:
    """Raises CheckpointError."""
    weights = read_gpt(file)
    codes, width = shape_of(weights, "tok_emb.weight", 2)
    known = two_stages_like(codes, count(weights, "blocks.{}"), width)
    if known is None:
        notify(f"{file.path.name} has no published shape; it is read as one of {HEADS} heads, without classes.")
    heads, condition = (known.heads, known.condition) if known else (HEADS, "none")
    spec = gpt_spec(weights, heads, side_of(weights), condition, CLASSES + 1)
    vqgan = rename(key_maps.VQGAN_TAMING, file.state, f"the VQGAN in {file.path}")
    codec = build(VQGAN, vqgan_spec(vqgan, norm_groups=32, junk_code=False), vqgan, dtypes.others)
    transformer = build(GPT, spec, weights, dtypes.transformer)
    model = VQDiffusion(name, transformer, Schedule.one_step(spec.codebook_size), codec)
    check_parts(model)
    return model


def read_gpt(file: File) -> Weights:
    if odd := [name for name in file.state if name.startswith("cond_stage_model.")]:
        raise CheckpointError(IMAGE_OF_IMAGE.format(file.path, odd[0]))
    if odd := [name for name in file.state if name.startswith("permuter.")]:
        raise CheckpointError(f"{file.path} does not draw row by row ({odd[0]}); expected no other order.")
    weights = rename(key_maps.GPT_TAMING, file.state, str(file.path))
    shape_of(weights, "pos_emb.weight", 3)
    return replace(weights, tensors={**weights.tensors, "pos_emb.weight": weights.tensors["pos_emb.weight"][0]})


def side_of(weights: Weights) -> tuple[int, int]:
    """The token grid, which is square. Behind one token for a class or for nothing lie all tokens but the last."""
    positions = shape_of(weights, "pos_emb.weight", 2)[0]
    side = isqrt(positions)
    if side * side != positions:
        raise CheckpointError(IMAGE_OF_IMAGE.format(weights.source, f"it has {positions} positions"))
    return side, side
