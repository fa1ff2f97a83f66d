"""How exactly a device computes: numbers of a greater range where float16 overflows, exact convolutions for codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.backends import cudnn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

# Of convolutions, by the newer name where there is one: once that was set, PyTorch may refuse the older.
CONV = getattr(cudnn, "conv", cudnn)
SETTING, EXACT = ("fp32_precision", "ieee") if CONV is not cudnn else ("allow_tf32", False)


class Bfloat16(TorchFunctionMode):
    """Within it every function reads bfloat16 where it is given float16: float32's range, and the weights stay."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") == "__get__":  # a type or shape that is asked for
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map_only(Tensor, widened, (args, kwargs or {}))
        return func(*args, **kwargs)


def widened(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16) if x.dtype is torch.float16 else x


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Of float32 in full on NVIDIA's cards, where they else keep 10 bits (TF32); no effect elsewhere."""
    before = getattr(CONV, SETTING)
    setattr(CONV, SETTING, EXACT)
    try:
        yield
    finally:
        setattr(CONV, SETTING, before)
