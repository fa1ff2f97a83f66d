"""Any model that can be loaded -> one folder of safetensors in the diffusers layout, without holding it in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ..model import VQDiffusion
from . import open_model
from .build import Dtypes
from .diffusers_layout import write_folder
from .errors import CheckpointError
from .write import free_space, replace_folder


def convert(
    source: Path,
    target: Path,
    dtype: torch.dtype | None = None,
    tokenizer: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Convert a model. The weights stay mapped in their files and are written one by one, in `dtype` if one is given;
    the same source gives the same bytes. `on_progress` is called with the bytes written and those to write.

    Raises CheckpointError; OSError where the disk is full or may not be written to. Then nothing is left behind.
    """
    if target.exists():
        raise CheckpointError(f"{target} exists already; name a folder that does not, or delete it first.")
    model = open_model(source, Dtypes(None, None), tokenizer)
    total = size_of(model, dtype)
    check_space(target, total)
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        on_progress(done, total)

    replace_folder(target, lambda folder: write_folder(model, folder, dtype, count))


def size_of(model: VQDiffusion, dtype: torch.dtype | None) -> int:
    """The bytes that the weights take as files."""
    modules = [module for module in (model.transformer, model.vqgan, model.text_encoder) if module is not None]
    tensors = [parameter for module in modules for parameter in module.parameters()]
    tensors += [] if model.learned_null_1LD is None else [model.learned_null_1LD]
    return sum(tensor.numel() * (dtype or tensor.dtype).itemsize for tensor in tensors)


def check_space(target: Path, size: int) -> None:
    free = free_space(target.parent)
    if size > free:
        raise CheckpointError(f"{target} would take {size / 1e9:.2f} GB; the disk has {free / 1e9:.2f} GB left.")
