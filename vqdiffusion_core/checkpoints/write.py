"""Tensors -> a safetensors file, one at a time: a model larger than the memory is written in little of it. And a folder
that is whole at every moment.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


def write_safetensors(
    tensors: Mapping[str, Tensor],
    path: Path,
    dtype: torch.dtype | None,
    on_bytes: Callable[[int], None],
    metadata: Mapping[str, str] = MappingProxyType({"format": "pt"}),
) -> None:
    """Write floating-point tensors, in `dtype` if one is given. The same tensors give the same bytes. `on_bytes` is
    called with the size of each tensor written and may raise to stop. `metadata` goes into the header.
    """
    # the wider types first, so that each tensor is aligned: the order of the safetensors library
    names = sorted(tensors, key=lambda name: (-(dtype or tensors[name].dtype).itemsize, name))
    header: dict[str, dict[str, Any]] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        kind = dtype or tensors[name].dtype
        start, end = end, end + tensors[name].numel() * kind.itemsize
        header[name] = {"dtype": CODES[kind], "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in names:
            on_bytes(file.write(bytes_of(tensors[name].to(dtype or tensors[name].dtype))))


def bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder beside `folder`, then put it in its place.

    Interrupted at any moment, even by a kill, the old content or the new one is there: under its name or, if that hit
    between two renamings, as `.<name>.old`, which the next call puts back.
    """
    new, old = (folder.with_name(f".{folder.name}.{state}") for state in ("new", "old"))
    if old.exists() and not folder.exists():
        old.rename(folder)
    for rest in (new, old):
        shutil.rmtree(rest, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        write(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def free_space(folder: Path) -> int:
    """The bytes that are left on the disk of a folder, which need not exist yet."""
    place = folder.absolute()
    return shutil.disk_usage(next(existing for existing in (place, *place.parents) if existing.exists())).free
