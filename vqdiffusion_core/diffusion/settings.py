"""How an image is drawn: every choice that a run leaves open, and what each choice means."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, NamedTuple

from ..notices import notify
from .guidance import GUIDANCE_SCHEDULES, GuidanceScale
from .logits import LogitsProcessor, apply_temperature, apply_top_k, apply_truncation
from .samplers import Step, ancestral, confidence, purity, random_order, remask, uncover
from .schedule import SPACINGS


def remask_step(settings: Settings) -> Step:
    strength = settings.remask_strength
    if settings.remask == "cap":
        return partial(remask, sigma=lambda most_BN: most_BN.clamp(max=strength), by_confidence=False)
    by_confidence = settings.remask == "confidence"
    return partial(remask, sigma=lambda most_BN: most_BN * strength, by_confidence=by_confidence)


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
AUTOREGRESSIVE = "autoregressive"  # not a step of a diffusion: see autoregressive.py
SAMPLER_OF = {"purity": "purity", "luck": "confidence", "remask": "remask", "remask_strength": "remask"}


class About(NamedTuple):
    """What a setting means, said once: the command, the nodes and their translations read it here."""

    help: str
    low: float | None = None  # least and greatest value, of a number
    high: float | None = None
    choices: Collection[str] | None = None


def setting(
    default: Any, help: str, low: float | None = None, high: float | None = None, choices: Collection[str] | None = None
) -> Any:
    return field(default=default, metadata={"about": About(help, low, high, choices)})


@dataclass(frozen=True)
class Settings:
    """How an image is drawn. Raises ValueError where a value has no meaning.

    The defaults are what measured best on the model *stickers*: docs/quality.md, docs/samplers.md.
    """

    steps: int = setting(
        16,
        "How often the network looks at each image. Few are quick, more are finer; any number is exact to the model.",
        1,
        10_000,
    )
    guidance: float = setting(
        1.5,
        "How closely to follow the prompt. 1 is the plain model and twice as fast; too much makes images alike and "
        "harsh.",
        0.0,
        100.0,
    )
    truncation: float = setting(
        0.5,
        "Each token is drawn among the likeliest ones that together have this probability: 1 allows all, lower "
        "is safer and plainer.",
        0.0,
        1.0,
    )
    sampler: str = setting(
        "remask",
        "ancestral: the model's own law. exact count: the same number of tokens every time. purity and confidence: the "
        "surest tokens first. remask: takes tokens back and corrects them. autoregressive: token by token, row by row, "
        "for models that can draw in no other way.",
        choices=(*SAMPLERS, AUTOREGRESSIVE),
    )
    denoise: float = setting(
        1.0, "How much of the image is drawn anew: 1 all, 0.5 about half of the tokens, 0 none.", 0.0, 1.0
    )
    guidance_schedule: str = setting(
        "constant",
        "constant: the same in every step. ramp: from none to the sampler's guidance, so that images differ more "
        "and still follow the prompt.",
        choices=GUIDANCE_SCHEDULES,
    )
    guidance_start: float = setting(0.0, "The part of the run, 0 to 1, from which on guidance speaks.", 0.0, 1.0)
    guidance_end: float = setting(1.0, "The part of the run, 0 to 1, until which guidance speaks.", 0.0, 1.0)
    spacing: str = setting(
        "uniform",
        "uniform: evenly in time. masked: as many tokens in each step. cosine: few at first, many at the end. "
        "loop: holds a tenth masked for half of the run; use it with the sampler remask.",
        choices=SPACINGS,
    )
    temperature: float = setting(1.0, "Below 1 tokens are drawn more safely, above 1 more wildly.", 0.0, 10.0)
    top_k: int = setting(0, "Each token is drawn among so many likeliest ones. 0: all of them.", 0, 1_000_000)
    sharpness: float = setting(0.0, "Makes a token of which the model is sure surer still. 0: as it is.", 0.0, 10.0)
    purity: float = setting(1.0, "Sampler purity: how much sure tokens come first. 0: in any order.", 0.0, 10.0)
    luck: float = setting(4.5, "Sampler confidence: how much chance there is in the order of the tokens.", 0.0, 100.0)
    remask: str = setting(
        "confidence",
        "Sampler remask, which tokens are taken back. cap: each with the same small chance. rescale: more of them "
        "early, fewer late. confidence: as rescale, and rather the unsure ones.",
        choices=REMASK,
    )
    remask_strength: float = setting(0.5, "Sampler remask: how often tokens are taken back. 0: never.", 0.0, 1.0)
    rounds: int = setting(1, "How often each step is taken back and done again. More fits edits in better.", 1, 100)
    overlap: float = setting(
        0.5, "How much neighbouring windows share on a canvas larger than the model's own.", 0.0, 0.9
    )
    soft: bool = setting(
        False,
        "On: a faintly marked token is let go late in the run, so that little of it changes. Off: any mark counts "
        "in full.",
    )

    def __post_init__(self):
        for name, about in ABOUT.items():
            value = getattr(self, name)
            if about.low is not None and not (math.isfinite(value) and about.low <= value <= about.high):
                raise ValueError(f"{name} is {value}; expected a number from {about.low:g} to {about.high:g}.")
            if about.choices and value not in about.choices:
                raise ValueError(f"{name} is {value!r:.100}; expected one of {', '.join(about.choices)}.")

    def guidance_scale(self) -> GuidanceScale:
        return GuidanceScale(self.guidance, self.guidance_schedule, self.guidance_start, self.guidance_end)

    def logits_processors(self) -> list[LogitsProcessor]:
        return [
            partial(apply_temperature, temperature=self.temperature),
            partial(apply_top_k, count=self.top_k),
            partial(apply_truncation, rate=self.truncation),
        ]


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
        if settings.sampler != sampler and value not in (getattr(DEFAULTS, name), EARLIER.get(name)):
            notify(f"{name} is {value}, which has no effect on the sampler {settings.sampler}, but on {sampler}.")


ABOUT: dict[str, About] = {each.name: each.metadata["about"] for each in fields(Settings)}
DEFAULTS = Settings()
EARLIER = {"remask": "rescale", "remask_strength": 0.1}  # defaults of 0.1.0, in workflows where nobody chose them
