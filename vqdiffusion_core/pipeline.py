"""From prompt to picture without an editor: the path that the nodes take one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .canvas import Grid, windows
from .denoiser import Denoiser, Predict, shaped
from .guidance import Branch, Scale, constant, guided, interval, ramp
from .inpainting import Region
from .model import VQDiffusion
from .noise import Noise
from .samplers import Sampler, State, ancestral, by_chance, by_confidence, by_purity, counted, edited, remasking
from .schedule import SPACINGS, Schedule
from .transformer import Transformer
from .truncation import keep_top, sharpen, temper, truncate


@dataclass(frozen=True)
class Settings:
    """How a picture is drawn. Raises ValueError where a value has no meaning."""

    steps: int = 16  # network evaluations a picture, 1 or more
    guidance: float = 1.5  # 1: none; the card of the embedded model has the measurements behind it
    truncation: float = 0.86  # 0..1, the kept probability mass; 1: all
    sampler: str = "ancestral"  # one of SAMPLERS
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

    def shape(self, predict: Predict) -> Predict:
        """`predict` as these settings let it be drawn from."""
        return shaped(
            predict,
            partial(temper, temperature=self.temperature),
            partial(sharpen, weight=self.sharpness),
            partial(keep_top, count=self.top_k),
            partial(truncate, rate=self.truncation),
        )


def remask_sampler(settings: Settings) -> Sampler:
    strength = settings.remask_strength
    chances = {"cap": lambda most: min(most, strength), "rescale": lambda most: most * strength}
    chance = chances.get(settings.remask, chances["rescale"])
    return partial(remasking, chance=chance, doubt=settings.remask == "confidence")


GUIDANCE: dict[str, Callable[[float], Scale]] = {"constant": constant, "ramp": ramp}
REMASK = ("cap", "rescale", "confidence")
SAMPLERS: dict[str, Callable[[Settings], Sampler]] = {
    "ancestral": lambda settings: ancestral,
    "exact count": lambda settings: partial(counted, score=by_chance),
    "purity": lambda settings: partial(counted, score=by_purity(settings.purity)),
    "confidence": lambda settings: partial(counted, score=by_confidence, luck=lambda gamma: settings.luck * gamma),
    "remask": remask_sampler,
}
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


def sample(
    transformer: Transformer,
    schedule: Schedule,
    branches: Sequence[Branch],
    tokens_BN: Tensor,
    level_BN: Tensor | None,
    settings: Settings,
    seeds: Sequence[int],
    canvas: Grid | None = None,
) -> Iterator[State]:
    """Draw tokens anew; yields the state before the first step and after each.

    `tokens_BN` holds ids 0..K, K the mask, row by row of the `canvas` (the model's own grid, unless given). `level_BN`,
    0..1, marks what is drawn anew: all, without it. `seeds` has one seed a picture. The last state has no mask left.
    """
    check_masks(schedule, settings)
    if level_BN is not None and not settings.soft:
        level_BN = (level_BN > 0).float()
    grid, device = transformer.spec.grid, tokens_BN.device
    region, noise = Region.of(tokens_BN, level_BN, schedule, settings.denoise), Noise(list(seeds))
    free_BN = region.free_BN(region.start).to(device)
    noisy_BN = region.released(tokens_BN, region.start, torch.zeros_like(free_BN), noise)
    state = State.of(noisy_BN, transformer.spec.mask_id)
    yield state
    frames = None if canvas in (None, grid) else windows(grid, canvas, settings.overlap)
    predict = settings.shape(Denoiser(transformer, schedule, branches, region, frames))
    sampler, rounds = SAMPLERS[settings.sampler](settings), spread(settings.steps, settings.rounds)
    if not region.hard or settings.rounds > 1:
        sampler = edited(sampler, region, rounds)
    times = schedule.timesteps(len(rounds), region.start, settings.spacing)
    yield from sampler(predict, state, schedule, times, noise, free_BN)


def check_masks(schedule: Schedule, settings: Settings) -> None:
    gamma = schedule.bar(schedule.num_timesteps).gamma
    if settings.sampler != "ancestral" and gamma < 0.5:
        raise ValueError(
            f"sampler is {settings.sampler!r}, which uncovers masked tokens, but this model's schedule masks only "
            f"{gamma:.0%} of them. Use the sampler 'ancestral'."
        )


def spread(steps: int, rounds: int) -> list[int]:
    """How often each jump is done, so that there are `steps` network evaluations in all.

    >>> spread(16, 1) == [1] * 16, spread(8, 3)
    (True, [3, 3, 2])
    """
    whole, rest = divmod(steps, rounds)
    return [rounds] * whole + [rest] * (rest > 0)


def generate(
    model: VQDiffusion,
    prompt: str,
    *,
    negative: str | None = None,
    seed: int = 0,
    count: int = 1,
    settings: Settings = Settings(),
    on_step: Callable[[int, Tensor], None] = lambda step, tokens: None,
) -> list[Image.Image]:
    """Pictures of a prompt; picture i is that of seed + i alone. `on_step(step, tokens_BN)` is called after each step
    and may raise to stop.
    """
    condition = model.encode(prompt)
    null = model.null(negative)
    spec = model.transformer.spec
    tokens_BN = torch.full((count, spec.num_tokens), spec.mask_id, device=model.device)
    branches = guided(condition, null, settings.guidance)
    seeds = [seed + i for i in range(count)]
    states = sample(model.transformer, model.schedule, branches, tokens_BN, None, settings, seeds)
    for step, state in enumerate(states):
        on_step(step, state.x_BN)
        tokens_BN = state.x_BN
    return decode(model, tokens_BN)


@torch.no_grad()
def decode(model: VQDiffusion, tokens_BN: Tensor) -> list[Image.Image]:
    """Token ids (B, N) -> RGB pictures."""
    image_BCHW = model.vqgan.decode(tokens_BN.unflatten(1, model.transformer.spec.grid))
    pixels = ((image_BCHW.float() + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return [Image.fromarray(np.asarray(picture)) for picture in pixels.cpu()]
