"""Token grids <-> LATENT {"samples": float32 (B, 1, h, w)}: the one place that checks and converts them.

Each value is a codebook id 0..K-1 or K, the mask token. The core's and other packs' nodes work on these latents without
knowing what they are, so everything that comes in is checked, whoever made it.
"""

from __future__ import annotations

from operator import index
from typing import Any

import torch
from torch import Tensor

from ..vqdiffusion_core.diffusion.inpainting import token_mask
from ..vqdiffusion_core.diffusion.noise import SEEDS
from ..vqdiffusion_core.diffusion.windows import Grid
from ..vqdiffusion_core.networks.specs import PriorSpec
from ..vqdiffusion_core.notices import notify
from .host_types import describe, is_mask

Latent = dict[str, Any]

CELL = 8  # pixels a latent cell, as the core's nodes assume; exact for the codecs of most VQ-Diffusion models


class LatentError(ValueError):
    """A latent that is not what a node needs: what came, what was expected, what to do next."""


def empty(batch_size: int, grid: tuple[int, int], mask_id: int) -> Latent:
    """A canvas where every token is masked."""
    return {"samples": to_samples(torch.full((batch_size, *grid), mask_id))}


def to_samples(tokens_Bhw: Tensor) -> Tensor:
    return tokens_Bhw[:, None].float()


def read_tokens(samples: Tensor, codebook_size: int) -> Tensor:
    """The samples of a LATENT -> ids (B, h, w), int64; ids may be `codebook_size`, the mask."""
    if not torch.is_tensor(samples) or samples.ndim != 4 or samples.shape[1] != 1 or not is_real(samples):
        raise LatentError(
            f"This latent is {describe_latent(samples)}: it belongs to another kind of model. Expected VQ-Diffusion "
            "tokens, one channel of codebook ids. Start from VQ-Diffusion Empty Tokens, or encode an image with this "
            "model's VAE."
        )
    tokens_Bhw = samples[:, 0].round().long()
    if not torch.equal(samples[:, 0], tokens_Bhw.to(samples.dtype)):
        raise LatentError(
            "This latent has values between the codebook ids. A node has blended it or scaled it smoothly, and tokens "
            "have no in-between. Use nearest-exact to resize and masks without soft edges, or do it with images."
        )
    low, high = tokens_Bhw.aminmax()
    if low < 0 or high > codebook_size:
        raise LatentError(
            f"This latent has ids from {int(low)} to {int(high)}; expected 0 to {codebook_size - 1}, or "
            f"{codebook_size} for a masked token. It was drawn with another model, or a node has calculated with it. "
            "Use the sampler and the VAE of one VQ-Diffusion Loader."
        )
    return tokens_Bhw


def read_canvas(latent: Latent, spec: PriorSpec, cell: int) -> Tensor:
    """Ids (B, h, w) of a LATENT that is at least as large as the model's grid, `cell` pixels a token."""
    tokens_Bhw, grid = read_tokens(latent["samples"], spec.codebook_size), spec.grid
    rows, columns = tokens_Bhw.shape[1:]
    if rows < grid[0] or columns < grid[1]:
        pixels = size((grid[0] * cell, grid[1] * cell))
        raise LatentError(
            f"This latent has {size((rows, columns))} tokens; this model draws {size(grid)} or more, an image of "
            f"{pixels} pixels. Use VQ-Diffusion Empty Tokens of this model, or bring the image to {pixels} pixels or "
            "more before it is encoded."
        )
    return tokens_Bhw


def read_region(latent: Latent) -> Tensor | None:
    """The LATENT's noise_mask on the token grid, (B, h, w) in 0..1: above 0 where tokens are drawn anew; None without
    one.
    """
    mask, samples = latent.get("noise_mask"), latent["samples"]
    return None if mask is None else to_region(mask, len(samples), samples.shape[2:])


def read_seeds(latent: Latent, seed: int) -> list[int]:
    """One seed an image, by its place in the batch that it was cut from, which the core's batch nodes keep."""
    count, given = len(latent["samples"]), latent.get("batch_index")
    places = range(count) if given is None or len(given) == 0 else given
    try:
        places = [index(place) for place in places]  # those of numpy and torch are whole numbers too
    except TypeError:
        places = []
    if len(places) != count:
        raise LatentError(
            f"This latent has {count} images and the batch index {given!r:.60}; expected a whole number for each. "
            "A node has changed one without the other. Save and load the latent, which takes the index out."
        )
    return [(index(seed) + place) % SEEDS for place in places]


def to_region(mask: Tensor, batch_size: int, grid: Grid, grow: int = 0) -> Tensor:
    """A MASK or noise_mask of any resolution and batch -> (batch_size, h, w); fewer masks than images repeat."""
    if not is_mask(mask):
        raise LatentError(
            f"This mask is {describe(mask)}; expected one of at least one pixel. Connect a node that gives a MASK."
        )
    if mask.isnan().any():
        raise LatentError("This mask has values that are not numbers, so the node that made it has failed. Look there.")
    mask_BHW = mask.reshape(-1, *mask.shape[-2:])
    if len(mask_BHW) > batch_size:
        notify(f"There are {len(mask_BHW)} masks for {batch_size} images; the last ones are left out.")
    region_Bhw = token_mask(mask_BHW, grid, grow)
    rows = torch.arange(batch_size, device=region_Bhw.device) % len(region_Bhw)
    return region_Bhw[rows]


def to_mask(region_Bhw: Tensor, pixels: tuple[int, int]) -> Tensor:
    """A region -> MASK float32, 1 where tokens are drawn anew: of `pixels` (height, width) where that gives whole
    cells, else of 8 pixels a cell.
    """
    rows, columns = region_Bhw.shape[1:]
    whole = pixels[0] % rows == 0 and pixels[1] % columns == 0
    height, width = (pixels[0] // rows, pixels[1] // columns) if whole else (CELL, CELL)
    return (region_Bhw > 0).float().repeat_interleave(height, 1).repeat_interleave(width, 2)


def read_sizes(samples: Tensor) -> tuple[int, int, int]:
    """Images, rows and columns of any model's latent."""
    if not torch.is_tensor(samples) or samples.ndim < 4 or samples.numel() == 0:
        raise LatentError(
            f"This latent is {describe_latent(samples)}; expected (images, channels, rows, columns), each above 0. "
            "Start from VQ-Diffusion Empty Tokens, or encode an image."
        )
    return len(samples), samples.shape[-2], samples.shape[-1]


def is_real(tensor: Tensor) -> bool:
    """Whether a tensor has numbers, and such as can be compared."""
    return tensor.numel() > 0 and not tensor.is_complex() and tensor.dtype != torch.bool


def describe_latent(samples: Any) -> str:
    if not torch.is_tensor(samples) or samples.ndim != 4 or not is_real(samples):
        return describe(samples)
    return f"a grid of {size(samples.shape[2:])} with {samples.shape[1]} channels"


def size(rows_columns: tuple[int, ...]) -> str:
    """
    >>> size((48, 64))
    '64 x 48'
    """
    rows, columns = rows_columns
    return f"{columns} x {rows}"
