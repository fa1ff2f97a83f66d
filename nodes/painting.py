"""A painted region as text: what the editor's canvas writes into a workflow file, and what a person can read there.

`12x12: 4-7,3-6 9,8` is a grid of 12 columns and 12 rows on which the columns 4 to 7 of the rows 3 to 6 are painted, and
the token in column 9 of row 8. Both count from 0. web/js/painting.js reads and writes the same.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

MOST = 256  # columns or rows: as many tokens along a side as an image of 2048 pixels has

GRID = re.compile(r"(\d{1,3})x(\d{1,3}):")
SPAN = r"(\d{1,3})(?:-(\d{1,3}))?"
RECTANGLE = re.compile(f"{SPAN},{SPAN}")
LONGEST = len(" 255,255") * (MOST**2 + 1)  # characters: every token by itself


def read(text: str) -> Tensor | None:
    """The painted tokens, bool (1, rows, columns); None if nothing is painted. Raises ValueError for anything else.

    >>> read("3x2: 1-2,0 0,1").int().tolist()
    [[[0, 1, 1], [1, 0, 0]]]
    """
    if not text.strip():
        return None
    if len(text) > LONGEST:
        raise refusal(f"is {len(text)} characters long", f"at most {LONGEST}")
    head, *rectangles = text.split()
    painted_hw = torch.zeros(read_grid(head), dtype=torch.bool)
    for rectangle in rectangles:
        rows, columns = read_rectangle(rectangle, painted_hw.shape)
        painted_hw[rows, columns] = True
    return painted_hw[None]


def read_grid(head: str) -> tuple[int, int]:
    """The rows and columns that a text begins with."""
    match = GRID.fullmatch(head)
    columns, rows = map(int, match.groups()) if match else (0, 0)
    if not (0 < rows <= MOST and 0 < columns <= MOST):
        raise refusal(f"begins with {head[:40]!r}", f"its columns and rows, each from 1 to {MOST}, such as '12x12:'")
    return rows, columns


def read_rectangle(text: str, grid: tuple[int, ...]) -> tuple[slice, slice]:
    """Which rows and columns of the grid a rectangle covers."""
    rows, columns = grid
    match = RECTANGLE.fullmatch(text)
    if match is None:
        raise refusal(f"has a part {text[:40]!r}", "columns and rows, such as '4-7,3-6' or '9,8'")
    left, right, top, bottom = (int(number) if number else None for number in match.groups())
    across, down = span(left, right), span(top, bottom)
    if not (across.start < across.stop <= columns and down.start < down.stop <= rows):
        raise refusal(
            f"has a part {text!r}", f"columns from 0 to {columns - 1} and rows from 0 to {rows - 1}, the lower first"
        )
    return down, across


def span(first: int | None, last: int | None) -> slice:
    assert first is not None
    return slice(first, (first if last is None else last) + 1)


def refusal(came: str, expected: str) -> ValueError:
    return ValueError(
        f"This painting {came}; expected {expected}. Clear it on the canvas of VQ-Diffusion Token Mask and paint anew."
    )
