"""The files of a folder, told apart by the names in them, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .detect import CHECKPOINT, TAMING_GPT, detect
from .diffusers_files import has_weights, read_weights
from .errors import CheckpointError, shortlist
from .read import holds_tensors, read_tensors
from .rename import strip_wrappers

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
PIECE = re.compile(r"(.+)_([a-z]{2})")  # what `split` calls the pieces of a file
NESTED = ("model", "state_dict", "module", "model_state_dict")  # where trainers keep the tensors in what they save
FIRST_STAGE = "first_stage_model."  # the VQGAN of taming's two-stage models


@dataclass(frozen=True)
class File:
    path: Path
    kind: str
    state: Mapping[str, Tensor]


def files_of(place: Path) -> list[File]:
    """What lies in a folder, or a file and what lies beside it."""
    folder = place if place.is_dir() else place.parent
    check_joined(place, folder)
    files = [open_file(place)] if place.is_file() else []
    return files + [open_file(path) for path in tensor_files(folder) if path != place]


def tensor_files(folder: Path) -> Iterator[Path]:
    """The files that should hold tensors, by their name or by their first bytes, and folders of transformers."""
    pieces = {piece for group in pieces_in(folder).values() for piece in group}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path in pieces:
            continue
        if path.is_dir():
            yield from [path] if has_weights(path) else []
        elif path.suffix.lower() in SUFFIXES or (not path.suffix and path.is_file() and holds_tensors(path)):
            yield path


def open_file(path: Path) -> File:
    """A file, or a folder of transformers, told by its names."""
    content = read_weights(path)[0] if path.is_dir() else read_tensors(path)
    state = flatten(content)
    return File(path, detect(state), state)


def flatten(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of interest: no optimizer, and the average over the training, `ema`, in place of the last state."""
    nested = next((content[key] for key in NESTED if isinstance(content.get(key), dict)), content)
    state = {name.removeprefix(FIRST_STAGE): tensor for name, tensor in named_tensors(nested)}
    if isinstance(ema := content.get("ema"), dict):
        state |= {f"transformer.{name}": tensor for name, tensor in named_tensors(ema)}
    return state


def named_tensors(content: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    tensors = ((name, value) for name, value in content.items() if isinstance(name, str) and torch.is_tensor(value))
    return ((strip_wrappers(name), tensor) for name, tensor in tensors)


def choose_checkpoint(place: Path, files: list[File]) -> File:
    """The file that the model is in. An autoregressive one beside a checkpoint is there for its VQGAN."""
    named = [file for file in files if place.is_dir() or file.path == place]
    kinds = [[file for file in named if file.kind == kind] for kind in (CHECKPOINT, TAMING_GPT)]
    found = kinds[0] or kinds[1]
    if not found:
        raise CheckpointError(explain_no_checkpoint(place, files))
    if len(found) > 1:
        names = shortlist([file.path.name for file in found])
        raise CheckpointError(f"{place} holds several models ({names}): name one of the files, or give each a folder.")
    return found[0]


def explain_no_checkpoint(place: Path, files: list[File]) -> str:
    there = shortlist([f"{file.path.name} is {file.kind}" for file in files if place.is_dir() or file.path == place])
    return (
        f"{place} holds no VQ-Diffusion model ({there or 'no file in it holds tensors'}); expected a training "
        "checkpoint such as ithq_learnable.pth, or a folder in the diffusers layout with model_index.json."
    )


def is_original_folder(folder: Path) -> bool:
    return any(is_called_like_weights(path) and path.is_file() for path in folder.iterdir())


def is_called_like_weights(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or PIECE.fullmatch(path.name) is not None


def pieces_in(folder: Path) -> dict[str, list[Path]]:
    """{name of the whole: its pieces name_aa, name_ab ...}"""
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and (match := PIECE.fullmatch(path.name)) and (folder / f"{match[1]}_aa").exists():
            groups.setdefault(match[1], []).append(path)
    return groups


def check_joined(place: Path, folder: Path) -> None:
    """Raise CheckpointError for a file that is still in the pieces that it was published in."""
    there = {path.stem for path in folder.iterdir()}
    for whole, pieces in pieces_in(folder).items():
        if whole not in there and (place == folder or place in pieces):
            raise CheckpointError(explain_pieces(folder, whole, pieces))


def explain_pieces(folder: Path, whole: str, pieces: list[Path]) -> str:
    letters = [path.name[-2:] for path in pieces]
    wanted = [a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"]
    if gaps := [letter for letter in wanted[: wanted.index(letters[-1])] if letter not in letters]:
        return (
            f"{folder} holds {whole} in {len(pieces)} pieces, of which {whole}_{gaps[0]} is missing. Download it too."
        )
    return (
        f"{folder} holds {whole} in {len(pieces)} pieces, which must be joined first, in this folder: "
        f"cat {whole}_?? > {whole}.pth (on Windows: copy /b {whole}_a? {whole}.pth), then delete the pieces."
    )


def select_prefix(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a state dict under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
