"""Where the objects of a scene are: boxes on the grid of cells, by their number, their sizes and their place.

They are in few places, a dozen of each size, since a transformer with a vector for each row and each column has to
learn where in its box a token is.
"""

from __future__ import annotations

from typing import NamedTuple

LARGE, SMALL = 12, 8  # cells that a box is wide: in each size an object is a pattern of tokens to be learned of its own


class Box(NamedTuple):
    left: int
    top: int
    cells: int


# As on a plain ground; on a land, what is in a row stands or flies.
SINGLE = {  # size, place
    ("large", ""): Box(6, 6, LARGE),
    ("small", ""): Box(8, 8, SMALL),
    ("small", "left"): Box(0, 8, SMALL),
    ("small", "right"): Box(16, 8, SMALL),
    ("small", "top"): Box(8, 0, SMALL),
    ("small", "bottom"): Box(8, 16, SMALL),
    ("large", "left"): Box(0, 6, LARGE),
    ("large", "right"): Box(12, 6, LARGE),
}
ROWS: dict[tuple[str, ...], tuple[Box, ...]] = {  # the sizes from the left to the right
    ("large", "large"): (Box(0, 6, LARGE), Box(12, 6, LARGE)),
    ("large", "small"): (Box(0, 6, LARGE), Box(16, 8, SMALL)),
    ("small", "large"): (Box(0, 8, SMALL), Box(12, 6, LARGE)),
    ("small", "small"): (Box(0, 8, SMALL), Box(16, 8, SMALL)),
    ("small", "small", "small"): (Box(0, 8, SMALL), Box(8, 8, SMALL), Box(16, 8, SMALL)),
}
PYRAMID = (Box(6, 0, LARGE), Box(0, 12, LARGE), Box(12, 12, LARGE))
SQUARE = (Box(0, 0, LARGE), Box(12, 0, LARGE), Box(0, 12, LARGE), Box(12, 12, LARGE))
ABOVE: dict[tuple[int, ...], tuple[Box, ...]] = {  # so many above so many
    (1, 1): (Box(6, 0, LARGE), Box(6, 12, LARGE)),
    (1, 2): PYRAMID,
    (1, 3): (Box(6, 0, LARGE), Box(0, 16, SMALL), Box(8, 16, SMALL), Box(16, 16, SMALL)),
    (2, 2): SQUARE,
}
HERD = (Box(8, 8, SMALL), Box(16, 8, SMALL), Box(0, 16, SMALL), Box(8, 16, SMALL))  # two behind two, on a land

FEET = {LARGE: 22, SMALL: 21}  # where objects of a width stand on a land
SKY = 0  # where flying ones begin


def arrange(counts: tuple[int, ...], sizes: tuple[str, ...], place: str, on_land: bool) -> tuple[Box, ...]:
    """The boxes of the objects of groups, one group after the other; of each its count, and its size where it has one.
    On a land rows are still to be moved to where their objects stand or fly.
    """
    total = sum(counts)
    if not total:
        return ()
    if place == "above":
        return ABOVE[counts]
    if total == 4:
        return HERD if on_land else SQUARE
    if counts == (3,) and sizes == ("",) and not on_land:
        return PYRAMID
    if total == 1:
        return (SINGLE[sizes[0] or "large", place],)
    usual = "large" if total == 2 else "small"
    return ROWS[tuple(size or usual for count, size in zip(counts, sizes, strict=True) for _ in range(count))]


def is_row(counts: tuple[int, ...], place: str) -> bool:
    return place != "above" and sum(counts) < 4


def stood(box: Box, flies: bool) -> Box:
    """The box of a row, moved to the ground of a land or to its sky."""
    return box._replace(top=SKY if flies else FEET[box.cells] - box.cells)
