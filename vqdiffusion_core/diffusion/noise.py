"""Randomness of a run: one generator an image, so that an image does not depend on the batch that it is drawn in."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

SEEDS = 2**64  # how many there are: 0 and up


@cache
def float64_device(device: torch.device) -> torch.device:
    """Where a run's chances are worked out in float64: the device itself, or the CPU for one without, as Apple's."""
    try:
        torch.zeros(1, device=device).double().add_(1)
    except (TypeError, RuntimeError):
        return torch.device("cpu")
    return device


class Noise:
    """Uniform numbers for B images, each from the generator of its own seed.

    They are drawn on the CPU in float64 whatever the device of the model, so that a seed means the same everywhere;
    float32 numbers would cut off every choice rarer than 6e-8 (Zheng et al. 2024).
    """

    def __init__(self, seeds: list[int]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def uniform(self, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """(B, *shape) numbers in [0, 1), float64."""
        rows = [torch.rand(shape, generator=g, dtype=torch.float64) for g in self.generators]
        return torch.stack(rows).to(device)


def categorical(log_p_MK: Tensor, uniform_M: Tensor) -> Tensor:
    """One id a row with probability proportional to exp(log_p): the inverse of the cumulated distribution.

    Rows need not be normalised; an id of probability 0 is never drawn. Raises ValueError where a row is none.
    """
    p_MK = (log_p_MK - log_p_MK.amax(-1, keepdim=True)).exp()
    cumulated = p_MK.cumsum(-1, dtype=torch.float64)
    if not cumulated[:, -1].isfinite().all():
        raise ValueError(
            "The network predicts what is not a number. If its numbers have 16 bits, they were too few: take float32 "
            "as the dtype. Otherwise the model's file is damaged: copy or download it again."
        )
    target_M = uniform_M.to(cumulated) * cumulated[:, -1]
    drawn_M = torch.searchsorted(cumulated, target_M[:, None], right=True)[:, 0]
    return drawn_M.clamp(max=log_p_MK.shape[-1] - 1)


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform numbers: argmax of log p + noise is a draw from p, its top n one without
    replacement.
    """
    return -torch.log(-torch.log(uniform + 1e-30) + 1e-30)
