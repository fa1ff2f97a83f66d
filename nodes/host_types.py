"""What ComfyUI's types are: it takes a plain value for a link of any type, and other nodes may hand on anything."""

from __future__ import annotations

from typing import Any

import torch


def is_mask(value: Any) -> bool:
    return torch.is_tensor(value) and value.ndim >= 2 and value.numel() > 0 and not value.is_complex()


def is_image(value: Any) -> bool:
    return torch.is_tensor(value) and value.ndim == 4 and value.numel() > 0 and value.is_floating_point()


def is_images(value: Any) -> bool:
    """Of an input that takes lists: one batch of images or more."""
    return isinstance(value, list) and len(value) > 0 and all(map(is_image, value))


def is_latent(value: Any) -> bool:
    return isinstance(value, dict) and "samples" in value


def is_conditioning(value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    pairs = [pair for pair in value if isinstance(pair, list | tuple) and len(pair) == 2]
    return len(pairs) == len(value) and all(torch.is_tensor(vectors) and isinstance(d, dict) for vectors, d in pairs)


def is_clip(value: Any) -> bool:
    """None too, which a model that reads no text gives; other encoders too, whose vectors the sampler looks at."""
    return value is None or hasattr(value, "encode_from_tokens_scheduled")


def describe(value: Any) -> str:
    """A value of any kind in a few words, for an error.

    >>> describe(torch.zeros(2, 3)), describe("x" * 100)[:4], describe({})
    ('a tensor (2, 3) of float32', "'xxx", 'a dict')
    """
    if torch.is_tensor(value):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, str | int | float | list | tuple | None):
        return f"{value!r:.60}"
    return f"a {type(value).__name__}"
