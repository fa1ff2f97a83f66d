"""Model files: what is on the user's disk -> a VQDiffusion, and back.

`load` knows a folder by its content: read -> identify -> rename, strictly -> build without memory -> fill.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from ..model import VQDiffusion
from .build import Dtypes, choose_dtype
from .diffusers_layout import is_diffusers_folder, load_folder, write_folder
from .errors import CheckpointError

__all__ = ["POCKET_FOLDER", "CheckpointError", "choose_dtype", "find", "load", "save"]

POCKET_FOLDER = Path(__file__).parents[1] / "pocket"  # the embedded model


def load(path: str | os.PathLike, dtype: str | torch.dtype = "auto") -> VQDiffusion:
    """A model from a folder. `dtype`: the transformer's, see `choose_dtype`. Raises CheckpointError."""
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; expected the folder of a model.")
    if not is_diffusers_folder(folder):
        raise CheckpointError(
            f"{folder} holds no model in the diffusers layout; expected model_index.json and the folders vqvae, "
            "transformer, scheduler, text_encoder and tokenizer, as in microsoft/vq-diffusion-ithq."
        )
    return load_folder(folder, Dtypes(choose_dtype(dtype) if isinstance(dtype, str) else dtype))


def save(model: VQDiffusion, folder: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
    """Write a model as a diffusers-layout folder of safetensors, in place of what is there; `dtype`: of its files.

    Whenever this is interrupted, `folder` is whole: the old one or the new one.
    """
    replace_folder(Path(folder), lambda target: write_folder(model, target, dtype))


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder beside `folder`, then put it in its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch_name = {"prefix": f".{folder.name}.", "dir": folder.parent}
    with tempfile.TemporaryDirectory(**scratch_name, ignore_cleanup_errors=True) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        write(fresh)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.rename(folder)


def find(folders: Iterable[str | os.PathLike]) -> dict[str, Path]:
    """The models in some folders, {name: path}: every sub-folder that could be one. The first of a name counts."""
    models: dict[str, Path] = {}
    for folder in map(Path, folders):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if not path.name.startswith(".") and path.is_dir() and is_diffusers_folder(path):
                models.setdefault(path.name, path)
    return models
