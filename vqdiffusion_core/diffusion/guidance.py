"""Which conditions speak at a token and a time, and how loudly: guidance (Tang et al. 2022, section 3.1), as weights.

A denoiser adds up weight * log p(x_0 | x_t, condition) over its terms and normalises. Classifier-free guidance,
log p_null + g * (log p_cond - log p_null), is the two weights g and 1 - g; a prompt for a region or for a part of the
run is a weight that depends on token or time. Being normalised, the sum leaves the rate at which tokens are unmasked
as it was trained, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Condition = Tensor | None  # text vectors (1 or B, L, D), class ids (1 or B,), or None: as the transformer's spec says
Weight = Callable[[float], float | Tensor]  # progress of the run, 0..1 -> one weight, or one a token (N,) or (B, N)
Scale = Callable[[float], float]  # progress of the run, 0..1 -> guidance scale


@dataclass(frozen=True)
class GuidanceTerm:
    """A condition, and its weight by progress. Weights by token lie on the CPU."""

    condition: Condition
    weight: Weight


@dataclass(frozen=True)
class Prompt:
    """A condition for some tokens, by strength, and for a part of the run."""

    condition: Condition
    strength: float | Tensor = 1.0  # 0 or more; one for all tokens, or one a token (N,) or (B, N), on the CPU
    start: float = 0.0  # 0..1, the progress of the run from which on it speaks
    end: float = 1.0  # until when

    def loudness(self, progress: float) -> float | Tensor:
        speaks = self.start <= progress and (progress < self.end or self.end >= 1)
        return self.strength if speaks else 0.0


def compose_guidance(
    positive: Sequence[Prompt], negative: Sequence[Prompt], null: Condition, scale: Scale
) -> list[GuidanceTerm]:
    """Guidance by any number of prompts; `null` stands in for a negative one where none speaks.

    Where several prompts of one kind meet, each has its share of their strengths, so that equal prompts in two regions
    are one prompt in none. Where no positive prompt speaks, the image goes on without one.
    """

    def positive_weight(i: int) -> Weight:
        return lambda progress: scale(progress) * shares(positive, progress)[i]

    def opposite(progress: float) -> float | Tensor:
        return 1 - scale(progress) * sum(shares(positive, progress))

    def negative_weight(i: int) -> Weight:
        return lambda progress: opposite(progress) * shares(negative, progress)[i]

    def null_weight(progress: float) -> float | Tensor:
        return opposite(progress) * (1 - sum(shares(negative, progress)))

    return [
        *(GuidanceTerm(prompt.condition, positive_weight(i)) for i, prompt in enumerate(positive)),
        *(GuidanceTerm(prompt.condition, negative_weight(i)) for i, prompt in enumerate(negative)),
        GuidanceTerm(null, null_weight),
    ]


def shares(prompts: Sequence[Prompt], progress: float) -> list[float | Tensor]:
    """Each prompt's part of what is said at a token: they add up to 1, or to 0 where none speaks."""
    loud = [prompt.loudness(progress) for prompt in prompts]
    total = sum(loud)
    if torch.is_tensor(total):
        return [each / total.clamp(min=1e-12) for each in loud]
    return [each / total if total else 0.0 for each in loud]


def cfg(condition: Condition, null: Condition, scale: float) -> list[GuidanceTerm]:
    """Classifier-free guidance: `scale` 1 is the plain conditional prediction (one pass of the network), 0 the
    unconditional one; the papers use 3 to 5 for text.
    """
    return compose_guidance([Prompt(condition)], [], null, constant(scale))


def constant(scale: float) -> Scale:
    return lambda progress: scale


def ramp(scale: float) -> Scale:
    """From none to `scale` on a straight line: early tokens, which decide the most, stay diverse."""
    return lambda progress: 1 + (scale - 1) * progress


def interval(scale: Scale, start: float, end: float) -> Scale:
    """`scale` from `start` to `end` (0..1 of the run) and none elsewhere, which needs one pass of the network."""
    return lambda progress: scale(progress) if start <= progress <= end else 1.0
