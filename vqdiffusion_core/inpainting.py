"""Which tokens are drawn anew, and the noisy state that a run over them begins with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .noise import Noise
from .posterior import q_sample
from .schedule import Schedule


def token_region(mask_BHW: Tensor, grid: tuple[int, int], grow: int = 0) -> Tensor:
    """A mask of any resolution -> bool (B, rows, columns): true where any part of a token's cell is above 0.

    `grow` widens the region by so many tokens on every side.

    >>> token_region(torch.eye(4)[None], (2, 2)).int().tolist()
    [[[1, 0], [0, 1]]]
    """
    marked = F.adaptive_max_pool2d((mask_BHW > 0).float()[:, None], grid)
    if grow:
        marked = F.max_pool2d(marked, 2 * grow + 1, stride=1, padding=grow)
    return marked[:, 0] > 0


def free_tokens(tokens_BN: Tensor, region_BN: Tensor | None, mask_id: int) -> Tensor:
    """The tokens that a run may change: those of the region (all, without one), and any that is still masked."""
    if region_BN is None:
        return torch.ones_like(tokens_BN, dtype=torch.bool)
    return region_BN | (tokens_BN == mask_id)


def start(
    tokens_BN: Tensor, free_BN: Tensor, schedule: Schedule, denoise: float, noise: Noise
) -> tuple[Tensor, list[float]]:
    """The state that a run begins with, and the time of each picture.

    Free tokens go to time `denoise * T` by the forward process: all masked at 1, a share of them kept below. The
    network is told the time at which it saw as many masked tokens in training, counted over the whole picture: to it,
    a small hole is a late state, whatever the artist's setting is called.
    """
    K, N = schedule.codebook_size, tokens_BN.shape[1]
    coin_BN = noise.uniform(N, device=tokens_BN.device)
    if denoise >= 1:
        masked = 1.0
        x_BN = torch.where(free_BN, K, tokens_BN)
    else:
        level = denoise * schedule.num_timesteps
        masked = schedule.bar(level).gamma
        x_BN = torch.where(free_BN, q_sample(tokens_BN, level, schedule, coin_BN), tokens_BN)
    expected_BN = torch.where(tokens_BN == K, 1.0, masked) * free_BN
    return x_BN, [schedule.time_at(share) for share in expected_BN.mean(1).tolist()]
