"""A judge of the pocket model's pictures that is not the model: the nearest rendering, and the border's colour."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from . import scenes


def background_of(picture: Image.Image) -> str:
    """The palette colour nearest to the median of the picture's border."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    border = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3), pixels[:, :4].reshape(-1, 3)])
    median = np.median(border, axis=0)
    return min(scenes.COLOURS, key=lambda name: float(np.abs(median - scenes.COLOURS[name]).sum()))


def ranking(picture: Image.Image) -> list[str]:
    """All subjects' names, the one whose rendering is nearest to the picture (mean square) first."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    renderings = renderings_on(background_of(picture))
    distance = ((renderings - pixels) ** 2).mean(axis=(1, 2, 3))
    return [scenes.SUBJECTS[i].name for i in np.argsort(distance)]


@cache
def renderings_on(colour: str) -> np.ndarray:
    """Every subject on a colour: (subjects, H, W, 3), float32 in 0..255."""
    pictures = (scenes.render(scenes.Scene(subject, colour)) for subject in scenes.SUBJECTS)
    return np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])
