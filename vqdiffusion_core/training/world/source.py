"""The world as a source of images with captions, for training."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from . import captions, scenes
from .grounds import CELLS, Gradient, Plain, draw
from .looks import Sprites
from .material import Icons
from .random_scenes import LOOK_SHARES, any_ground, seen_scene
from .subjects import SUBJECTS, Subject

SCENES, WORDINGS = 60000, 6  # that a diffusion model learns from, and captions of each
STREWN = 8, 18  # cells that an object off the grid is wide


class World:
    """Scenes without the combinations that are held out, at `size` x `size` pixels, a multiple of 24."""

    def __init__(
        self,
        size: int = 96,
        count: int = SCENES,
        subjects: Sequence[Subject] = SUBJECTS,
        cache: Path | None = None,
        looks: Mapping[str, float] = LOOK_SHARES,
    ):
        if size % CELLS:
            raise ValueError(f"size is {size}; the world is {CELLS} cells wide: choose a multiple of that.")
        self.size = size
        self.subjects = tuple(subjects)
        self.looks = looks
        self.sprites = Sprites(size // CELLS, Icons([subject.icon for subject in self.subjects], cache))
        rng = random.Random(0)
        self.pool = [seen_scene(rng, self.subjects, looks) for _ in range(count)]
        self.wordings = [[captions.say(scene, rng) for _ in range(WORDINGS)] for scene in self.pool]

    def captions(self) -> Iterator[str]:
        for wordings in self.wordings:
            yield from wordings

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, index: int) -> tuple[Image.Image, list[str]]:
        return scenes.render(self.pool[index], self.sprites), self.wordings[index]

    def random_image(self, rng: random.Random) -> Image.Image:
        """What a codec learns from: scenes, and one in six with objects of any place and colours that have no name."""
        if rng.random() < 5 / 6:
            return scenes.render(seen_scene(rng, self.subjects, self.looks), self.sprites)
        return self.strewn(rng)

    def strewn(self, rng: random.Random) -> Image.Image:
        """Objects off the grid of cells, on a scene's land or on any colour."""
        look, subject = rng.choice(list(self.looks)), rng.choice(self.subjects)
        ground = any_ground(rng, [subject])
        if isinstance(ground, (Plain, Gradient)):
            image = Image.new("RGB", (self.size, self.size), tuple(rng.randint(0, 255) for _ in range(3)))
        else:
            image = draw(ground, self.size)
        for _ in range(rng.randint(1, 2)):
            cells = rng.randint(*STREWN)
            sprite = self.sprites.draw(subject, look, cells)
            corner = (rng.randint(0, self.size - sprite.width), rng.randint(0, self.size - sprite.height))
            image.paste(sprite, corner, sprite)
        return image
