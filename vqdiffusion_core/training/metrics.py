"""A judge of the pocket model's images that is not the model: the nearest rendering, and the border's colours."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from . import scenes

EDGE = 4  # pixels of border that are looked at
LARGE_BOX = scenes.plain(scenes.SUBJECTS[0], "white").boxes[0]


def background_of(image: Image.Image) -> str:
    """The palette colour nearest to the median of the image's border."""
    pixels = to_pixels(image)
    sides = (pixels[:EDGE], pixels[-EDGE:], pixels[:, :EDGE], pixels[:, -EDGE:])
    return nearest_colour(np.concatenate([side.reshape(-1, 3) for side in sides]))


def gradient_of(image: Image.Image) -> tuple[str, str]:
    """The palette colours nearest to the medians of the top and the bottom edge."""
    pixels = to_pixels(image)
    return nearest_colour(pixels[:EDGE].reshape(-1, 3)), nearest_colour(pixels[-EDGE:].reshape(-1, 3))


def nearest_colour(pixels_P3: np.ndarray) -> str:
    median = np.median(pixels_P3, axis=0)
    return min(scenes.COLOURS, key=lambda name: float(np.abs(median - scenes.COLOURS[name]).sum()))


def ranking(image: Image.Image, box: tuple[int, int, int, int] = LARGE_BOX) -> list[str]:
    """All subjects' names, the one whose rendering in the box is nearest to the image there (mean square) first.

    The renderings stand on the background that the image has, whatever was asked for.
    """
    top, bottom = gradient_of(image)
    background = (top,) if top == bottom else (top, bottom)
    distance = ((renderings(box, background) - to_pixels(image.crop(box))) ** 2).mean(axis=(1, 2, 3))
    return [scenes.SUBJECTS[i].name for i in np.argsort(distance)]


@lru_cache(maxsize=64)
def renderings(box: tuple[int, int, int, int], background: tuple[str, ...]) -> np.ndarray:
    """Every subject in a box of a background: (subjects, height, width, 3), float32 in 0..255."""
    left, top, right, _ = box
    ground = scenes.backdrop([scenes.COLOURS[colour] for colour in background])
    shown = []
    for subject in scenes.SUBJECTS:
        image = ground.copy()
        scenes.place(image, subject.glyph, right - left, (left, top))
        shown.append(to_pixels(image.crop(box)))
    return np.stack(shown)


def to_pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=np.float32)
