"""Whether a value is what the host's types say, and what it is in words: other nodes may hand on anything."""

from __future__ import annotations

from typing import Any

import torch


def is_mask(value: Any) -> bool:
    return torch.is_tensor(value) and value.ndim >= 2 and value.numel() > 0 and not value.is_complex()


def is_image(value: Any) -> bool:
    return torch.is_tensor(value) and value.ndim == 4 and value.numel() > 0 and value.is_floating_point()


def described(value: Any) -> str:
    """
    >>> described(torch.zeros(2, 3)), described("x" * 100)[:4], described({})
    ('a tensor (2, 3) of float32', "'xxx", 'a dict')
    """
    if torch.is_tensor(value):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, str | int | float | list | tuple | None):
        return f"{value!r:.60}"
    return f"a {type(value).__name__}"
