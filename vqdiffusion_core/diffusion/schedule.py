"""The noise schedule: how likely a token is still itself, replaced or masked after t steps (Gu et al. 2022, eq. 7-8).

Time t runs from 0 (the clean image) to T (every token masked), the paper's indices; between whole steps the bars are
interpolated, which again is a chain of the same family. The network numbers its T states from 0: see `network_index`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# How a run spaces its steps: its progress (0..1) -> the share of its masked tokens that is still masked then. None:
# evenly in time, at the states that the network was trained on.
SPACINGS: dict[str, Callable[[float], float] | None] = {
    "uniform": None,
    "masked": lambda progress: 1 - progress,  # as many tokens in each step
    "cosine": lambda progress: math.cos(progress * math.pi / 2),  # few at first, more and more (Chang et al. 2022)
    # A tenth is held masked for half of the run, while a remasking sampler corrects the rest (Wang et al. 2025, loop).
    "loop": lambda progress: float(np.interp(progress, [0, 0.45, 0.95, 1], [1, 0.1, 0.1, 0])),
}

TIED = 1e-9  # below, two distances are equal but for rounding


class Kernel(NamedTuple):
    """One transition of a token: it stays with probability alpha + beta, becomes any given other codebook id with beta,
    the mask with gamma; alpha + K * beta + gamma = 1. The mask stays the mask.
    """

    alpha: Any  # one number, or an array or tensor of them
    beta: Any
    gamma: Any


@dataclass(frozen=True, eq=False)
class Schedule:
    """Cumulative kernels q(x_t | x_0) for t = 0..T, as float64 arrays of length T + 1, row 0 = (1, 0, 0)."""

    codebook_size: int
    alpha_bar: np.ndarray
    beta_bar: np.ndarray
    gamma_bar: np.ndarray

    def __post_init__(self):
        bars = (self.alpha_bar, self.beta_bar, self.gamma_bar)
        if not all(bar.ndim == 1 and len(bar) == len(self.alpha_bar) > 1 for bar in bars):
            raise ValueError("alpha_bar, beta_bar and gamma_bar are not of one length of 2 or more times.")
        if [bar[0] for bar in bars] != [1, 0, 0]:
            raise ValueError("alpha_bar, beta_bar and gamma_bar do not begin with 1, 0 and 0, the clean image.")
        if not all(np.isfinite(bar).all() and (-1e-4 < bar).all() and (bar < 1 + 1e-4).all() for bar in bars):
            raise ValueError("alpha_bar, beta_bar or gamma_bar is not everywhere from 0 to 1.")
        if (np.diff(self.alpha_bar) > 1e-4).any() or (np.diff(self.gamma_bar) < -1e-4).any():
            raise ValueError("alpha_bar rises or gamma_bar falls: time must take away and mask, ever more.")
        total = self.alpha_bar + self.codebook_size * self.beta_bar + self.gamma_bar
        if not np.allclose(total, 1, atol=1e-5):
            worst = int(np.abs(total - 1).argmax())
            raise ValueError(
                f"alpha + K * beta + gamma is {total[worst]:.6g} at t = {worst}; expected 1. "
                "The schedule does not belong to this codebook size."
            )

    @classmethod
    def linear(
        cls,
        num_timesteps: int,
        codebook_size: int,
        alpha_start: float = 0.99999,
        alpha_end: float = 0.000009,
        gamma_start: float = 0.000009,
        gamma_end: float = 0.99999,
    ) -> Schedule:
        """Bars on straight lines from t = 1 to t = T; the defaults are those of every released model."""
        alpha_bar = np.concatenate([[1.0], np.linspace(alpha_start, alpha_end, num_timesteps)])
        gamma_bar = np.concatenate([[0.0], np.linspace(gamma_start, gamma_end, num_timesteps)])
        replaced = 1 - alpha_bar - gamma_bar
        replaced[replaced < 1e-12] = 0.0  # rounding: such a kernel never replaces
        return cls(codebook_size, alpha_bar, replaced / codebook_size, gamma_bar)

    @classmethod
    def absorbing(
        cls, num_timesteps: int, codebook_size: int, gamma_start: float = 0.000009, gamma_end: float = 0.99999
    ) -> Schedule:
        """Tokens are masked and never replaced (the absorbing kernel of Austin et al. 2021)."""
        return cls.linear(num_timesteps, codebook_size, 1 - gamma_start, 1 - gamma_end, gamma_start, gamma_end)

    @classmethod
    def uniform(
        cls, num_timesteps: int, codebook_size: int, alpha_start: float = 0.99999, alpha_end: float = 0.000009
    ) -> Schedule:
        """Tokens are replaced and never masked (multinomial diffusion, Hoogeboom et al. 2021)."""
        return cls.linear(num_timesteps, codebook_size, alpha_start, alpha_end, gamma_start=0.0, gamma_end=0.0)

    @classmethod
    def one_step(cls, codebook_size: int) -> Schedule:
        """All tokens are masked at once: T is 1."""
        return cls(codebook_size, np.array([1.0, 0.0]), np.zeros(2), np.array([0.0, 1.0]))

    @property
    def num_timesteps(self) -> int:
        """T, the steps that the network was trained on."""
        return len(self.alpha_bar) - 1

    @property
    def summary(self) -> dict[str, float]:
        """What tells one kernel from another: where its bars end."""
        return {name: round(float(number), 3) for name, number in self.bar(self.num_timesteps)._asdict().items()}

    def bar(self, t: float | np.ndarray) -> Kernel:
        """q(x_t | x_0), for any real t in 0..T, or for an array of times at once."""
        times = np.arange(self.num_timesteps + 1.0)
        return Kernel(*(np.interp(t, times, bar) for bar in (self.alpha_bar, self.beta_bar, self.gamma_bar)))

    def jump(self, s: float | np.ndarray, t: float | np.ndarray) -> Kernel:
        """q(x_t | x_s) for any s < t: the kernel that takes bar(s) to bar(t)."""
        at_s, at_t = self.bar(s), self.bar(t)
        alpha = at_t.alpha / np.maximum(at_s.alpha, 1e-300)
        left = np.maximum(1 - at_s.gamma, 1e-300)  # not masked at s; a schedule may mask all before T
        gamma = 1 - (1 - at_t.gamma) / left
        # beta_bar(t) = alpha * beta_bar(s) + beta * (1 - gamma_bar(s)), solved for beta
        beta = np.maximum(at_t.beta - alpha * at_s.beta, 0.0) / left
        return Kernel(alpha, beta, gamma)

    def network_index(self, t: float, masked_share: float | None = None) -> int:
        """The row of the network's time tables for a state of which this share (0..1) is masked: that of the trained
        state whose share is nearest; of equally near ones, the nearest to time t > 0. Without a share: that of time t.

        >>> schedule = Schedule.linear(100, 4096)
        >>> [schedule.network_index(t) for t in (100, 90, 0.4)], schedule.network_index(100, masked_share=0.25)
        ([99, 89, 0], 25)
        """
        share = self.bar(t).gamma if masked_share is None else masked_share
        off = np.abs(self.gamma_bar[1:] - share)
        nearest = 1 + np.flatnonzero(off <= off.min() + TIED)[::-1]  # the noisiest first
        away = np.abs(nearest - t)
        return int(nearest[away <= away.min() + TIED][0]) - 1

    def time_at(self, masked_share: float) -> float:
        """The time at which this share (0..1) of the tokens is masked: the inverse of gamma_bar."""
        return float(np.interp(masked_share, self.gamma_bar, np.arange(self.num_timesteps + 1.0)))

    def timesteps(self, steps: int, start: float | None = None, spacing: str = "uniform") -> list[float]:
        """`steps + 1` times from `start` (T unless given) down to 0; `steps` network evaluations.

        Spaced as SPACINGS says; evenly, where the schedule masks nothing. Evenly spaced times are whole numbers where
        there are enough of them.

        >>> Schedule.linear(100, 4096).timesteps(4)
        [100.0, 75.0, 50.0, 25.0, 0.0]
        """
        if steps < 1:
            raise ValueError(f"steps is {steps}; expected 1 or more network evaluations.")
        start = float(self.num_timesteps) if start is None else start
        left = SPACINGS[spacing]
        gamma = self.bar(start).gamma
        if left is not None and gamma > TIED:  # where nothing is masked, shares of it space nothing
            return [start, *(self.time_at(gamma * left(i / steps)) for i in range(1, steps)), 0.0]
        times = [start, *(start * (steps - i) / steps for i in range(1, steps + 1))]
        if steps <= start:
            times[1:] = [float(round(t)) for t in times[1:]]
        return times
