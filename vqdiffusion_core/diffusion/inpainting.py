"""Which tokens of an image a run may change, from when on, and the noise that takes them there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .noise import Noise
from .posterior import draw_prior, q_sample
from .schedule import Schedule


def token_mask(mask_BHW: Tensor, grid: tuple[int, int], grow: int = 0) -> Tensor:
    """A mask of any resolution -> mask strength (B, rows, columns), 0..1: the strongest mark in a token's cell.

    `grow` widens what is marked by so many tokens on every side.

    >>> token_mask(torch.eye(4)[None] / 2, (2, 2)).tolist()
    [[[0.5, 0.0], [0.0, 0.5]]]
    """
    marked = F.adaptive_max_pool2d(mask_BHW.float()[:, None], grid)
    if grow:
        marked = F.max_pool2d(marked, 2 * grow + 1, stride=1, padding=grow)
    return marked[:, 0].clamp(0, 1)


def feather_mask(mask_BHW: Tensor, pixels: int) -> Tensor:
    """A mask of 0 and 1 -> one that rises from 0 to 1 over so many pixels inside of the marked part's edge, and stays 0
    outside. The image's own border is no edge.
    """
    around = F.pad(mask_BHW[:, None].float(), [pixels] * 4, mode="replicate")
    share_BHW = F.avg_pool2d(around, 2 * pixels + 1, stride=1)[:, 0]  # half, and a little, just inside a straight edge
    return (2 * share_BHW - 1).clamp(min=0)


@dataclass(frozen=True, eq=False)
class Region:
    """Which tokens a run may change, and from when on.

    A token is editable once the part of the run that is left has come down to its mask strength: 1 from the start, 0
    never, and between them late, so that little of it changes (differential diffusion, Levin and Fried 2023).
    """

    schedule: Schedule
    start: float  # the time that the run begins at
    mask_strength_BN: Tensor  # 0..1
    blank_BN: Tensor  # bool; masked already where a run begins half-way, so masked for certain at its start

    @classmethod
    def from_mask(
        cls, tokens_BN: Tensor, mask_strength_BN: Tensor | None, schedule: Schedule, denoise: float
    ) -> Region:
        """All of the image, without a mask. A token that is masked already is editable whatever its strength and
        `denoise`: it has no image to keep.
        """
        masked_BN = tokens_BN == schedule.codebook_size
        start = max(denoise * schedule.num_timesteps, 1.0)  # below time 1 a schedule masks next to nothing
        strength_BN = torch.ones(masked_BN.shape) if mask_strength_BN is None else mask_strength_BN.float().cpu()
        strength_BN = (strength_BN * (denoise > 0)).masked_fill(masked_BN, 1.0)
        return cls(schedule, start, strength_BN, masked_BN & (start < schedule.num_timesteps))

    @property
    def is_soft(self) -> bool:
        """Whether a token becomes editable later than others."""
        return bool(((self.mask_strength_BN > 0) & (self.mask_strength_BN < 1)).any())

    def editable_BN(self, t: float) -> Tensor:
        """Where tokens may change at time t: bool."""
        return (self.mask_strength_BN > 0) & (self.mask_strength_BN * self.start >= t - 1e-9)

    def mask_probability_BN(self, t: float) -> Tensor:
        """How likely each token is masked at time t: 0..1, float64; 0 where it is not editable."""
        gamma, at_start = self.schedule.bar(t).gamma, self.schedule.bar(self.start).gamma
        # q(x_t = mask); q(x_t = mask | x_start = mask) = q(x_t = mask) / q(x_start = mask), and 1 at the start itself
        of_blank = gamma / max(at_start, 1e-12) if t < self.start else 1.0
        return (self.editable_BN(t).double() * gamma).masked_fill(self.blank_BN, of_blank)

    def mask_probability_at_join_BN(self, t: float) -> Tensor:
        """How likely a token is masked that becomes editable at time t: at T surely, since all that shows is noise."""
        gamma_BN = self.mask_probability_BN(t)
        return gamma_BN if t < self.schedule.num_timesteps else torch.ones_like(gamma_BN)

    def add_noise(self, x_BN: Tensor, where_BN: Tensor, t: float, noise: Noise) -> Tensor:
        """Clean tokens taken to time t where `where_BN` is true: x_t ~ q(x_t | x_0), from T on the prior."""
        coin_BN = noise.uniform(x_BN.shape[1])
        at_prior = t >= self.schedule.num_timesteps
        noisy_BN = draw_prior(self.schedule, coin_BN) if at_prior else q_sample(x_BN, t, self.schedule, coin_BN)
        return torch.where(where_BN, noisy_BN, x_BN)

    def renoise(self, x_BN: Tensor, s: float, t: float, noise: Noise) -> Tensor:
        """Editable tokens taken back from time s to t > s: x_t ~ q(x_t | x_s, x_start), to be drawn once more
        (RePaint's resampling, Lugmayr et al. 2022).
        """
        coin_BN, mask_coin_BN = (noise.uniform(x_BN.shape[1]) for _ in range(2))
        noisy_BN = q_sample(x_BN, t, self.schedule, coin_BN, s)
        # q(x_t | x_s, x_start = mask) = q(x_t | x_s) q(x_start = mask | x_t) / q(x_start = mask | x_s), so what is
        # visible at t stays so with the ratio of these two, and else is masked
        from_t, from_s = (self.schedule.jump(time, self.start).gamma for time in (t, s))
        masked_BN = mask_coin_BN < (1 - from_t / from_s if from_s > 0 else 1.0)
        noisy_BN = noisy_BN.masked_fill(self.blank_BN & masked_BN, self.schedule.codebook_size)
        return torch.where(self.editable_BN(t), noisy_BN, x_BN)
