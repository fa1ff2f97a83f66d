"""Scenes: none to four objects of one look on a ground, where each of them is, and the image of it all."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from PIL import Image

from .grounds import CELLS, Ground, Land, drawn
from .layouts import Box, arrange, is_row, stood
from .looks import INK, Sprites
from .subjects import Subject


@dataclass(frozen=True)
class Group:
    """Objects of one kind: "three small owls". `size` is "large" or "small" where it is worth saying."""

    subject: Subject
    count: int = 1
    size: str = ""


@dataclass(frozen=True)
class Scene:
    groups: tuple[Group, ...]
    look: str
    ground: Ground
    place: str = ""  # of one object: left, right, top, bottom; of two groups: "above", the first above the second

    @property
    def objects(self) -> list[tuple[Subject, Box]]:
        """Every object and its box, as drawn one after the other."""
        on_land = isinstance(self.ground, Land)
        counts = tuple(group.count for group in self.groups)
        boxes = arrange(counts, tuple(group.size for group in self.groups), self.place, on_land)
        subjects = [group.subject for group in self.groups for _ in range(group.count)]
        if on_land and is_row(counts, self.place):
            boxes = tuple(stood(box, subject.flies) for box, subject in zip(boxes, subjects, strict=True))
        return list(zip(subjects, boxes, strict=True))


def held_out(subject: Subject, part: str) -> bool:
    """Combinations of a subject with a colour or a land that no training image has, one in ten, so that a judge can ask
    for what was never seen. Looks are not held out: how Noto draws a lion does not follow from how Twemoji does.
    """
    return zlib.crc32(f"{subject.icon} {part}".encode()) % 10 == 0


def is_seen(scene: Scene) -> bool:
    return not any(held_out(group.subject, part) for group in scene.groups for part in scene.ground.parts)


def render(scene: Scene, sprites: Sprites) -> Image.Image:
    """The scene as an RGB image, 24 cells high and wide."""
    image, cell = drawn(scene.ground, CELLS * sprites.cell).copy(), sprites.cell
    for subject, box in scene.objects:
        drawing = (subject, scene.look, box.cells)
        if isinstance(scene.ground, Land) and not subject.flies and scene.look != "sticker":
            image.paste(INK, (box.left * cell, (box.top + box.cells - 1) * cell), sprites.shadow(*drawing))
        sprite = sprites.sprite(*drawing)
        image.paste(sprite, (box.left * cell, box.top * cell), sprite)
    return image
