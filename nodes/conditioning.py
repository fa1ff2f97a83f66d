"""CONDITIONING [[vectors, {...}], ...] <-> what a transformer is conditioned on: text vectors, or a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..vqdiffusion_core.diffusion.guidance import Condition, Guidance, GuidanceScale, Prompt
from ..vqdiffusion_core.diffusion.windows import Grid
from ..vqdiffusion_core.networks.specs import PriorSpec
from ..vqdiffusion_core.notices import notify
from .latents import size

Conditioning = list[list[Any]]

CLASS_LABEL = "vq_class"  # the key that says that a conditioning's (1, 1, 1) tensor is a class label
AREA_CELL = 8  # pixels; the core's nodes count areas in latent cells of this size, whatever the model
MAX_STRENGTH = 1e6  # the core's widgets end at 10; only a broken file has more
MAX_AREA = 1e6  # cells
UNSUPPORTED = {"control": "a ControlNet", "gligen": "GLIGEN boxes"}  # what other models' prompts may carry
IGNORED = {
    "reference_latents": "reference images",
    "concat_latent_image": "the image of an inpainting model (the region comes with the latent)",
    "unclip_conditioning": "images for unCLIP",
    "clip_vision_output": "what CLIP Vision has seen",
    "hooks": "hooks, such as a LoRA's",
    "guidance": "a guidance for Flux (set it on the sampler)",
}


class ConditioningError(ValueError):
    """A conditioning that a model cannot use: what came, what was expected, what to do next."""


def of_text(text_BLD: Tensor, extra: Mapping[str, Any] | None = None) -> Conditioning:
    return [[text_BLD, dict(extra or {})]]


def of_class(label: int) -> Conditioning:
    # In the tensor too, where a node that calculates with vectors shows that it has been there.
    return [[torch.full((1, 1, 1), float(label)), {CLASS_LABEL: label}]]


@dataclass(frozen=True)
class Canvas:
    """What prompts are laid over: so many images of so many tokens."""

    batch: int
    grid: Grid  # rows, columns
    cell: int  # pixels a token

    @classmethod
    def of(cls, tokens_Bhw: Tensor, cell: int) -> Canvas:
        return cls(len(tokens_Bhw), (tokens_Bhw.shape[1], tokens_Bhw.shape[2]), cell)


def read_guidance(
    positive: Conditioning,
    negative: Conditioning | None,
    null: Condition,
    scale: GuidanceScale,
    spec: PriorSpec,
    canvas: Canvas,
) -> Guidance:
    """The prompts of a sampler's two sockets, on the CPU and as they were encoded."""
    wanted = read_prompts(positive, "positive", spec, canvas)
    unwanted = [] if negative is None else read_prompts(negative, "negative", spec, canvas)
    return Guidance(wanted, unwanted, null, scale)


def read_prompts(conditioning: Conditioning, socket: str, spec: PriorSpec, canvas: Canvas) -> list[Prompt]:
    """The prompts of a CONDITIONING that came in at `socket`, each with its tokens and its part of the run."""
    if spec.condition == "none":
        return [Prompt(None)] if socket == "positive" else []
    if not conditioning:
        raise ConditioningError(f"{socket} has no prompt in it. Connect a text encode node.")
    return [read_prompt(vectors, about, socket, spec, canvas) for vectors, about in conditioning]


def read_prompt(vectors: Tensor, about: dict[str, Any], socket: str, spec: PriorSpec, canvas: Canvas) -> Prompt:
    for key, name in UNSUPPORTED.items():
        if about.get(key) is not None:
            raise ConditioningError(f"{socket} carries {name}, which works with other models alone. Take it out.")
    for key, name in IGNORED.items():
        if about.get(key) is not None:
            notify(f"{socket} carries {name}, which VQ-Diffusion does not read.")
    if spec.condition == "class":
        condition = read_class(vectors, about, socket, spec)
    else:
        condition = read_text(vectors, about, socket, spec, canvas.batch)
    start, end = (
        read_number(about, key, socket, whole, 1.0) for key, whole in (("start_percent", 0.0), ("end_percent", 1.0))
    )
    return Prompt(condition, read_strength(about, socket, canvas), start, end)


def read_strength(about: dict[str, Any], socket: str, canvas: Canvas) -> float | Tensor:
    """How strongly a prompt speaks: one number, or one a token (1 or B, N) where it has a mask or an area."""
    strength = read_number(about, "strength", socket, 1.0, MAX_STRENGTH)
    mask, area = about.get("mask"), about.get("area")
    if mask is None and area is None:
        return strength
    strength_Bhw = torch.full((1, *canvas.grid), strength)
    if mask is not None:
        mask_strength = read_number(about, "mask_strength", socket, 1.0, MAX_STRENGTH)
        strength_Bhw = strength_Bhw * mask_strength * read_mask(mask, socket, canvas)
    if area is not None:
        strength_Bhw = strength_Bhw * read_area(area, socket, canvas)
    return strength_Bhw.flatten(1)


def read_mask(mask: Any, socket: str, canvas: Canvas) -> Tensor:
    """A mask of any resolution -> how much of each token's cell it covers, (1 or B, h, w) in 0..1."""
    if not torch.is_tensor(mask) or mask.ndim not in (2, 3) or 0 in mask.shape:
        raise ConditioningError(f"{socket} has a mask that is no image; use Conditioning (Set Mask) with a MASK.")
    mask_BHW = mask.reshape(-1, *mask.shape[-2:]).float().cpu()
    if len(mask_BHW) > canvas.batch:
        notify(f"{socket} has {len(mask_BHW)} masks for {canvas.batch} images; the last ones are left out.")
    if len(mask_BHW) > 1:
        mask_BHW = mask_BHW[torch.arange(canvas.batch) % len(mask_BHW)]
    return F.adaptive_avg_pool2d(mask_BHW[:, None], canvas.grid)[:, 0].nan_to_num().clamp(0, 1)


def read_area(area: Any, socket: str, canvas: Canvas) -> Tensor:
    """("percentage", height, width, y, x) in 0..1, or four numbers of latent cells -> 1 where a token lies in it."""
    given = list(area) if isinstance(area, tuple | list) else []
    shares = given[:1] == ["percentage"]
    sizes = given[1:] if shares else given
    if len(sizes) != 4 or not all(isinstance(size, int | float) and abs(size) <= MAX_AREA for size in sizes):
        raise ConditioningError(
            f"{socket} has an area {area!r:.100}; expected height, width, y and x, all of them numbers."
        )
    per_token = canvas.grid if shares else (AREA_CELL / canvas.cell,) * 2  # what turns a number into tokens
    inside_hw = torch.zeros(1, *canvas.grid)
    (top, bottom), (left, right) = (
        (round(begin * unit), round(begin * unit) + max(1, round(length * unit)))
        for length, begin, unit in zip(sizes[:2], sizes[2:], per_token, strict=True)
    )
    inside_hw[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 1
    if not inside_hw.any():
        pixels = size((canvas.grid[0] * canvas.cell, canvas.grid[1] * canvas.cell))
        raise ConditioningError(
            f"{socket} has an area that lies outside of the image of {pixels} pixels. Move it inside."
        )
    return inside_hw


def read_number(about: dict[str, Any], key: str, socket: str, default: float, most: float) -> float:
    value = about.get(key, default)
    if not isinstance(value, int | float) or not 0 <= value <= most:
        raise ConditioningError(f"{socket} has {key} {value!r:.100}; expected a number from 0 to {most:g}.")
    return float(value)


def read_text(vectors: Tensor, about: dict[str, Any], socket: str, spec: PriorSpec, batch: int) -> Tensor:
    if CLASS_LABEL in about:
        raise ConditioningError(
            f"{socket} is a class label, and this model reads text. Use CLIP Text Encode or VQ-Diffusion Text Encode "
            "with the CLIP of this model's loader."
        )
    if vectors.ndim != 3 or vectors.shape[2] != spec.text_width:
        raise ConditioningError(
            f"{socket} has text vectors of shape {tuple(vectors.shape)}; this model reads (1, any, {spec.text_width}). "
            "They come from another model's text encoder: encode the prompt with the CLIP of this model's loader."
        )
    if len(vectors) not in (1, batch):
        raise ConditioningError(
            f"{socket} has {len(vectors)} texts for {batch} images; expected 1, or one an image. Set the batch size "
            f"of the latent to {len(vectors)}."
        )
    return vectors


def read_class(vectors: Tensor, about: dict[str, Any], socket: str, spec: PriorSpec) -> Tensor:
    if CLASS_LABEL not in about:
        raise ConditioningError(f"{socket} is text, and this model draws classes. Use VQ-Diffusion Class Encode.")
    label = about[CLASS_LABEL]
    if vectors.numel() != 1 or vectors.item() != label:
        raise ConditioningError(
            f"{socket} was class {label} until a node calculated with it, and classes have no in-between. Connect "
            "VQ-Diffusion Class Encode directly."
        )
    if not 0 <= label < spec.class_rows:
        raise ConditioningError(
            f"{socket} is class {label}; this model has 0 to {spec.class_rows - 1}. Encode the class with this model."
        )
    return torch.tensor([label])
