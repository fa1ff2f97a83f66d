"""Scenes: up to four objects of one look on a ground. Everything about a scene at random follows from one generator."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from . import layouts
from .grounds import CELLS, COLOURS, LANDS, TIMES, VARIANTS, Gradient, Ground, Land, Plain, drawn
from .layouts import Box
from .looks import INK, LOOKS, Sprites
from .subjects import SUBJECTS, Subject

LUMINARIES = ("full-moon", "crescent-moon", "sun")  # subjects that a sky may not have besides
KINDS = {"one": 0.4, "same": 0.22, "two": 0.24, "three": 0.06, "groups": 0.08}
LOOK_SHARES = dict(zip(LOOKS, (0.2, 0.17, 0.17, 0.17, 0.11, 0.09, 0.09), strict=True))
GROUND_SHARES = {"land": 0.55, "plain": 0.33, "gradient": 0.12}


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
    place: str = ""  # of one object: left, right, top, bottom; of several: "above", each group above the next

    @property
    def objects(self) -> list[tuple[Subject, Box]]:
        """Every object and its box, as drawn one after the other."""
        subjects = [group.subject for group in self.groups for _ in range(group.count)]
        return list(zip(subjects, boxes(self), strict=True))


def boxes(scene: Scene) -> Sequence[Box]:
    counts = tuple(group.count for group in scene.groups)
    on_land = isinstance(scene.ground, Land)
    if scene.place == "above":
        return layouts.ABOVE[counts]
    if sum(counts) == 4:
        return layouts.HERD if on_land else layouts.SQUARE
    if sum(counts) == 3 and len(counts) == 1 and not on_land and not scene.groups[0].size:
        return layouts.PYRAMID
    row = single(scene) if counts == (1,) else layouts.ROWS[sizes(scene)]
    if not on_land:
        return row
    subjects = [group.subject for group in scene.groups for _ in range(group.count)]
    return [layouts.stood(box, subject.flies) for box, subject in zip(row, subjects, strict=True)]


def single(scene: Scene) -> tuple[Box]:
    size = scene.groups[0].size or ("medium" if scene.place else "large")
    return (layouts.SINGLE[size, scene.place],)


def sizes(scene: Scene) -> tuple[str, ...]:
    """Of the objects of a row; two share the width, three are small."""
    total = sum(group.count for group in scene.groups)
    usual = "medium" if total == 2 else "small"
    return tuple(group.size or usual for group in scene.groups for _ in range(group.count))


# What is held out


def held_out(subject: Subject, part: str) -> bool:
    """Combinations of a subject with a colour, a land or a look that no training image has, one in ten, so that a judge
    can ask for what was never seen.
    """
    return zlib.crc32(f"{subject.icon} {part}".encode()) % 10 == 0


def is_seen(scene: Scene) -> bool:
    parts = (scene.look, *scene.ground.parts)
    return not any(held_out(group.subject, part) for group in scene.groups for part in parts)


# Scenes at random


def any_scene(rng: random.Random, subjects: Sequence[Subject] = SUBJECTS) -> Scene:
    """One of all that there are, by the shares above."""
    kind, look = pick(rng, KINDS), pick(rng, LOOK_SHARES)
    number = {"two": 2, "three": 3, "groups": 2}.get(kind, 1)
    chosen = rng.sample(subjects, number)
    return arranged(rng, kind, chosen, look, any_ground(rng, chosen))


def seen_scene(rng: random.Random, subjects: Sequence[Subject] = SUBJECTS) -> Scene:
    """One of those that training may show."""
    while not is_seen(scene := any_scene(rng, subjects)):
        pass
    return scene


def any_ground(rng: random.Random, subjects: Sequence[Subject]) -> Ground:
    kind = pick(rng, GROUND_SHARES)
    if kind == "plain":
        return Plain(rng.choice(list(COLOURS)))
    if kind == "gradient":
        return Gradient(*rng.sample(list(COLOURS), 2))
    land = Land(rng.choice(list(LANDS)), rng.choice(list(TIMES)), rng.randrange(VARIANTS))
    if land.has_light and any(subject.icon in LUMINARIES for subject in subjects):
        return replace(land, variant=land.variant + 1)
    return land


def arranged(rng: random.Random, kind: str, subjects: Sequence[Subject], look: str, ground: Ground) -> Scene:
    first, *rest = subjects
    if kind == "one":
        size = pick(rng, {"large": 0.75, "small": 0.25})
        place = rng.choice(["", "left", "right"]) if rng.random() < 0.4 else ""
        if size == "small" and not isinstance(ground, Land) and rng.random() < 0.2:
            place = rng.choice(["top", "bottom"])
        if size == "large" and (place or rng.random() < 0.7):
            size = ""
        return Scene((Group(first, 1, size),), look, ground, place)
    if kind == "same":
        count = rng.choices((2, 3, 4), (0.4, 0.35, 0.25))[0]
        size = "small" if count < 4 and rng.random() < 0.25 else ""
        return Scene((Group(first, count, size),), look, ground)
    if kind == "groups":
        return groups(rng, first, rest[0], look, ground)
    if kind == "two" and may_rise(first, ground) and rng.random() < 0.35:
        return Scene((Group(first), Group(rest[0])), look, ground, "above")
    pair = rng.choice((("large", "small"), ("small", "large"))) if kind == "two" and rng.random() < 0.25 else ("",) * 3
    return Scene(tuple(Group(s, 1, size) for s, size in zip(subjects, pair, strict=False)), look, ground)


def groups(rng: random.Random, first: Subject, second: Subject, look: str, ground: Ground) -> Scene:
    """Two kinds of objects, three or four in all."""
    if may_rise(first, ground) and rng.random() < 0.6:
        counts = rng.choice(((1, 2), (1, 3)) if isinstance(ground, Land) else ((1, 2), (1, 3), (2, 2)))
        return Scene((Group(first, counts[0]), Group(second, counts[1])), look, ground, "above")
    counts = rng.choice(((1, 2), (2, 1)))
    return Scene((Group(first, counts[0]), Group(second, counts[1])), look, ground)


def may_rise(subject: Subject, ground: Ground) -> bool:
    """Whether it may be above others: on a land, only what flies."""
    return subject.flies or not isinstance(ground, Land)


def pick(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


# Images


def render(scene: Scene, sprites: Sprites) -> Image.Image:
    """The scene as an RGB image, 24 cells high and wide."""
    image, cell = drawn(scene.ground, CELLS * sprites.cell).copy(), sprites.cell
    for subject, box in scene.objects:
        drawing = (subject, scene.look, box.cells)
        stands = isinstance(scene.ground, Land) and not subject.flies
        if stands and scene.look != "sticker":
            image.paste(INK, (box.left * cell, (box.top + box.cells - 1) * cell), sprites.shadow(*drawing))
        sprite, raised = sprites.sprite(*drawing), 0 if stands else sprites.headroom(*drawing) // 2
        image.paste(sprite, (box.left * cell, (box.top - raised) * cell), sprite)
    return image
