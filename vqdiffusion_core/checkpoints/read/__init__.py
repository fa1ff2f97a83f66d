"""Files -> tensors, without trusting the files: nothing in them is executed, and what they claim to hold is compared
with their size before memory is taken. Tensors are mapped, not read: a weight that nobody uses costs no memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from .head import AGAIN, describe, read_head
from .safetensors_file import read_safetensors
from .torch_file import read_legacy, read_zip

__all__ = ["holds_tensors", "read_tensors"]

SHARED = 2  # how often the bytes of a file may be claimed: encoder and decoder share a codebook, for instance


def read_tensors(path: Path) -> dict[str, Any]:
    """The content of a safetensors file, {name: tensor}, of a torch.save file, often nested, or of a TorchScript
    archive. Raises CheckpointError.
    """
    head = read_head(path)
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        content = read_safetensors(path)
    elif head.startswith(b"PK"):
        content = read_zip(path)
    elif head.startswith(b"\x80"):
        content = read_legacy(path)
    else:
        raise CheckpointError(f"{path} is neither a safetensors nor a PyTorch file: {describe(head)} {AGAIN}")
    check_claims(path, content)
    return content


def check_claims(path: Path, content: dict[str, Any]) -> None:
    """Compare what the tensors of a file would take with its size: a tensor can repeat a single number for ever."""
    nested = [value for value in content.values() if isinstance(value, dict)]
    tensors = [tensor for part in [content, *nested] for tensor in part.values() if torch.is_tensor(tensor)]
    claimed, size = sum(tensor.numel() * tensor.element_size() for tensor in tensors), path.stat().st_size
    if claimed > SHARED * size:
        raise CheckpointError(
            f"{path} claims tensors of {claimed:,} bytes in a file of {size:,}. Not opened. "
            "Only take models from where their authors published them."
        )


def holds_tensors(path: Path) -> bool:
    """Whether a file looks like one for `read_tensors`, by its first bytes."""
    head = read_head(path)
    return head[8:9] == b"{" or head.startswith((b"PK", b"\x80"))
