"""Which tokens stand beside which: how far the statistics of drawn grids are from those of real images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def beside(tokens_Bhw: Tensor, K: int) -> Tensor:
    """Every token with the one to its right, (B, h, w - 1), as one number each."""
    return tokens_Bhw[:, :, :-1] * K + tokens_Bhw[:, :, 1:]


def neighbours(tokens_Bhw: Tensor, K: int) -> Tensor:
    """Every pair of tokens side by side or one above the other, as one number each."""
    below = tokens_Bhw[:, :-1] * K + tokens_Bhw[:, 1:] + K * K
    return torch.cat([beside(tokens_Bhw, K).flatten(), below.flatten()])


def known_pairs(grids: Iterable[Tensor], K: int) -> Tensor:
    """All neighbours that there are in the grids (B, h, w) of real images, each once."""
    return torch.cat([neighbours(tokens_Bhw, K).unique() for tokens_Bhw in grids]).unique()


def odd_share(pairs: Tensor, known: Tensor) -> float:
    """Share of pairs that no real image had."""
    return 1 - torch.isin(pairs, known).double().mean().item()
