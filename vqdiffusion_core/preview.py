"""Images of a token grid: one colour a token while it is drawn, and the decoded image with its masked tokens.

They are made on the CPU, wherever decoded images lie.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .networks.vqgan import VQGAN

CHECKER = (0.13, 0.24)  # the greys of a masked token's squares: darker than most images, and never one colour
CHECKER_CELL = 2  # pixels a token that a checker needs
PAGE = 24  # blocks along each side of a page of the palette: as many as fit into an image of usual size
MARK = (1.0, 0.6, 0.1)  # orange, rare in what it is laid over
FRAME = 2  # pixels
GRID_LINE = 0.5  # how much of a pixel's brightness is left where two tokens meet


@torch.no_grad()
def palette(vqgan: VQGAN, device: torch.device) -> Tensor:
    """The colour of every codebook entry, (K, 3) in 0..1: that of the middle of a block of four, among other entries.

    A single token would take on too much of its neighbours' colours, and an entry alone has none: the decoder's norms
    take the brightness out of an image that is all of a kind. Worked out on `device`, for which the VQGAN is loaded.
    """
    K = vqgan.spec.codebook_size
    pages = math.ceil(K / PAGE**2)
    ids = torch.arange(pages * PAGE**2, device=device) % K
    colours = [block_colours(vqgan, ids_PP) for ids_PP in ids.view(pages, PAGE, PAGE)]
    return (torch.cat(colours)[:K].float().cpu() + 1) / 2


def block_colours(vqgan: VQGAN, ids_PP: Tensor) -> Tensor:
    """Mean colours (P * P, 3) of the middles of blocks of two by two tokens, decoded in one image."""
    cell = vqgan.spec.downscale
    image_BCHW = vqgan.decode(enlarge(ids_PP, 2)[None])
    middle = F.pad(image_BCHW, [-(cell // 2)] * 4)
    return F.avg_pool2d(middle, cell, stride=2 * cell)[0].flatten(1).T


def token_colours(tokens_hw: Tensor, palette_K3: Tensor, cell: int) -> Tensor:
    """A square of `cell` pixels for each token, in its mean colour, (H, W, 3) in 0..1; masked ones (id K) are a dark
    checker.
    """
    tokens_hw = tokens_hw.cpu()
    K = len(palette_K3)
    flat_HW3 = enlarge(palette_K3[tokens_hw.clamp(max=K - 1)], cell)
    masked_HW1 = enlarge(tokens_hw == K, cell)[..., None]
    return torch.where(masked_HW1, checker(len(flat_HW3), len(flat_HW3[0]), cell), flat_HW3)


def token_image(tokens_hw: Tensor, palette_K3: Tensor, cell: int) -> Image.Image:
    """`token_colours` as an RGB image. It is enlarged only at the end: a preview must not cost what a step costs."""
    rows, columns = tokens_hw.shape
    small = np.asarray((token_colours(tokens_hw, palette_K3, CHECKER_CELL) * 255).round().byte())
    return Image.fromarray(small).resize((columns * cell, rows * cell), Image.Resampling.NEAREST)


def token_grid(image_BHWC: Tensor, masked_Bhw: Tensor, cell: int) -> Tensor:
    """Decoded images in 0..1, enlarged to `cell` pixels a token, with grid lines, and a checker on masked tokens."""
    scale = cell * masked_Bhw.shape[1] // image_BHWC.shape[1]
    large_BHWC = hide_masked(torch.stack([enlarge(image_HWC, scale) for image_HWC in image_BHWC.cpu()]), masked_Bhw)
    large_BHWC[:, ::cell] *= GRID_LINE
    large_BHWC[:, :, ::cell] *= GRID_LINE
    return large_BHWC


def hide_masked(image_BHWC: Tensor, masked_Bhw: Tensor) -> Tensor:
    """Images of whole tokens with a checker over those that are masked."""
    height, width = image_BHWC.shape[1:3]
    cell = height // masked_Bhw.shape[1]
    hidden_BHW1 = torch.stack([enlarge(masked_hw, cell) for masked_hw in masked_Bhw.cpu()])[..., None]
    return torch.where(hidden_BHW1, checker(height, width, cell), image_BHWC.cpu())


def outlined(grid_BHWC: Tensor, marked_Bhw: Tensor, cell: int) -> Tensor:
    """A `token_grid` with a bright frame around marked tokens."""
    frame_hw = torch.ones(cell, cell)
    frame_hw[FRAME:-FRAME, FRAME:-FRAME] = 0
    frames_BHW = enlarge(marked_Bhw.float().movedim(0, -1), cell).movedim(-1, 0) * frame_hw.repeat(marked_Bhw.shape[1:])
    return torch.where(frames_BHW[..., None] > 0, torch.tensor(MARK), grid_BHWC)


def tinted(grid_BHWC: Tensor, confidence_Bhw: Tensor, cell: int) -> Tensor:
    """A `token_grid` that is the more orange, the less sure a token is (confidence 0..1)."""
    doubt_BHW1 = 1 - enlarge(confidence_Bhw.movedim(0, -1), cell).movedim(-1, 0)[..., None]
    return torch.lerp(grid_BHWC, torch.tensor(MARK), 0.8 * doubt_BHW1)


def fill_masked(tokens_Bhw: Tensor, mask_id: int) -> Tensor:
    """Masked tokens as the image's most frequent visible id, so that the rest can be decoded; 0 if all are masked."""
    filled = tokens_Bhw.clone()
    for tokens_hw in filled:
        visible = tokens_hw[tokens_hw != mask_id]
        tokens_hw[tokens_hw == mask_id] = visible.mode().values if len(visible) else 0
    return filled


def enlarge(image: Tensor, scale: int) -> Tensor:
    """(H, W, ...) with each pixel `scale` times as wide and high."""
    return image.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def checker(height: int, width: int, cell: int) -> Tensor:
    """(height, width, 1), two by two squares a cell."""
    row, column = (torch.arange(length) * 2 // cell for length in (height, width))
    return torch.tensor(CHECKER)[(row[:, None] + column[None, :]) % 2][..., None]
