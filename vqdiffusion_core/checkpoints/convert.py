"""Any model that can be loaded -> one folder of safetensors in the diffusers layout, without holding it in memory.

Also a codec alone, and files with more in them than tensors, which is left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ..model import VQDiffusion
from ..networks.vqgan import VQGAN
from . import holds_codec_alone, load_codec, open_model
from .build import Dtypes
from .errors import CheckpointError
from .read.leftovers import skip_unknown_names
from .write import free_space, replace_folder
from .write_diffusers import write_codec, write_folder


def convert(
    source: Path,
    target: Path,
    dtype: torch.dtype | None = None,
    tokenizer: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    change: Callable[[VQDiffusion], object] = lambda model: None,
) -> list[str]:
    """Convert a model, or a codec alone. The weights stay mapped in their files and are written one by one, in `dtype`
    if one is given; the same source gives the same bytes. `on_progress` is called with the bytes written and those to
    write, `change` with a model before it is written. Returns the names of the classes that were left behind.

    Raises CheckpointError; OSError where the disk is full or may not be written to. Then nothing is left behind.
    """
    if target.exists():
        raise CheckpointError(f"{target} exists already; name a folder that does not, or delete it first.")
    with skip_unknown_names() as names:
        exact = Dtypes(None, None)
        alone = holds_codec_alone(source)
        model = load_codec(source, exact) if alone else open_model(source, exact, tokenizer)
    if isinstance(model, VQDiffusion):
        change(model)
    total = size_of(model, dtype)
    check_space(target, total)
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        on_progress(done, total)

    write = partial(write_codec, model) if isinstance(model, VQGAN) else partial(write_folder, model)
    replace_folder(target, lambda folder: write(folder, dtype, count))
    return list(names)


def size_of(model: VQDiffusion | VQGAN, dtype: torch.dtype | None) -> int:
    """The bytes that the weights take as files."""
    if isinstance(model, VQGAN):
        return sum(parameter.numel() * (dtype or parameter.dtype).itemsize for parameter in model.parameters())
    modules = [module for module in (model.transformer, model.vqgan, model.text_encoder) if module is not None]
    tensors = [parameter for module in modules for parameter in module.parameters()]
    tensors += [] if model.learned_null_1LD is None else [model.learned_null_1LD]
    return sum(tensor.numel() * (dtype or tensor.dtype).itemsize for tensor in tensors)


def check_space(target: Path, size: int) -> None:
    free = free_space(target.parent)
    if size > free:
        raise CheckpointError(f"{target} would take {size / 1e9:.2f} GB; the disk has {free / 1e9:.2f} GB left.")
