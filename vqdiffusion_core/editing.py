"""What an image is made of besides its prompt: prompts for parts of it, and an image to work on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .diffusion.inpainting import feather_mask, token_mask
from .diffusion.windows import Grid
from .files.images import to_mask, to_rgb, upright
from .model import VQDiffusion
from .notices import notify
from .tiles import encode


@dataclass(frozen=True)
class RegionalPrompt:
    """A prompt for a part of the image and of the run."""

    prompt: str
    box: tuple[float, float, float, float] = (0, 0, 1, 1)  # left, top, right, bottom, in 0..1 of the image
    start: float = 0.0  # 0..1, the part of the run in which it speaks
    end: float = 1.0
    strength: float = 1.0  # beside those of other prompts at the same place

    def __post_init__(self):
        left, top, right, bottom = self.box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(f"box is {self.box}; expected left < right and top < bottom, all from 0 to 1.")
        if not (0 <= self.start < self.end <= 1 and 0 < self.strength < math.inf):
            raise ValueError(
                f"start, end and strength are {self.start}, {self.end} and {self.strength}; expected start < end, both "
                "from 0 to 1, and a strength above 0."
            )

    def strength_N(self, grid: Grid) -> Tensor:
        """Its strength at each token, by how much of it lies in the box."""
        left, top, right, bottom = self.box
        rows, columns = (coverage(size, *ends) for size, ends in zip(grid, ((top, bottom), (left, right)), strict=True))
        return self.strength * torch.outer(rows, columns).flatten()


def coverage(size: int, begin: float, end: float) -> Tensor:
    """How much of each of `size` equal cells of 0..1 lies between `begin` and `end`.

    >>> coverage(4, 0.125, 0.5).tolist()
    [0.5, 1.0, 0.0, 0.0]
    """
    edges = torch.arange(size + 1) / size
    inside = torch.minimum(edges[1:], torch.tensor(end)) - torch.maximum(edges[:-1], torch.tensor(begin))
    return inside.clamp(min=0) * size


@dataclass(frozen=True)
class Inpaint:
    """An image to work on. Images of any mode are taken, and kept upright, the image as RGB on white and the mask as
    grey (`images.to_mask` says what one with transparency marks).
    """

    image: Image.Image
    mask: Image.Image | None = None  # of any size; what is not black is drawn anew. None: all of it
    grow: int = 0  # tokens by which the marked part is widened
    feather: int = 0  # pixels over which the drawn part blends into the image

    def __post_init__(self):
        object.__setattr__(self, "image", to_rgb(upright(self.image)))
        if self.mask is not None:
            object.__setattr__(self, "mask", to_mask(upright(self.mask)))


def canvas_of(model: VQDiffusion, edit: Inpaint | None, size: tuple[int, int] | None) -> Grid:
    """Rows and columns of what is drawn, in whole tokens: of `size`, (width, height) in pixels, of the image that is
    edited, or the model's own.
    """
    pixels, cell = size or (edit and edit.image.size), model.vqgan.spec.downscale
    return (pixels[1] // cell, pixels[0] // cell) if pixels else model.transformer.spec.grid


def initial_tokens(
    model: VQDiffusion, edit: Inpaint | None, size: tuple[int, int] | None
) -> tuple[Tensor, Tensor | None]:
    """The tokens (h, w) that a run begins with, and how strongly each is marked, 0..1; None where all are drawn."""
    spec, cell = model.transformer.spec, model.vqgan.spec.downscale
    rows, columns = canvas_of(model, edit, size)
    width, height = size or (edit.image.size if edit else (columns * cell, rows * cell))
    if rows < spec.grid[0] or columns < spec.grid[1]:
        raise ValueError(
            f"The image is {width} x {height} pixels; {model.name} draws "
            f"{spec.grid[1] * cell} x {spec.grid[0] * cell} or more. Scale it up first."
        )
    if edit is None:
        if (width, height) != (columns * cell, rows * cell):
            notify(f"size is {width} x {height} pixels; the image has {columns * cell} x {rows * cell}, whole tokens.")
        return torch.full((rows, columns), spec.mask_id), None
    if edit.image.size != (columns * cell, rows * cell):
        raise ValueError(
            f"The image to edit is {edit.image.width} x {edit.image.height} pixels; expected whole tokens of "
            f"{cell} pixels, such as {columns * cell} x {rows * cell}. Scale or crop it first."
        )
    pixels_HWC = torch.from_numpy(np.array(edit.image)).float()
    with torch.no_grad():
        tokens_hw = encode(model.vqgan, pixels_HWC.permute(2, 0, 1)[None].to(model.device) / 127.5 - 1)[0].cpu()
    if edit.mask is None:
        return tokens_hw, None
    mask_HW = torch.from_numpy(np.array(edit.mask)).float() / 255
    mask_strength_Bhw = token_mask(mask_HW[None], (rows, columns), edit.grow)
    notify_of_extent(mask_strength_Bhw)
    return tokens_hw, mask_strength_Bhw[0]


def notify_of_extent(mask_strength_Bhw: Tensor) -> None:
    """Says so where nothing or everything is marked, which is seldom meant."""
    if not mask_strength_Bhw.any():
        notify("Nothing is marked, so the image stays as it is. White in a mask marks what is drawn anew.")
    elif mask_strength_Bhw.all():
        notify("All of the image is marked, so nothing of it stays. Black in a mask marks what stays.")


def paste(image: Image.Image, edit: Inpaint, mask_strength_hw: Tensor) -> Image.Image:
    """The drawn tokens' pixels over the image that was edited, whose other pixels no VQGAN has touched."""
    cell = image.height // mask_strength_hw.shape[0]
    drawn_HW = (mask_strength_hw > 0).float().repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    blend_HW = (feather_mask(drawn_HW[None], edit.feather)[0] * 255).round().byte()
    return Image.composite(image, edit.image, Image.fromarray(np.asarray(blend_HW)))
