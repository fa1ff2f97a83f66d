"""An image through a VQGAN: whole, or where memory is too small for that in tiles, which fade into each other.

Norms and attention look at a whole image, and then at a tile, so that neighbours differ a little. Tiles overlap by
half, and each counts the less the nearer its border is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .diffusion.windows import Grid, starts, tent
from .networks.oom import first_that_fits
from .networks.precision import exact_convolutions
from .networks.vqgan import VQGAN

TILES = (64, 32, 16)  # tokens on a side: what is tried where an image does not fit whole


def decode(vqgan: VQGAN, tokens_1hw: Tensor) -> Tensor:
    """As `VQGAN.decode`."""
    ways = [partial(vqgan.decode, tokens_1hw), *(partial(decode_in_tiles, vqgan, tokens_1hw, side) for side in TILES)]
    return first_that_fits(ways, "this image")


def encode(vqgan: VQGAN, image_1CHW: Tensor) -> Tensor:
    """As `VQGAN.encode`."""
    ways = [partial(vqgan.encode, image_1CHW), *(partial(encode_in_tiles, vqgan, image_1CHW, side) for side in TILES)]
    return first_that_fits(ways, "this image")


def decode_in_tiles(vqgan: VQGAN, tokens_1hw: Tensor, side: int) -> Tensor:
    """By tiles of so many tokens on a side, on the CPU."""
    rows, columns = tokens_1hw.shape[1:]

    def tile(down: slice, right: slice) -> Tensor:
        return vqgan.decode(tokens_1hw[:, down, right])

    return blend(tile, (rows, columns), side, vqgan.spec.downscale, channels=3)


def encode_in_tiles(vqgan: VQGAN, image_1CHW: Tensor, side: int) -> Tensor:
    """By tiles of so many tokens on a side; the continuous latents are blended, and then become tokens."""
    cell, (rows, columns) = vqgan.spec.downscale, image_1CHW.shape[2:]

    def tile(down: slice, right: slice) -> Tensor:
        return vqgan.latents(image_1CHW[..., times(down, cell), times(right, cell)])

    with exact_convolutions():
        latents_1Dhw = blend(tile, (rows // cell, columns // cell), side, 1, channels=vqgan.spec.code_dim)
        return vqgan.quantize.nearest(latents_1Dhw.to(image_1CHW.device))


def blend(work: Callable[[slice, slice], Tensor], grid: Grid, side: int, cell: int, channels: int) -> Tensor:
    """What `work` makes of each tile's rows and columns, `cell` numbers on a side for each, as one, on the CPU."""
    height, width = (min(side, length) for length in grid)
    weight_HW = torch.outer(tent(height * cell), tent(width * cell))
    blended_1CHW = torch.zeros(1, channels, grid[0] * cell, grid[1] * cell)
    total_HW = torch.zeros(blended_1CHW.shape[2:])
    for top in starts(height, grid[0], 0.5):
        for left in starts(width, grid[1], 0.5):
            down, right = slice(top, top + height), slice(left, left + width)
            tile_1CHW = work(down, right).float().cpu()
            down, right = times(down, cell), times(right, cell)
            blended_1CHW[..., down, right] += tile_1CHW * weight_HW
            total_HW[down, right] += weight_HW
    return blended_1CHW / total_HW


def times(part: slice, cell: int) -> slice:
    return slice(part.start * cell, part.stop * cell)
