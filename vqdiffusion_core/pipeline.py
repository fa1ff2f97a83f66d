"""From prompt to image without an editor: the path that the nodes take one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .diffusion.guidance import Guidance, Prompt
from .diffusion.noise import SEEDS
from .diffusion.sampling import sample
from .diffusion.settings import DEFAULTS, Settings, notify_of_unheard
from .editing import Inpaint, RegionalPrompt, initial_tokens, paste
from .model import VQDiffusion


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
    on_step: Callable[[int, Tensor], object] = lambda step, tokens: None,
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
    tokens_BN = tokens_hw.flatten().repeat(count, 1).to(model.device)
    mask_strength_BN = None if mask_strength_hw is None else mask_strength_hw.flatten().repeat(count, 1)
    seeds = [(index(seed) + i) % SEEDS for i in range(count)]
    states = sample(model.transformer, model.schedule, guidance, tokens_BN, mask_strength_BN, settings, seeds, grid)
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
    return [to_image(model.vqgan.decode(tokens_hw[None])[0]) for tokens_hw in tokens_Bhw.to(model.device)]


def to_image(image_CHW: Tensor) -> Image.Image:
    pixels = ((image_CHW.float() + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(np.asarray(pixels.cpu()))
