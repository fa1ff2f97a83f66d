"""Model files: what is on the user's disk -> a VQDiffusion, and back.

`load` knows a model by its content: read -> identify -> rename, strictly -> build without memory -> fill.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..model import VQDiffusion
from .build import Dtypes, choose_dtype
from .diffusers_layout import is_diffusers_folder, load_folder, write_folder
from .errors import CheckpointError
from .menu import Found, find
from .original_layout import load_original
from .write import replace_folder

__all__ = ["POCKET_FOLDER", "CheckpointError", "Found", "choose_dtype", "find", "load", "save"]

POCKET_FOLDER = Path(__file__).parents[1] / "pocket"  # the embedded model


def load(
    path: str | os.PathLike, dtype: str | torch.dtype = "auto", tokenizer: str | os.PathLike | None = None
) -> VQDiffusion:
    """A model from its folder, in the diffusers layout or with the files that the authors published, or from one of
    those files with the folder that it lies in.

    `dtype` is the transformer's, see `choose_dtype`. `tokenizer` is a folder with CLIP's vocabulary, for models that
    come without. Raises CheckpointError.
    """
    dtypes = Dtypes(choose_dtype(dtype) if isinstance(dtype, str) else dtype)
    return open_model(Path(path), dtypes, None if tokenizer is None else Path(tokenizer))


def open_model(place: Path, dtypes: Dtypes, tokenizer: Path | None) -> VQDiffusion:
    if not (place.is_dir() or place.is_file()):
        raise CheckpointError(f"{place} is no folder and no file; expected those of a model.")
    # Where the folder itself lies is the user's choice; links inside it are the model's, see `check_link`.
    place = place.resolve() if place.is_dir() else place.parent.resolve() / place.name
    if place.is_dir() and is_diffusers_folder(place):
        return load_folder(place, dtypes, tokenizer)
    return load_original(place, dtypes, tokenizer)


def save(model: VQDiffusion, folder: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
    """Write a model as a diffusers-layout folder of safetensors, in place of what is there; `dtype`: of its files.

    Whenever this is interrupted, `folder` is whole: the old one or the new one.
    """
    replace_folder(Path(folder), lambda target: write_folder(model, target, dtype, lambda count: None))
