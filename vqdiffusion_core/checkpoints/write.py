"""Tensors -> a safetensors file, one at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

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
    dtype: torch.dtype | None = None,
) -> None:
    """Write floating-point tensors, in `dtype` if one is given. The same tensors give the same bytes."""
    # the wider types first, so that each tensor is aligned: the order of the safetensors library
    names = sorted(tensors, key=lambda name: (-(dtype or tensors[name].dtype).itemsize, name))
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
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
            file.write(raw(tensors[name].to(dtype or tensors[name].dtype)))


def raw(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
