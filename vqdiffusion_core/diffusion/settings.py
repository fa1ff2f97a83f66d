"""How an image is drawn: every choice that a run leaves open, and what each choice means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..notices import notify
from .denoiser import Predict, Shaped, shaped, sharpened
from .guidance import Scale, constant, interval, ramp
from .logits import apply_temperature, apply_top_k, apply_truncation
from .samplers import Step, ancestral, confidence, purity, random_order, remask, uncover
from .schedule import SPACINGS


@dataclass(frozen=True)
class Settings:
    """How an image is drawn. Raises ValueError where a value has no meaning.

    The defaults are what measured best on the embedded model: docs/quality.md and the model's card.
    """

    steps: int = 16  # network evaluations an image, 1 or more
    guidance: float = 1.5  # 1: none
    truncation: float = 0.86  # 0..1, the kept probability mass; 1: all
    sampler: str = "confidence"  # one of SAMPLERS
    denoise: float = 1.0  # 0..1, how far the tokens are taken back before they are drawn anew

    guidance_schedule: str = "constant"  # one of GUIDANCE
    guidance_start: float = 0.0  # 0..1 of the run; guidance speaks from here
    guidance_end: float = 1.0  # to here
    spacing: str = "uniform"  # one of SPACINGS
    temperature: float = 1.0  # 0..10; below 1 plainer, above wilder
    top_k: int = 0  # how many ids may be drawn; 0: all
    sharpness: float = 0.0  # 0..10, how much surer a sure token becomes
    purity: float = 1.0  # 0..10, how much sampler "purity" prefers sure tokens
    luck: float = 4.5  # 0..100, how much chance there is in the order of sampler "confidence"
    remask: str = "rescale"  # one of REMASK, for sampler "remask"
    remask_strength: float = 0.1  # 0..1
    rounds: int = 1  # how often each jump is done; more of them correct each other, and jumps get fewer
    overlap: float = 0.5  # 0..0.9, of neighbouring windows on a large canvas
    soft: bool = False  # a faint mark lets a token go late in the run; otherwise any mark counts in full

    def __post_init__(self):
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{name} is {value}; expected a number from {low:g} to {high:g}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r:.100}; expected one of {', '.join(choices)}.")

    def scale(self) -> Scale:
        """The guidance scale by progress."""
        return interval(GUIDANCE[self.guidance_schedule](self.guidance), self.guidance_start, self.guidance_end)

    def shape(self, predict: Predict) -> Shaped:
        """`predict` as these settings let it be drawn from."""
        likely = shaped(
            predict,
            partial(apply_temperature, temperature=self.temperature),
            partial(apply_top_k, count=self.top_k),
            partial(apply_truncation, rate=self.truncation),
        )
        return sharpened(likely, self.sharpness)


def notify_of_unheard(settings: Settings, has_negative: bool) -> None:
    """Says what of all that was asked for has no effect on a run."""
    if settings.guidance == 0:
        notify("guidance is 0, so the prompt is not heard. 1 is the plain model, more follows the prompt more closely.")
    if settings.guidance == 1 and has_negative:
        notify("guidance is 1, so the negative prompt is not heard. Set guidance above 1, or leave the negative out.")
    if settings.denoise == 0:
        notify("denoise is 0, so nothing but masked tokens is drawn.")
    for name, sampler in SAMPLER_OF.items():
        value = getattr(settings, name)
        if settings.sampler != sampler and value != getattr(DEFAULTS, name):
            notify(f"{name} is {value}, which has no effect on the sampler {settings.sampler}, but on {sampler}.")


def remask_step(settings: Settings) -> Step:
    strength = settings.remask_strength
    if settings.remask == "cap":
        return partial(remask, sigma=lambda most_BN: most_BN.clamp(max=strength), by_confidence=False)
    by_confidence = settings.remask == "confidence"
    return partial(remask, sigma=lambda most_BN: most_BN * strength, by_confidence=by_confidence)


GUIDANCE: dict[str, Callable[[float], Scale]] = {"constant": constant, "ramp": ramp}
REMASK = ("cap", "rescale", "confidence")
SAMPLERS: dict[str, Callable[[Settings], Step]] = {
    "ancestral": lambda settings: ancestral,
    "exact count": lambda settings: partial(uncover, score=random_order),
    "purity": lambda settings: partial(uncover, score=purity(settings.purity)),
    "confidence": lambda settings: partial(
        uncover, score=confidence, choice_temperature=lambda gamma: settings.luck * gamma
    ),
    "remask": remask_step,
}
SAMPLER_OF = {"purity": "purity", "luck": "confidence", "remask": "remask", "remask_strength": "remask"}
CHOICES = {"sampler": SAMPLERS, "guidance_schedule": GUIDANCE, "spacing": SPACINGS, "remask": REMASK}
RANGES = {
    "steps": (1, 10_000),
    "guidance": (0, 100),
    "truncation": (0, 1),
    "denoise": (0, 1),
    "guidance_start": (0, 1),
    "guidance_end": (0, 1),
    "temperature": (0, 10),
    "top_k": (0, 1_000_000),
    "sharpness": (0, 10),
    "purity": (0, 10),
    "luck": (0, 100),
    "remask_strength": (0, 1),
    "rounds": (1, 100),
    "overlap": (0, 0.9),
}

DEFAULTS = Settings()
