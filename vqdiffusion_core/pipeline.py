"""From prompt to image without an editor: the path that the nodes take one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import tiles
from .diffusion.guidance import Condition, Guidance, Prompt
from .diffusion.noise import SEEDS
from .diffusion.sampling import sample
from .diffusion.settings import DEFAULTS, Settings, notify_of_unheard
from .editing import Inpaint, RegionalPrompt, initial_tokens, paste
from .model import VQDiffusion
from .networks.oom import AdaptiveBatches

OnStep = Callable[[int, Tensor], object]


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
    on_step: OnStep = lambda step, tokens: None,
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
    tokens_hw, mask_strength_hw = initial_tokens(model, edit, size)
    grid = tokens_hw.shape[0], tokens_hw.shape[1]
    wanted = [] if prompt is None else [Prompt(model.encode(prompt))]
    wanted += [Prompt(model.encode(p.prompt), p.strength_N(grid), p.start, p.end) for p in parts]
    null = model.null() if negative is None else model.encode(negative)
    guidance = Guidance(wanted, [], null, settings.guidance_scale())
    seeds = [(index(seed) + i) % SEEDS for i in range(count)]
    images = draw_images(model, guidance, tokens_hw, mask_strength_hw, settings, seeds, on_step)
    return (
        [paste(image, edit, mask_strength_hw) for image in images] if edit and mask_strength_hw is not None else images
    )


def generate_each(
    model: VQDiffusion,
    conditions: Sequence[Condition],
    nulls: Sequence[Condition],
    seeds: Sequence[int],
    settings: Settings,
) -> list[Image.Image]:
    """An image of each condition in one run; those that guidance pushes away from are one each, or one for all."""
    tokens_hw, _ = initial_tokens(model, None, None)
    guidance = Guidance([Prompt(join(conditions))], [], join(nulls), settings.guidance_scale())
    return draw_images(model, guidance, tokens_hw, None, settings, seeds)


def join(conditions: Sequence[Condition]) -> Condition:
    given = [condition for condition in conditions if condition is not None]
    return torch.cat(given) if given else None


def draw_images(
    model: VQDiffusion,
    guidance: Guidance,
    tokens_hw: Tensor,
    mask_strength_hw: Tensor | None,
    settings: Settings,
    seeds: Sequence[int],
    on_step: OnStep = lambda step, tokens: None,
) -> list[Image.Image]:
    """An image for each seed, all from the same tokens on."""
    grid, count = (tokens_hw.shape[0], tokens_hw.shape[1]), len(seeds)
    tokens_BN = tokens_hw.flatten().repeat(count, 1).to(model.device)
    mask_strength_BN = None if mask_strength_hw is None else mask_strength_hw.flatten().repeat(count, 1)
    states = sample(model.transformer, model.schedule, guidance, tokens_BN, mask_strength_BN, settings, seeds, grid)
    for step, state in enumerate(states):
        on_step(step, state.x_BN)
        tokens_BN = state.x_BN
    return decode(model, tokens_BN.unflatten(1, grid))


@torch.no_grad()
def decode(model: VQDiffusion, tokens_Bhw: Tensor) -> list[Image.Image]:
    """Token ids (B, h, w) -> RGB images. On a CPU one by one: between two shades, a batch may round to the other.
    Elsewhere as many at once as fit, and an image that does not fit is decoded in tiles.
    """
    tokens_Bhw = tokens_Bhw.to(model.device)

    def pixels(part: slice) -> Tensor:
        tokens_bhw = tokens_Bhw[part]
        one = len(tokens_bhw) == 1
        return to_pixels(tiles.decode(model.vqgan, tokens_bhw) if one else model.vqgan.decode(tokens_bhw))

    batches = AdaptiveBatches(1 if model.device.type == "cpu" else None)
    return [Image.fromarray(np.asarray(pixels_HWC)) for pixels_HWC in batches.map(pixels, len(tokens_Bhw))]


def to_pixels(image_BCHW: Tensor) -> Tensor:
    """Images in -1..1 -> bytes (B, H, W, 3) on the CPU."""
    return ((image_BCHW.float() + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu()
