"""Images of a token grid: a rough one while it is drawn, and the decoded image with its masked tokens.

They are made on the CPU, wherever decoded images lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .networks.vqgan import VQGAN

CHECKER = (0.13, 0.24)  # the greys of a masked token's squares: darker than most images, and never one colour
CHECKER_CELL = 2  # pixels a token that a checker needs
PIXELS = 4  # along each side of a token, of a preview before it is enlarged
# What a LinearDecoder is fitted to: so many grids, of so many tokens a side, each of so many ids
GRIDS, SIDE, CODES = 12, 16, 16
RIDGE = 1e-3  # of the fit, in parts of the mean square of what it sees
MOST_WIDTH = 64  # of the codes that it sees
MARK = (1.0, 0.6, 0.1)  # orange, rare in what it is laid over
FRAME = 2  # pixels
GRID_LINE = 0.5  # how much of a pixel's brightness is left where two tokens meet


@dataclass(frozen=True, eq=False)
class LinearDecoder:
    """What a codec makes of tokens, as one convolution: a token's pixels from its own code, the eight around it, and
    the mean of all, by which an image's norms shift its colours. It lies on the CPU.
    """

    codes_KD: Tensor
    weight: Tensor  # (3 * P * P, D, 3, 3), P pixels along each side of a token
    mean_weight: Tensor  # (3 * P * P, D)
    bias: Tensor

    def __call__(self, tokens_hw: Tensor) -> Tensor:
        """Ids, masked ones among them -> (h * P, w * P, 3) in 0..1. What is masked looks as its visible neighbours."""
        visible_1hw = (tokens_hw < len(self.codes_KD))[None].float()
        codes_Dhw = self.codes_KD[tokens_hw.clamp(max=len(self.codes_KD) - 1)].movedim(-1, 0) * visible_1hw
        mean_D = codes_Dhw.sum((1, 2)) / visible_1hw.sum().clamp(min=1)
        around_Dhw = mean_of_neighbours(codes_Dhw) / mean_of_neighbours(visible_1hw).clamp(min=1e-6)
        filled_Dhw = torch.where(visible_1hw > 0, codes_Dhw, around_Dhw)
        pixels_Chw = F.conv2d(filled_Dhw, self.weight, self.bias + self.mean_weight @ mean_D, padding=1)
        return F.pixel_shuffle(pixels_Chw, math.isqrt(len(self.bias) // 3)).movedim(0, -1).clamp(0, 1)


@torch.no_grad()
def fit_linear_decoder(vqgan: VQGAN, device: torch.device) -> LinearDecoder:
    """The one that is nearest, by least squares, to what the codec makes of grids of a few random codes each. They are
    decoded on `device`, for which the codec is loaded.
    """
    K, cell = vqgan.spec.codebook_size, vqgan.spec.downscale
    codebook_KD = vqgan.quantize.lookup(torch.arange(K, device=device)[None, None])[0, :, 0].T
    codes_KD = principal_components(codebook_KD.float().cpu(), MOST_WIDTH)
    generator = torch.Generator().manual_seed(0)
    few_GC = torch.randint(K, (GRIDS, CODES), generator=generator)
    tokens_GN = few_GC.gather(1, torch.randint(CODES, (GRIDS, SIDE * SIDE), generator=generator))
    tokens_Ghw = tokens_GN.unflatten(1, (SIDE, SIDE))

    images = [(vqgan.decode(tokens_hw[None].to(device)).float().cpu() + 1) / 2 for tokens_hw in tokens_Ghw]
    pixels = min(PIXELS, cell)
    wanted_GChw = F.pixel_unshuffle(F.avg_pool2d(torch.cat(images), cell // pixels), pixels)
    wanted_MC = wanted_GChw.movedim(1, -1).flatten(0, 2)

    codes_GDhw = codes_KD[tokens_Ghw].movedim(-1, 1)
    neighbours_GNF = F.unfold(codes_GDhw, 3, padding=1).mT
    mean_GND = codes_GDhw.mean((2, 3))[:, None].expand(-1, SIDE * SIDE, -1)
    seen_MF = torch.cat([neighbours_GNF, mean_GND, torch.ones_like(mean_GND[..., :1])], -1).flatten(0, 1)
    gram_FF = seen_MF.T @ seen_MF
    gram_FF.diagonal().add_(RIDGE * gram_FF.diagonal().mean())
    weight_CF = torch.linalg.solve(gram_FF, seen_MF.T @ wanted_MC).T

    width = codes_KD.shape[1]
    weight, mean_weight, bias = weight_CF.split([9 * width, width, 1], 1)
    return LinearDecoder(codes_KD, weight.unflatten(1, (width, 3, 3)), mean_weight, bias[:, 0])


def principal_components(codebook_KD: Tensor, most: int) -> Tensor:
    """The codes around their mean, in the directions in which they differ most: (K, most) or (K, D)."""
    centred_KD = codebook_KD - codebook_KD.mean(0)
    directions_DD = torch.linalg.eigh(centred_KD.T @ centred_KD).eigenvectors
    return centred_KD @ directions_DD[:, -most:]


def mean_of_neighbours(values_Dhw: Tensor) -> Tensor:
    return F.avg_pool2d(values_Dhw, 3, stride=1, padding=1)


def token_image(tokens_hw: Tensor, decode: LinearDecoder, cell: int) -> Image.Image:
    """An RGB image of a grid that may be unfinished, `cell` pixels a token: roughly what it decodes to, a dark checker
    where it is masked. It is enlarged only at the end: a preview must not cost what a step costs.
    """
    rows, columns = tokens_hw.shape
    size = (columns * cell, rows * cell)
    masked_hw = tokens_hw == len(decode.codes_KD)
    image = to_image(decode(tokens_hw)).resize(size, Image.Resampling.BILINEAR)
    hidden = to_image(checker(rows * CHECKER_CELL, columns * CHECKER_CELL, CHECKER_CELL).expand(-1, -1, 3))
    image.paste(hidden.resize(size, Image.Resampling.NEAREST), mask=Image.fromarray(masked_hw.numpy()).resize(size))
    return image


def to_image(image_HWC: Tensor) -> Image.Image:
    return Image.fromarray((image_HWC * 255).round().byte().numpy())


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
