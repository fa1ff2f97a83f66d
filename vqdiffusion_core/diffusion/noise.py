"""Randomness of a run: one generator an image, so that an image does not depend on the batch that it is drawn in."""

from __future__ import annotations

import torch
from torch import Tensor

SEEDS = 2**64  # how many there are: 0 and up


class Noise:
    """Uniform numbers for B images, each from the generator of its own seed.

    They are drawn on the CPU in float64, whatever the device of the model, and whatever is decided by them alone is
    decided there; float32 numbers would cut off every choice rarer than 6e-8 (Zheng et al. 2024).
    """

    def __init__(self, seeds: list[int]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) numbers in [0, 1), float64."""
        rows = [torch.rand(shape, generator=g, dtype=torch.float64) for g in self.generators]
        return torch.stack(rows)


def categorical(log_p_MK: Tensor, uniform_M: Tensor) -> Tensor:
    """One id a row with probability proportional to exp(log_p): the inverse of the cumulated distribution.

    Rows need not be normalised; an id of probability 0 is never drawn. `uniform_M`, float64, lies on the CPU; a device
    adds up in float32, which is all that some have.
    """
    exact = torch.float64 if log_p_MK.device.type == "cpu" else torch.float32
    below_1_M = uniform_M.clamp(max=1 - torch.finfo(exact).eps)  # else the product may be rounded up to the whole sum
    p_MK = (log_p_MK - log_p_MK.amax(-1, keepdim=True)).exp()
    cumulated = p_MK.cumsum(-1, dtype=exact)
    target_M = below_1_M.to(exact).to(log_p_MK.device) * cumulated[:, -1]
    drawn_M = torch.searchsorted(cumulated, target_M[:, None], right=True)[:, 0]
    return drawn_M.clamp(max=log_p_MK.shape[-1] - 1)


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform numbers: argmax of log p + noise is a draw from p, its top n one without
    replacement.
    """
    return -torch.log(-torch.log(uniform + 1e-30) + 1e-30)
