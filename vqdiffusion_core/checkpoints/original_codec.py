"""The VQGAN of a model in the original layout: inside the checkpoint or beside it, whole or cut by a code map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..networks.vqgan import VQGAN
from . import key_maps
from .build import Dtypes, build
from .detect import CHECKPOINT, CODE_MAP, TAMING_GPT, TAMING_VQGAN
from .errors import CheckpointError, shortlist
from .original_files import File, choose_checkpoint, files_of, open_file, select_prefix
from .probe import codes_of, shape_of, vqgan_spec
from .releases import MIRROR, parts_for
from .rename import Weights, rename

CODECS = (TAMING_VQGAN, TAMING_GPT)  # the kinds of files that hold one
CODEBOOK = "quantize.embedding.weight"
CODE_TABLES = (CODEBOOK, "quantize.proj.weight", "quantize.proj.bias")  # a row a code


def load_codec(place: Path, dtypes: Dtypes) -> VQGAN:
    """The VQGAN of a file of its own, or of a model as `load_original` reads it. Raises CheckpointError."""
    files = [open_file(place)] if place.is_file() else files_of(place)
    if any(file.kind == CHECKPOINT for file in files):
        files = files_of(place)
        checkpoint = choose_checkpoint(place, files)
        weights = rename(key_maps.TRANSFORMER_ORIGINAL, checkpoint.state, str(checkpoint.path))
        return load_vqgan(checkpoint, files, codes_of(weights), dtypes)
    codecs = [file for file in files if file.kind in CODECS]
    if len(codecs) != 1:
        there = shortlist([f"{file.path.name} is {file.kind}" for file in files])
        raise CheckpointError(
            f"{place} holds {len(codecs)} codecs ({there or 'no tensors'}); expected one VQGAN, or "
            "the folder of a run of vqdiffusion train codec."
        )
    vqgan = rename(key_maps.VQGAN_TAMING, codecs[0].state, str(codecs[0].path))
    return build(VQGAN, vqgan_spec(vqgan, norm_groups=32, junk_code=False), vqgan, dtypes.others)


def holds_codec_alone(place: Path) -> bool:
    """Whether there is a VQGAN, and no transformer that it could belong to. Raises CheckpointError."""
    files = [open_file(place)] if place.is_file() else files_of(place)
    kinds = {file.kind for file in files}
    return TAMING_VQGAN in kinds and kinds.isdisjoint((CHECKPOINT, TAMING_GPT))


def load_vqgan(checkpoint: File, files: list[File], codes: int, dtypes: Dtypes) -> VQGAN:
    """The VQGAN, inside the checkpoint or beside it, that has `codes` codes or is left with them by a code map."""
    vqgan, code_map = choose_vqgan(checkpoint, files, codes)
    junk_code = code_map is not None and has_junk_code(code_map)
    vqgan = vqgan if code_map is None else cut_codebook(vqgan, code_map)
    return build(VQGAN, vqgan_spec(vqgan, norm_groups=32, junk_code=junk_code), vqgan, dtypes.others)


def choose_vqgan(checkpoint: File, files: list[File], codes: int) -> tuple[Weights, Tensor | None]:
    """The one that fits, and its code map where it takes one. Raises CheckpointError if there is none, or another."""
    if inside := select_prefix(key_maps.VQGAN_PREFIX, checkpoint.state):
        candidates = [rename(key_maps.VQGAN_IN_CHECKPOINT, inside, f"the VQGAN in {checkpoint.path}")]
    else:
        beside = [file for file in files if file.kind in CODECS]
        candidates = [rename(key_maps.VQGAN_TAMING, file.state, str(file.path)) for file in beside]
    maps = [next(iter(file.state.values())) for file in files if file.kind == CODE_MAP]
    fitting = [(vqgan, code_map) for vqgan in candidates for code_map in [None, *maps] if fits(vqgan, code_map, codes)]
    if len({vqgan.source for vqgan, _ in fitting}) != 1:
        raise CheckpointError(explain_no_vqgan(checkpoint, candidates, maps, codes))
    return fitting[0]


def fits(vqgan: Weights, code_map: Tensor | None, codes: int) -> bool:
    entries = shape_of(vqgan, CODEBOOK, 2)[0]
    if code_map is None:
        return entries == codes
    return len(code_map) == entries and set(code_map.tolist()) == set(range(codes))


def cut_codebook(vqgan: Weights, code_map: Tensor) -> Weights:
    """With the codes that a model uses alone: for each number in the map the first code that has it."""
    kept = torch.stack([(code_map == number).nonzero()[0, 0] for number in code_map.unique()])
    cut = {name: vqgan.tensors[name][kept] for name in CODE_TABLES if name in vqgan.tensors}
    return replace(vqgan, tensors={**vqgan.tensors, **cut})


def has_junk_code(code_map: Tensor) -> bool:
    """Whether number 0 stands for many codes: all that the model never learned to draw."""
    return int((code_map == code_map.min()).sum()) > 1


def explain_no_vqgan(checkpoint: File, candidates: list[Weights], maps: list[Tensor], codes: int) -> str:
    there = [f"{vqgan.source} has {shape_of(vqgan, CODEBOOK, 2)[0]} codes" for vqgan in candidates]
    there += [f"a code map leads from {len(code_map)} codes to {len(code_map.unique())}" for code_map in maps]
    return (
        f"{checkpoint.path} draws with {codes} codes and needs one VQGAN for them, {parts_for(codes)}, inside it or "
        f"beside it. There: {shortlist(there) or 'none'}. VQGANs are at {MIRROR}, code maps in help_folder/statistics "
        "of github.com/microsoft/VQ-Diffusion."
    )
