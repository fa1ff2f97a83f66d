"""From prompt to image without an editor: the path that the nodes take one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import index

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .diffusion.denoiser import Denoiser, across
from .diffusion.guidance import GuidanceTerm, Prompt, compose_guidance
from .diffusion.inpainting import Region
from .diffusion.noise import SEEDS, Noise, exact_device
from .diffusion.samplers import State, edited
from .diffusion.schedule import Schedule
from .diffusion.settings import DEFAULTS, SAMPLERS, Settings, notify_of_unheard
from .diffusion.windows import Grid, windows
from .editing import Inpaint, RegionalPrompt, canvas_of, paste
from .model import VQDiffusion
from .networks.transformer import Transformer


def sample(
    transformer: Transformer,
    schedule: Schedule,
    terms: Sequence[GuidanceTerm],
    tokens_BN: Tensor,
    mask_strength_BN: Tensor | None,
    settings: Settings,
    seeds: Sequence[int],
    canvas: Grid | None = None,
) -> Iterator[State]:
    """Draw tokens anew; yields the state before the first step and after each.

    `tokens_BN` holds ids 0..K, K the mask, row by row of the `canvas` (the model's own grid, unless given).
    `mask_strength_BN`, 0..1, marks what is drawn anew: all, without it. `seeds` has one seed an image. The last state
    has no mask left.
    """
    check_masks(schedule, settings)
    if mask_strength_BN is not None and not settings.soft:
        mask_strength_BN = (mask_strength_BN > 0).float()
    grid, device, exact = transformer.spec.grid, tokens_BN.device, exact_device(tokens_BN.device)
    tokens_BN = tokens_BN.to(exact)
    region, noise = Region.of(tokens_BN, mask_strength_BN, schedule, settings.denoise), Noise(list(seeds))
    drawn_BN = region.drawn_BN(region.start).to(exact)
    noisy_BN = region.released(tokens_BN, region.start, torch.zeros_like(drawn_BN, dtype=torch.bool), noise)
    state = State.of(noisy_BN, transformer.spec.mask_id)
    yield state.to(device)
    frames = None if canvas in (None, grid) else windows(grid, canvas, settings.overlap)
    predict = across(settings.shape(Denoiser(transformer, schedule, terms, region, frames)), device, exact)
    sampler, rounds = SAMPLERS[settings.sampler](settings), spread(settings.steps, settings.rounds)
    if not region.hard or settings.rounds > 1:
        sampler = edited(sampler, region, rounds)
    times = schedule.timesteps(len(rounds), region.start, settings.spacing)
    states = sampler(predict, state, schedule, times, noise, drawn_BN)
    yield from (later.to(device) for later in states)


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
    prompt: str | None = None,
    *,
    parts: Sequence[RegionalPrompt] = (),
    negative: str | None = None,
    edit: Inpaint | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    count: int = 1,
    settings: Settings = DEFAULTS,
    on_step: Callable[[int, Tensor], None] = lambda step, tokens: None,
) -> list[Image.Image]:
    """Images of a prompt; image i is that of seed + i alone, and after 2**64 - 1 comes 0.

    `on_step(step, tokens_BN)` is called after each step and may raise to stop.
    `parts` adds prompts for parts of the image. `size` (width, height) in pixels, larger than the model's own, is
    drawn through windows. With `edit`, that image is drawn anew where its mask says so, as far as settings.denoise
    says; what is not marked stays as it was, to the pixel.
    """
    notify_of_unheard(settings, has_negative=negative is not None)
    if not -SEEDS < seed < SEEDS:
        raise ValueError(f"seed is {seed}; expected a number from 0 to 2**64 - 1.")
    if prompt is None and not parts:
        prompt = ""
    tokens_hw, mask_strength_hw = canvas_of(model, edit, size)
    grid = tokens_hw.shape[0], tokens_hw.shape[1]
    wanted = [] if prompt is None else [Prompt(model.encode(prompt))]
    wanted += [Prompt(model.encode(p.prompt), p.strength_N(grid), p.start, p.end) for p in parts]
    terms = compose_guidance(wanted, [], model.null(negative), settings.scale())
    tokens_BN = tokens_hw.flatten().repeat(count, 1).to(model.device)
    mask_strength_BN = None if mask_strength_hw is None else mask_strength_hw.flatten().repeat(count, 1)
    seeds = [(index(seed) + i) % SEEDS for i in range(count)]
    states = sample(model.transformer, model.schedule, terms, tokens_BN, mask_strength_BN, settings, seeds, grid)
    for step, state in enumerate(states):
        on_step(step, state.x_BN)
        tokens_BN = state.x_BN
    images = decode(model, tokens_BN.unflatten(1, grid))
    return (
        [paste(image, edit, mask_strength_hw) for image in images] if edit and mask_strength_hw is not None else images
    )


@torch.no_grad()
def decode(model: VQDiffusion, tokens_Bhw: Tensor) -> list[Image.Image]:
    """Token ids (B, h, w) -> RGB images, one by one: between two shades, a batch may round to the other."""
    return [to_image(model.vqgan.decode(tokens_hw[None])[0]) for tokens_hw in tokens_Bhw]


def to_image(image_CHW: Tensor) -> Image.Image:
    pixels = ((image_CHW.float() + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(np.asarray(pixels.cpu()))
