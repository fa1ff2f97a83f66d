"""Canvases wider or higher than the token grid that a network was trained on: windows that slide over them.

Every window is a grid of the trained size, so positions mean what they meant in training. Where windows overlap, their
predictions are blended before anything is drawn: a token has one law, whichever windows see it, and there is no seam.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Grid = tuple[int, int]  # rows, columns


@dataclass(frozen=True)
class Window:
    """The canvas positions (n,) that a window shows, row by row, and how much it says of each (n,); all add up to 1."""

    positions: Tensor
    weight: Tensor


def windows(grid: Grid, canvas: Grid, overlap: float = 0.5) -> list[Window]:
    """Windows of `grid` over a `canvas` at least as large; neighbours overlap by this part (0..1) of a window or more.

    A window speaks the more of a token the farther that is from its border, where it cannot see what lies beyond.
    """
    tops, lefts = (starts(size, length, overlap) for size, length in zip(grid, canvas, strict=True))
    inner = torch.outer(*(tent(size) for size in grid)).flatten()
    places = [cells(grid, canvas, (top, left)) for top in tops for left in lefts]
    total = torch.zeros(canvas[0] * canvas[1])
    for positions in places:
        total[positions] += inner
    return [Window(positions, inner / total[positions]) for positions in places]


def starts(size: int, length: int, overlap: float) -> list[int]:
    """Where windows of `size` begin on a side of `length`: evenly spaced, the last one against the end.

    >>> starts(4, 9, 0.5)
    [0, 2, 3, 5]
    """
    stride = max(1, int(size * (1 - overlap)))
    count = math.ceil((length - size) / stride)
    return [round(i * (length - size) / count) for i in range(count + 1)] if count else [0]


def tent(size: int) -> Tensor:
    """1, 2, 3, ... up to the middle and down again."""
    return torch.minimum(torch.arange(size), torch.arange(size).flip(0)) + 1.0


def cells(grid: Grid, canvas: Grid, corner: Grid) -> Tensor:
    """Canvas positions of the grid whose first cell lies at `corner`."""
    rows, columns = (torch.arange(size) + begin for size, begin in zip(grid, corner, strict=True))
    return (rows[:, None] * canvas[1] + columns).flatten()
