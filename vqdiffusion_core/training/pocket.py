"""The recipe of the embedded pocket model: its shape and its data."""

from __future__ import annotations

import random
from collections.abc import Iterator

from PIL import Image

from ..networks.specs import VQGANSpec
from . import scenes

CODEC = VQGANSpec(
    level_channels=(16, 32, 64, 128),
    res_blocks=1,
    attention_levels=(3,),
    latent_channels=128,
    code_dim=16,
    codebook_size=1024,
    norm_groups=8,
)
CODEC_STEPS, DIFFUSION_STEPS = 8000, 7000
KINDS, SHARES = ("one", "small", "two"), (0.45, 0.1, 0.45)
SCENES, WORDINGS = 18000, 8  # that the diffusion learns from, and captions of each


class Scenes:
    """The built-in scenes, without the combinations that are held out."""

    size = scenes.CANVAS

    def __init__(self, count: int = SCENES):
        rng = random.Random(0)
        self.pool = [seen_scene(rng) for _ in range(count)]
        self.wordings = [[scenes.wording(scene, rng) for _ in range(WORDINGS)] for scene in self.pool]

    def captions(self) -> Iterator[str]:
        for wordings in self.wordings:
            yield from wordings

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, index: int) -> tuple[Image.Image, list[str]]:
        return scenes.render(self.pool[index]), self.wordings[index]

    def random_image(self, rng: random.Random) -> Image.Image:
        """What the codec learns from: scenes of every kind, and one in six with a subject of any size, place and
        colour.
        """
        if rng.random() < 5 / 6:
            return scenes.render(seen_scene(rng))
        size = rng.randint(scenes.SMALL, scenes.LARGE)
        corner = (rng.randint(0, scenes.CANVAS - size), rng.randint(0, scenes.CANVAS - size))
        image = scenes.backdrop([(rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255))])
        scenes.place(image, rng.choice(scenes.SUBJECTS).glyph, size, corner)
        return image


def seen_scene(rng: random.Random) -> scenes.Scene:
    """A scene of the training: its kind by the shares above, without the combinations that are held out."""
    kind = rng.choices(KINDS, weights=SHARES)[0]
    while not scenes.is_seen(scene := scenes.any_scene(rng, kind)):
        pass
    return scene
