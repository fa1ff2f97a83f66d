"""From prompt to picture without an editor: the path that the nodes take one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .denoiser import Denoiser, truncated
from .guidance import Branch, Condition, guided
from .inpainting import free_tokens, start
from .model import VQDiffusion
from .noise import Noise
from .samplers import ancestral
from .schedule import Schedule
from .transformer import Transformer

SAMPLERS = {"ancestral": ancestral}


@dataclass(frozen=True)
class Settings:
    """How a picture is drawn. Raises ValueError where a number has no meaning."""

    steps: int = 16  # network evaluations a picture, 1 or more
    guidance: float = 1.5  # 1: none; the card of the embedded model has the measurements behind it
    truncation: float = 0.86  # 0..1, the kept probability mass; 1: all
    sampler: str = "ancestral"
    denoise: float = 1.0  # 0..1, how far the tokens are taken back before they are drawn anew

    def __post_init__(self):
        def check(name: str, low: float, high: float) -> None:
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{name} is {value}; expected a number from {low:g} to {high:g}.")

        check("steps", 1, 10_000)
        check("guidance", 0, 100)
        check("truncation", 0, 1)
        check("denoise", 0, 1)
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler is {self.sampler!r}; expected one of {', '.join(SAMPLERS)}.")


def sample(
    transformer: Transformer,
    schedule: Schedule,
    branches: Sequence[Branch],
    tokens_BN: Tensor,
    region_BN: Tensor | None,
    settings: Settings,
    seeds: Sequence[int],
) -> Iterator[Tensor]:
    """Draw the region's tokens anew (all tokens, without a region); yields the tokens (B, N) after every step.

    `tokens_BN` holds ids 0..K, K the mask; `seeds` has one seed a picture. The last state has no mask left.
    """
    noise = Noise(list(seeds))
    free_BN = free_tokens(tokens_BN, region_BN, transformer.spec.mask_id)
    x_BN, start_B = start(tokens_BN, free_BN, schedule, settings.denoise, noise)
    yield x_BN
    groups = [[i for i, t in enumerate(start_B) if t == start_t] for start_t in sorted(set(start_B))]
    runs = [
        SAMPLERS[settings.sampler](
            truncated(Denoiser(transformer, schedule, select(branches, group)), settings.truncation),
            x_BN[group],
            schedule,
            schedule.timesteps(settings.steps, start_B[group[0]]),
            noise.select(group),
            free_BN[group],
        )
        for group in groups
    ]
    for states in zip(*runs, strict=True):
        x_BN = x_BN.clone()
        for group, state in zip(groups, states, strict=True):
            x_BN[group] = state
        yield x_BN


def select(branches: Sequence[Branch], pictures: list[int]) -> list[Branch]:
    """The branches for some pictures of the batch; a condition of batch 1 is everybody's."""

    def of(condition: Condition) -> Condition:
        return condition if condition is None or len(condition) == 1 else condition[pictures]

    return [replace(branch, condition=of(branch.condition)) for branch in branches]


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
    tokens_BN = torch.full((count, spec.num_tokens), spec.mask_id)
    branches = guided(condition, null, settings.guidance)
    seeds = [seed + i for i in range(count)]
    for step, x_BN in enumerate(sample(model.transformer, model.schedule, branches, tokens_BN, None, settings, seeds)):
        on_step(step, x_BN)
        tokens_BN = x_BN
    return decode(model, tokens_BN)


@torch.no_grad()
def decode(model: VQDiffusion, tokens_BN: Tensor) -> list[Image.Image]:
    """Token ids (B, N) -> RGB pictures."""
    image_BCHW = model.vqgan.decode(tokens_BN.unflatten(1, model.transformer.spec.grid))
    pixels = ((image_BCHW.float() + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return [Image.fromarray(np.asarray(picture)) for picture in pixels.cpu()]
