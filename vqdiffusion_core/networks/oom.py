"""When memory runs out: less at once, and if the least is too much, an error that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

# In the messages of errors that have no class of their own: of the CPU and its oneDNN, of Apple's and others' devices.
SIGNS = (
    "DefaultCPUAllocator",
    "Cannot allocate memory",
    "could not create a primitive",
    "could not create a memory object",
    "not enough memory",
    "out of memory",
)


class OutOfMemory(torch.OutOfMemoryError):
    """Not even the least that could be done at once fits into memory."""


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


class AdaptiveBatches:
    """Does work on images in batches as large as memory allows: half as many where it runs out, and from then on."""

    def __init__(self, most: int | None = None):
        self.most = most  # images at once; None: all

    def map(self, work: Callable[[slice], Tensor], count: int) -> Tensor:
        """The results of `work`, one row or more an image, for `count` images in order. Raises OutOfMemory."""
        done, start = [], 0
        while start < count:
            batch = slice(start, min(count, start + (self.most or count)))
            result = attempt(lambda batch=batch: work(batch))
            if result is not None:
                done.append(result)
                start = batch.stop
            elif batch.stop - start > 1:
                self.most = (batch.stop - start) // 2
            else:
                raise too_much("one image")
        return torch.cat(done)


def first_that_fits(ways: Iterable[Callable[[], T]], what: str) -> T:
    """What the first of several ways, the best first, gives without running out of memory. Raises OutOfMemory."""
    for way in ways:
        if (result := attempt(way)) is not None:
            return result
    raise too_much(what)


def attempt(work: Callable[[], T]) -> T | None:
    """The result of work, which is not None; None if memory ran out, with what it held given back."""
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    empty_caches()
    return None


def empty_caches() -> None:
    """Every kind of device gives back what it keeps for the next tensor."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if torch.xpu.is_available():
        torch.xpu.empty_cache()


def too_much(what: str) -> OutOfMemory:
    return OutOfMemory(
        f"The memory is too small for {what}, even in the smallest pieces. Close other programs, take a number type of "
        "16 bits in VQ-Diffusion Loader, or a smaller canvas or model."
    )
