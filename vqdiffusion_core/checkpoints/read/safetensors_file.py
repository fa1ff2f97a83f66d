"""safetensors: a header of JSON, then the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from ..errors import CheckpointError
from .head import AGAIN, describe
from .text import parse_json

MAX_HEADER = 8 << 20  # bytes, which take thirty times as much memory: 5,000 tensors need 0.7 MB


def read_safetensors(path: Path) -> dict[str, Tensor]:
    check_safetensors(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is a broken safetensors file: {error}. {AGAIN}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """What the header says beside the tensors. Raises CheckpointError."""
    said = check_safetensors(path).get("__metadata__")
    return {name: text for name, text in said.items() if isinstance(text, str)} if isinstance(said, dict) else {}


def check_safetensors(path: Path) -> dict[str, Any]:
    """The header, once what it claims is compared with the size of the file. Raises CheckpointError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        if length > min(size - 8, MAX_HEADER):
            raise CheckpointError(
                f"{path} is no whole safetensors file: by its first bytes its header has {length:,} bytes, the file "
                f"has {size:,}; {describe(head + file.read(64))} {AGAIN}"
            )
        header = parse_json(file.read(length), path)
    try:
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        promised = 8 + length + int(end)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f"{path} has a header that is not of the safetensors format. {AGAIN}") from error
    if promised != size:
        raise CheckpointError(f"{path} has {size:,} bytes where its header promises {promised:,}. {AGAIN}")
    return header
