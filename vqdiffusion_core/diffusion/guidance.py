"""Guidance (Tang et al. 2022, section 3.1) as weights: which conditions speak at a token and a time, and how loudly.

A denoiser adds up weight * log p(x_0 | x_t, condition) over the conditions and normalises. Classifier-free guidance,
log p_null + g * (log p_cond - log p_null), is the two weights g and 1 - g; a prompt for a region or for a part of the
run is a weight that depends on token or time. Being normalised, the sum leaves the rate at which tokens are unmasked
as it was trained, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import torch
from torch import Tensor

Condition = Tensor | None  # text vectors (1 or B, L, D), class ids (1 or B,), or None: as the transformer's spec says
Weight = float | Tensor  # one for all tokens, or one a token (N,) or (B, N), on the CPU

# By scale and progress. A ramp begins with none: early tokens, which decide the most, stay diverse.
GUIDANCE_SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda scale, progress: scale,
    "ramp": lambda scale, progress: 1 + (scale - 1) * progress,
}


@dataclass(frozen=True)
class GuidanceScale:
    """The guidance scale g over a run. Outside of its part it is 1, which needs one pass of the network."""

    scale: float
    schedule: str = "constant"  # of GUIDANCE_SCHEDULES
    start: float = 0.0  # 0..1, the progress of the run from which on it is applied
    end: float = 1.0  # until when

    def at(self, progress: float) -> float:
        inside = self.start <= progress <= self.end
        return GUIDANCE_SCHEDULES[self.schedule](self.scale, progress) if inside else 1.0


@dataclass(frozen=True)
class Prompt:
    """A condition for some tokens, by strength, and for a part of the run."""

    condition: Condition
    strength: Weight = 1.0  # 0 or more
    start: float = 0.0  # 0..1, the progress of the run from which on it speaks
    end: float = 1.0  # until when

    def strength_at(self, progress: float) -> Weight:
        speaks = self.start <= progress and (progress < self.end or self.end >= 1)
        return self.strength if speaks else 0.0


@dataclass(frozen=True)
class Guidance:
    """Guidance by any number of prompts; `null` stands in for a negative one where none speaks.

    Where several prompts of one kind meet, each has its share of their strengths, so that equal prompts in two regions
    are one prompt in none. Where no positive prompt speaks, the image goes on without one.
    """

    positive: Sequence[Prompt]
    negative: Sequence[Prompt]
    null: Condition
    scale: GuidanceScale

    @property
    def conditions(self) -> list[Condition]:
        return [*(prompt.condition for prompt in (*self.positive, *self.negative)), self.null]

    def weights(self, progress: float) -> list[Weight]:
        """Of each of the conditions, at this progress of the run, 0..1. At every token they add up to 1."""
        g = self.scale.at(progress)
        positive, negative = shares(self.positive, progress), shares(self.negative, progress)
        opposite = 1 - g * sum(positive)
        return [
            *(g * share for share in positive),
            *(opposite * share for share in negative),
            opposite * (1 - sum(negative)),
        ]

    def speaking(self, steps: int) -> list[Condition]:
        """The conditions with any weight in a run of so many steps."""
        by_step = ([speaks(weight) for weight in self.weights(step / steps)] for step in range(steps))
        return list(compress(self.conditions, (any(of_one) for of_one in zip(*by_step, strict=True))))

    def to(self, device: torch.device, dtype: torch.dtype | None) -> Guidance:
        """With conditions as a transformer reads them: on its device, and texts in its number type."""

        def move(condition: Condition) -> Condition:
            return None if condition is None else condition.to(device, dtype)

        positive, negative = (
            [replace(prompt, condition=move(prompt.condition)) for prompt in prompts]
            for prompts in (self.positive, self.negative)
        )
        return Guidance(positive, negative, move(self.null), self.scale)


def cfg(condition: Condition, null: Condition, scale: float) -> Guidance:
    """Classifier-free guidance: `scale` 1 is the plain conditional prediction (one pass of the network), 0 the
    unconditional one; the papers use 3 to 5 for text.
    """
    return Guidance([Prompt(condition)], [], null, GuidanceScale(scale))


def shares(prompts: Sequence[Prompt], progress: float) -> list[Weight]:
    """Each prompt's part of what is said at a token: they add up to 1, or to 0 where none speaks."""
    strengths = [prompt.strength_at(progress) for prompt in prompts]
    total = sum(strengths)
    if torch.is_tensor(total):
        return [strength / total.clamp(min=1e-12) for strength in strengths]
    return [strength / total if total else 0.0 for strength in strengths]


def speaks(weight: Weight) -> bool:
    return bool(weight.any()) if torch.is_tensor(weight) else weight != 0
