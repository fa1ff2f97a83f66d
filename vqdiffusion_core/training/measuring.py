"""What evaluations are made of: images of many prompts, a seed each, what a codec makes of images, and seconds."""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..diffusion.guidance import cfg
from ..diffusion.sampling import sample
from ..diffusion.settings import AUTOREGRESSIVE, DEFAULTS, Settings
from ..files.atomic import atomic_write
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..pipeline import decode, generate
from .codec import psnr
from .data import to_tensor

BATCH = 25
TIMED = 5  # images
SETTINGS = ("guidance", "truncation")  # of a point of a curve
STRONGEST = 0.07  # share of an image's pixels that are its edges

Figures = dict[str, Any]


def measure(parts: Mapping[str, Callable[[], Any]], file: Path | None, of: Figures) -> Figures:
    """The figures of every part, and `of` what they are. The file has them as soon as they are known; those that it has
    already, of the same, are not measured again. Raises ValueError, before any work, for a file of something else.
    """
    kept = read_figures(file) if file and file.exists() else {}
    figures = {"of": of} | (kept if kept.get("of") == of else {})
    for name, figure in tqdm(parts.items(), "measured", unit="part", disable=None):
        if name not in figures:
            figures[name] = figure()
            if file:
                with atomic_write(file) as unfinished:
                    unfinished.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def read_figures(file: Path) -> Figures:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise ValueError(f"{file} has no figures of an evaluation in it and would be lost; give --json another file.")
    return kept


def table(figures: Figures) -> str:
    """The figures as Markdown, one line each."""
    lines = ["| | |", "|---|---|"]
    for part, numbers in figures.items():
        for point in numbers if isinstance(numbers, list) else [numbers] if part != "of" else []:
            settings = [f"{name} {point[name]:g}" for name in SETTINGS if name in point]
            title = ", ".join(settings) or part
            lines += [f"| {title}: {name} | {value:.3g} |" for name, value in point.items() if name not in SETTINGS]
    return "\n".join(lines)


def draw(model: VQDiffusion, prompts: Sequence[str], settings: Settings = DEFAULTS) -> list[Image.Image]:
    tokens_BN = draw_tokens(model, prompts, settings=settings)
    return decode(model, tokens_BN.unflatten(1, model.transformer.spec.grid))


@torch.no_grad()
def draw_tokens(
    model: VQDiffusion,
    prompts: Sequence[str],
    tokens_BN: Tensor | None = None,
    region_BN: Tensor | None = None,
    settings: Settings = DEFAULTS,
    canvas: tuple[int, int] | None = None,
) -> Tensor:
    """Tokens (B, N) of one image a prompt, of the seeds 0 to B - 1: of all, or of `tokens_BN` those in the region."""
    spec, text_encoder = model.transformer.spec, model.text_encoder
    if text_encoder is None:
        raise ValueError(f"{model.name} does not draw from prompts; the built-in scenes are asked for in words.")
    if tokens_BN is None:
        tokens_BN = torch.full((len(prompts), spec.num_tokens), spec.mask_id)
    drawn, settings = [], by_own_sampler(model, settings)
    for begin in range(0, len(prompts), BATCH):
        part = range(begin, min(begin + BATCH, len(prompts)))
        rows = slice(part.start, part.stop)
        condition = text_encoder.encode([prompts[i] for i in part]).to(model.device, model.dtype)
        *_, last = sample(
            model.transformer,
            model.schedule,
            cfg(condition, model.null(), settings.guidance),
            tokens_BN[rows].to(model.device),
            None if region_BN is None else region_BN[rows],
            settings,
            part,
            canvas,
        )
        drawn.append(last.x_BN)
    return torch.cat(drawn)


def by_own_sampler(model: VQDiffusion, settings: Settings) -> Settings:
    """With the only sampler of a model that draws token by token."""
    return replace(settings, sampler=AUTOREGRESSIVE) if isinstance(model.transformer, GPT) else settings


@torch.no_grad()
def codec_figures(model: VQDiffusion, images: Iterable[Image.Image]) -> Figures:
    """Likeness of what the codec makes of images, and how much of the codebook they use."""
    likeness, sharpness, used = [], [], torch.zeros(model.vqgan.spec.codebook_size, dtype=torch.bool)
    for original in images:
        image = to_tensor(original)[None]
        tokens = model.vqgan.encode(image.to(model.device))
        used[tokens.flatten().cpu()] = True
        drawn = model.vqgan.decode(tokens).cpu()
        likeness.append(psnr(drawn, image))
        sharpness.append(edge_strength(drawn[0], image[0]))
    return {
        "PSNR in dB": statistics.mean(likeness),
        "edges": statistics.mean(sharpness),
        "share of the codes used": used.float().mean().item(),
    }


def edge_strength(drawn_3HW: Tensor, original_3HW: Tensor) -> float:
    """Mean gradient of what was drawn where the original's is strongest, over the original's there."""
    ours_HW, true_HW = gradient(drawn_3HW), gradient(original_3HW)
    where_HW = true_HW >= true_HW.flatten().quantile(1 - STRONGEST)
    return float(ours_HW[where_HW].mean() / true_HW[where_HW].mean().clamp(min=1e-6))


def gradient(image_3HW: Tensor) -> Tensor:
    """How quickly the lightness changes, from the pixels above and on the left."""
    light_HW = image_3HW.clamp(-1, 1).mean(0)
    down_HW, across_HW = torch.zeros_like(light_HW), torch.zeros_like(light_HW)
    down_HW[1:], across_HW[:, 1:] = light_HW.diff(dim=0), light_HW.diff(dim=1)
    return torch.hypot(down_HW, across_HW)


def seconds_per_image(model: VQDiffusion, prompt: str) -> float:
    """From a prompt to the bytes of a PNG, one image at default settings, the median of a few."""

    def one(seed: int) -> float:
        begun = time.perf_counter()
        settings = by_own_sampler(model, DEFAULTS)
        generate(model, prompt, seed=seed, settings=settings)[0].save(io.BytesIO(), "PNG")
        return time.perf_counter() - begun

    one(0)
    return statistics.median(one(seed) for seed in range(TIMED))


def mean(outcomes: Iterable[bool]) -> float:
    return statistics.mean(float(outcome) for outcome in outcomes)


def pixel_distance(first: Image.Image, second: Image.Image) -> float:
    difference = np.asarray(first, dtype=np.float32) - np.asarray(second, dtype=np.float32)
    return float(np.sqrt(np.square(difference).mean()))
