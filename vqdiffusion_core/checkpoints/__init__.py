"""Model files: what is on the user's disk -> a VQDiffusion, and back.

`load` knows a model by its content: read -> detect -> rename -> probe its shape -> build on "meta" -> fill, strictly.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..model import VQDiffusion
from ..networks.vqgan import VQGAN
from . import diffusers_layout, original_codec
from .build import Dtypes, choose_dtype
from .diffusers_files import has_weights, is_diffusers_folder
from .diffusers_layout import load_folder
from .errors import CheckpointError
from .menu import Found, find
from .original_layout import load_original
from .write import replace_folder
from .write_diffusers import write_folder

__all__ = [
    "BUILT_IN",
    "POCKET_FOLDER",
    "RIVAL_FOLDER",
    "STICKERS_FOLDER",
    "CheckpointError",
    "Found",
    "choose_dtype",
    "find",
    "load",
    "load_codec",
    "save",
]

PACKAGE = Path(__file__).parents[1]
STICKERS_FOLDER, POCKET_FOLDER = PACKAGE / "stickers", PACKAGE / "pocket"
RIVAL_FOLDER = PACKAGE / "pocket_autoregressive"
# The models that come with this pack; the first is the default.
BUILT_IN = {"stickers": STICKERS_FOLDER, "pocket": POCKET_FOLDER, "pocket, token by token": RIVAL_FOLDER}


def load(
    path: str | os.PathLike[str], dtype: str | torch.dtype = "auto", tokenizer: str | os.PathLike[str] | None = None
) -> VQDiffusion:
    """A model from its folder, in the diffusers layout or with the files that the authors published, or from one of
    those files with the folder that it lies in.

    `dtype` is the transformer's, see `choose_dtype`. `tokenizer` is a folder with CLIP's vocabulary, for models that
    come without. Raises CheckpointError.
    """
    dtypes = Dtypes(choose_dtype(dtype) if isinstance(dtype, str) else dtype)
    return open_model(Path(path), dtypes, None if tokenizer is None else Path(tokenizer))


def open_model(place: Path, dtypes: Dtypes, tokenizer: Path | None) -> VQDiffusion:
    place = locate(place)
    if place.is_dir() and is_diffusers_folder(place):
        return load_folder(place, dtypes, tokenizer)
    return load_original(place, dtypes, tokenizer)


def locate(place: Path) -> Path:
    """Where the folder itself lies is the user's choice; links inside it are the model's, see `check_link`."""
    if not (place.is_dir() or place.is_file()):
        raise CheckpointError(f"{place} is no folder and no file; expected those of a model.")
    return place.resolve() if place.is_dir() else place.parent.resolve() / place.name


def load_codec(path: str | os.PathLike[str], dtypes: Dtypes | None = None) -> VQGAN:
    """The codec of any model that `load` reads, or one alone: a file of taming-transformers or of the authors, or a
    vqvae/ of the diffusers layout. `dtypes`: without, float32. Raises CheckpointError.
    """
    place, dtypes = locate(Path(path)), dtypes or Dtypes(None)
    if place.is_dir() and is_diffusers_folder(place):
        return diffusers_layout.load_vqgan(diffusers_layout.codec_folder(place), dtypes)
    if is_part(place):
        return diffusers_layout.load_vqgan(place, dtypes)
    return original_codec.load_codec(place, dtypes)


def holds_codec_alone(path: Path) -> bool:
    """Whether there is a codec, and nothing that could be a model. Raises CheckpointError."""
    place = locate(path)
    whole = place.is_dir() and is_diffusers_folder(place)
    return not whole and (is_part(place) or original_codec.holds_codec_alone(place))


def is_part(place: Path) -> bool:
    return (place / "config.json").is_file() and has_weights(place)


def save(model: VQDiffusion, folder: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
    """Write a model as a diffusers-layout folder of safetensors, in place of what is there; `dtype`: of its files.

    Whenever this is interrupted, `folder` is whole: the old one or the new one.
    """
    replace_folder(Path(folder), lambda target: write_folder(model, target, dtype, lambda count: None))
