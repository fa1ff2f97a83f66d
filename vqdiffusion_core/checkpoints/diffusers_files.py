"""The files of the diffusers layout: which of a part's are read, whole or in shards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .diffusers_config import INDEX
from .errors import CheckpointError
from .read import read_tensors
from .read.text import read_json
from .rename import strip_wrappers

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = ("", ".fp16", ".bf16")  # the most exact first
WEIGHTS = [  # the best first
    name
    for variant in VARIANTS
    for suffix in ("safetensors", "bin")
    for stem in STEMS
    for name in (f"{stem}{variant}.{suffix}", f"{stem}.{suffix}.index{variant}.json")
]
HALF = [name for name in WEIGHTS if ".fp16." in name]


def is_diffusers_folder(folder: Path) -> bool:
    return (folder / INDEX).is_file() or (folder / "transformer").is_dir()


def has_weights(folder: Path) -> bool:
    return any((folder / name).exists() for name in WEIGHTS)


def read_weights(folder: Path, dtype: torch.dtype | None = None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a part, and the file to name in messages: full precision before half, unless float16 is what the
    weights are wanted in, then safetensors before pickles.
    """
    names = [*HALF, *WEIGHTS] if dtype is torch.float16 else WEIGHTS
    file = next((folder / name for name in names if (folder / name).exists()), None)
    if file is None:
        raise CheckpointError(
            f"{folder} has no weights; expected {WEIGHTS[0]} (or .bin, or .fp16.safetensors). "
            "Was the model copied or downloaded whole?"
        )
    state = read_shards(file) if file.suffix == ".json" else read_tensors(file)
    if odd := [name for name, tensor in state.items() if not (isinstance(name, str) and torch.is_tensor(tensor))]:
        raise CheckpointError(f"{file} holds {odd[0]!r}, which is no tensor; expected named tensors alone.")
    return {strip_wrappers(name): tensor for name, tensor in state.items()}, str(file)


def read_shards(index: Path) -> dict[str, Tensor]:
    shards = read_json(index).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) and all(map(is_plain, shards.values())) else set()
    if not names:
        raise CheckpointError(f"{index} names no files, or files outside its own folder. Not opened.")
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        state |= read_tensors(index.parent / name)
    return state


def shards_beside(index: str, names: list[str]) -> list[str]:
    """Of the names beside an index, those that its shards can have.

    >>> shards_beside("model.bin.index.json", ["model-00001-of-00002.bin", "model-00001-of-00002.fp16.bin"])
    ['model-00001-of-00002.bin']
    """
    stem, suffix, _, *variant, _ = index.split(".")
    number, kind = r"-[0-9]{5}-of-[0-9]{5}", "".join(rf"\.{name}" for name in variant)
    shard = re.compile(rf"{stem}({kind}{number}|{number}{kind})\.{suffix}")  # libraries put the variant here or there
    return [name for name in names if shard.fullmatch(name)]


def is_plain(name: Any) -> bool:
    """Whether a name from a file stays in the folder of that file."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. -]*", name) is not None
