"""Which tokens are drawn anew, the noisy state that a run over them begins with, and when each is let go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from .noise import Noise
from .posterior import draw_prior, q_sample
from .schedule import Schedule


def token_region(mask_BHW: Tensor, grid: tuple[int, int], grow: int = 0) -> Tensor:
    """A mask of any resolution -> (B, rows, columns) in 0..1: the strongest mark in a token's cell.

    `grow` widens the region by so many tokens on every side.

    >>> token_region(torch.eye(4)[None] / 2, (2, 2)).tolist()
    [[[0.5, 0.0], [0.0, 0.5]]]
    """
    marked = F.adaptive_max_pool2d(mask_BHW.float()[:, None], grid)
    if grow:
        marked = F.max_pool2d(marked, 2 * grow + 1, stride=1, padding=grow)
    return marked[:, 0].clamp(0, 1)


def feathered(mask_BHW: Tensor, pixels: int) -> Tensor:
    """A mask of 0 and 1 -> one that rises from 0 to 1 over so many pixels inside of the marked part's edge, and stays 0
    outside. The image's own border is no edge.
    """
    around = F.pad(mask_BHW[:, None].float(), [pixels] * 4, mode="replicate")
    share_BHW = F.avg_pool2d(around, 2 * pixels + 1, stride=1)[:, 0]  # half, and a little, just inside a straight edge
    return (2 * share_BHW - 1).clamp(min=0)


@dataclass(frozen=True, eq=False)
class Region:
    """The tokens that a run may change, and from when on.

    A token is kept until the share of the run that is left has come down to its level: 1 is free from the beginning, 0
    kept for ever, and one between takes part in the end of the run alone, so that little of it changes. All tensors lie
    on the CPU, where questions about them wait for no device.
    """

    tokens_BN: Tensor  # before the run
    mask_strength_BN: Tensor  # 0..1
    start: float  # the time that the run begins at
    schedule: Schedule

    @classmethod
    def of(cls, tokens_BN: Tensor, mask_strength_BN: Tensor | None, schedule: Schedule, denoise: float) -> Region:
        """A token that is masked already is free, whatever its level and `denoise`: it has no image to keep."""
        tokens_BN = tokens_BN.cpu()
        mask_strength_BN = torch.ones(tokens_BN.shape) if mask_strength_BN is None else mask_strength_BN.float().cpu()
        mask_strength_BN = mask_strength_BN * (denoise > 0)
        start = max(denoise * schedule.num_timesteps, 1.0)  # below time 1 a schedule masks next to nothing
        return cls(tokens_BN, mask_strength_BN.masked_fill(tokens_BN == schedule.codebook_size, 1.0), start, schedule)

    def editable_BN(self, t: float) -> Tensor:
        """Where tokens may change at time t."""
        return (self.mask_strength_BN > 0) & (self.mask_strength_BN * self.start >= t - 1e-9)

    def drawn_BN(self, t: float) -> Tensor:
        """Where tokens may change at time t, and how likely each is masked at that time or later in the run, in parts
        of gamma_bar: 1 where it is drawn anew, 0 where it is kept; more than 1 where it was masked before a run that
        begins half-way. float64.
        """
        at_start = max(self.schedule.bar(self.start).gamma, 1e-12)
        return self.editable_BN(t).double().masked_fill(self.blank_BN, 1 / at_start)

    def masked_BN(self, t: float) -> Tensor:
        """How likely each token is masked at time t: 0..1, float64."""
        masked_BN = self.drawn_BN(t) * self.schedule.bar(t).gamma
        return masked_BN if t < self.start else masked_BN.masked_fill(self.blank_BN, 1.0)

    @cached_property
    def blank_BN(self) -> Tensor:
        """Where tokens are masked for certain at the start: those that were before a run that begins half-way."""
        masked_BN = self.tokens_BN == self.schedule.codebook_size
        return masked_BN & (self.start < self.schedule.num_timesteps)

    @property
    def hard(self) -> bool:
        """All tokens are free or kept for the whole run."""
        return bool(((self.mask_strength_BN == 0) | (self.mask_strength_BN == 1)).all())

    def taken_back(self, x_BN: Tensor, s: float, t: float, noise: Noise) -> Tensor:
        """The state at time t again, from that at time s < t, as it is given the state at the start: tokens that were
        masked there are ever likelier to be masked, and are so for certain at the start itself.
        """
        coin_BN, again_BN = (noise.uniform(x_BN.shape[1], device=x_BN.device) for _ in range(2))
        back_BN = q_sample(x_BN, t, self.schedule, coin_BN, s)
        # q(x_t | x_s, x_start = mask) = q(x_t | x_s) q(mask | x_t) / q(mask | x_s)
        from_t, from_s = (self.schedule.jump(time, self.start).gamma for time in (t, s))
        again_BN = again_BN < (1 - from_t / from_s if from_s > 0 else 1.0)
        back_BN = back_BN.masked_fill(self.blank_BN.to(x_BN.device) & again_BN, self.schedule.codebook_size)
        return torch.where(self.editable_BN(t).to(x_BN.device), back_BN, x_BN)

    def released(self, x_BN: Tensor, t: float, before_BN: Tensor, noise: Noise) -> Tensor:
        """The state at time t, with the tokens that are free now but were not `before_BN` taken there by the forward
        process: to the prior at T, and a share of them masked below.
        """
        coin_BN = noise.uniform(x_BN.shape[1], device=x_BN.device)
        noisy_BN = (
            draw_prior(self.schedule, coin_BN)
            if t >= self.schedule.num_timesteps
            else q_sample(x_BN, t, self.schedule, coin_BN)
        )
        return torch.where(self.editable_BN(t).to(x_BN.device) & ~before_BN, noisy_BN, x_BN)
