"""A judge of images of the world that is not the model: the nearest rendering of every subject in every look, and the
nearest of all grounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from .grounds import CELLS, COLOURS, LANDS, TIMES, VARIANTS, Gradient, Ground, Land, Plain, drawn
from .layouts import Box
from .looks import LOOKS, Sprites
from .material import Icons
from .scenes import Scene, render
from .subjects import Subject

CELL = 3  # pixels a cell in which images are compared: what differs in smaller ones is not what was asked for
SIDE = CELL * CELLS
CHUNK = 256  # renderings that are compared at once
EVERY = 5  # of the pixels without objects one in so many is compared with grounds


class Verdict(NamedTuple):
    """What an object looks like most."""

    subject: Subject
    look: str


class Judge:
    """`subjects` are those that an object may be taken for."""

    def __init__(self, subjects: Sequence[Subject], icons: Icons):
        self.subjects = tuple(subjects)
        self.sprites = Sprites(CELL, icons)
        self.kinds = [Verdict(subject, look) for subject in self.subjects for look in LOOKS]
        self.renderings = lru_cache(maxsize=None)(self.render)

    def __call__(self, image: Image.Image, scene: Scene) -> tuple[Ground, list[Verdict]]:
        """What an image shows where the scene has its ground and its objects."""
        pixels_HW3 = to_pixels(image)
        boxes = [box for _, box in scene.objects]
        ground = nearest_ground(pixels_HW3, boxes)
        return ground, [self.nearest(pixels_HW3, box, ground) for box in boxes]

    def count(self, image: Image.Image, scene: Scene) -> int:
        """How many objects of the scene's first kind the whole image looks like most, 1 to 4, in whatever look."""
        pixels_HW3, (group, *_) = to_pixels(image), scene.groups
        distance: dict[int, float] = {}
        for count in range(1, 5):
            counted = replace(scene, groups=(replace(group, count=count),))
            both = (Plain("white"), Land("sea", "day"))  # objects have other boxes on a land, whichever it is
            arranged = [replace(counted, ground=ground).objects for ground in both]
            grounds = {nearest_ground(pixels_HW3, [box for _, box in objects]) for objects in arranged}
            kinds = (replace(counted, look=look, ground=ground) for look in LOOKS for ground in grounds)
            rendered = (to_pixels(render(kind, self.sprites)) for kind in kinds)
            distance[count] = min(float(((image_HW3 - pixels_HW3) ** 2).mean()) for image_HW3 in rendered)
        return min(distance, key=distance.__getitem__)

    def nearest(self, pixels_HW3: np.ndarray, box: Box, ground: Ground) -> Verdict:
        """The subject and look whose rendering on this ground is nearest to the image in a box (mean square)."""
        part = box_slice(box)
        shown_HW3, ground_HW3 = pixels_HW3[part], to_pixels(drawn(ground, SIDE))[part]
        chunks = (self.renderings(box.cells, begin) for begin in range(0, len(self.kinds), CHUNK))
        distance_S = np.concatenate([distances(rendered, shown_HW3, ground_HW3) for rendered in chunks])
        return self.kinds[int(distance_S.argmin())]

    def render(self, cells: int, begin: int) -> np.ndarray:
        """Some kinds in a box of so many cells, (S, height, width, 4), 0..255."""
        kinds = self.kinds[begin : begin + CHUNK]
        return np.stack([np.asarray(self.sprites.draw(subject, look, cells)) for subject, look in kinds])


def distances(rendered_SHW4: np.ndarray, shown_HW3: np.ndarray, ground_HW3: np.ndarray) -> np.ndarray:
    """Mean square differences (S,) of what is shown from each rendering laid over the ground."""
    rendered_SHW4 = rendered_SHW4.astype(np.float32)
    colour, alpha = rendered_SHW4[..., :3], rendered_SHW4[..., 3:] / 255
    return ((ground_HW3 + alpha * (colour - ground_HW3) - shown_HW3) ** 2).mean(axis=(1, 2, 3))


def nearest_ground(pixels_HW3: np.ndarray, boxes: Sequence[Box]) -> Ground:
    """The one that is nearest where no object is (mean absolute difference)."""
    free_HW = np.ones(pixels_HW3.shape[:2], dtype=bool)
    for box in boxes:
        free_HW[box_slice(box)] = False
    if not free_HW.any():  # four objects fill an image: between them
        free_HW[:, SIDE // 2 - 1 : SIDE // 2 + 1] = free_HW[SIDE // 2 - 1 : SIDE // 2 + 1] = True
    where_P = np.flatnonzero(free_HW)[::EVERY]
    grounds, drawn_GP3 = all_grounds()
    shown_P3 = pixels_HW3.reshape(-1, 3)[where_P]
    distance_G = np.abs(drawn_GP3[:, where_P].astype(np.float32) - shown_P3).mean(axis=(1, 2))
    return grounds[int(distance_G.argmin())]


@lru_cache(maxsize=1)
def all_grounds() -> tuple[list[Ground], np.ndarray]:
    """Every ground there is, and its pixels (G, SIDE * SIDE, 3), uint8."""
    grounds: list[Ground] = [Plain(colour) for colour in COLOURS]
    grounds += [Gradient(top, bottom) for top in COLOURS for bottom in COLOURS if top != bottom]
    grounds += [Land(name, time, variant) for name in LANDS for time in TIMES for variant in range(VARIANTS)]
    return grounds, np.stack([np.asarray(drawn(ground, SIDE)).reshape(-1, 3) for ground in grounds])


def is_ground(found: Ground, asked: Ground) -> bool:
    """Whether it is what was asked for: a land of any variant."""
    if isinstance(found, Land) and isinstance(asked, Land):
        return (found.name, found.time) == (asked.name, asked.time)
    return found == asked


def box_slice(box: Box) -> tuple[slice, slice]:
    return (
        slice(CELL * box.top, CELL * (box.top + box.cells)),
        slice(CELL * box.left, CELL * (box.left + box.cells)),
    )


def to_pixels(image: Image.Image) -> np.ndarray:
    """(SIDE, SIDE, 3), float32 in 0..255."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)
