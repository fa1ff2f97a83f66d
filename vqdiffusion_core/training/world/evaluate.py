"""How well a model draws the world, by a judge that is not the model. Same model and numbers, same figures, but for the
seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from ...diffusion.settings import DEFAULTS, Settings
from ...model import VQDiffusion
from ...networks.gpt import GPT
from ...pipeline import decode
from ..data import to_tensor
from ..measuring import Figures, codec_figures, draw, draw_tokens, mean, seconds_per_image
from ..pairs import beside, known_pairs, odd_share
from . import recipe
from .captions import Said, caption, compose
from .grounds import CELLS, Gradient, Ground, Land, Plain
from .judge import Judge, Verdict, is_ground
from .layouts import Box
from .looks import Sprites
from .material import Icons
from .random_scenes import MANY, ONE, SEVERAL, TWO, Kind, any_scene
from .scenes import Scene, is_seen, render
from .subjects import COUNTS, Subject

IMAGES = (
    "drawn",
    "reconstructed",
    "true",
)  # by the model; of true scenes by its codec; by the program that draws these
WIDE = 16  # of so many prompts of other kinds there is one for outpainting, as each has dozens of pairs on its seam
TIMED_PROMPT = "a 3D fox in a meadow at sunset"


class Judged(NamedTuple):
    """What was asked for, and what the judge sees in its places."""

    scene: Scene
    ground: Ground
    found: list[Verdict]

    @property
    def right(self) -> list[bool]:
        """Of each object, whether it looks more like its subject than like all others."""
        return [
            verdict.subject == subject for verdict, (subject, _) in zip(self.found, self.scene.objects, strict=True)
        ]

    @property
    def is_of_its_look(self) -> bool:
        return all(verdict.look == self.scene.look for verdict in self.found)

    @property
    def is_on_its_ground(self) -> bool:
        return is_ground(self.ground, self.scene.ground)


def parts(model: VQDiffusion, prompts: int, images: str = IMAGES[0]) -> dict[str, Callable[[], Any]]:
    """What is measured, by its name, of one kind of IMAGES: shares 0..1, dB and seconds. A model that draws token by
    token is asked for no edits.
    """
    exam = Exam(model, prompts, images, recipe.CHOSEN)
    judged = {
        "codec": exam.codec,
        "one object": exam.one_object,
        "two objects": exam.two_objects,
        "several of a kind": exam.several,
        "no look asked for": exam.coherence,
    }
    if images != IMAGES[0]:
        return judged
    edits = {"inpainting": exam.inpainting, "outpainting": exam.outpainting} if exam.draws_in_steps else {}
    return judged | edits | {"speed": lambda: {"seconds from prompt to PNG": seconds_per_image(model, TIMED_PROMPT)}}


class Exam:
    """Prompts, what is shown for them, and what the judge says. `prompts`: so many of each kind."""

    def __init__(self, model: VQDiffusion, prompts: int, images: str, subjects: Sequence[Subject]):
        self.model = model
        self.count = prompts
        self.images = images
        self.subjects = tuple(subjects)
        icons = Icons([subject.icon for subject in self.subjects])
        self.grid = model.transformer.spec.grid
        self.draws_in_steps = not isinstance(model.transformer, GPT)
        self.sprites = Sprites(self.grid[0] * model.vqgan.spec.downscale // CELLS, icons)
        self.judge = Judge(self.subjects, icons)

    def codec(self) -> Figures:
        """Of scenes of which no training showed a part."""
        asked = self.ask(1, self.count, is_wanted=lambda scene: not is_seen(scene))
        return codec_figures(self.model, (render(scene, self.sprites) for scene in asked))

    def one_object(self) -> Figures:
        """Half of the prompts name combinations that training held out."""
        half, every, figures = -(-self.count // 2), list[Judged](), Figures()
        for name, seen in (("seen", True), ("unseen", False)):
            asked = self.ask(2, half, ONE, lambda scene, seen=seen: is_seen(scene) == seen)
            judged = self.judged(asked, self.show(asked, in_any_words(asked, 2)))
            figures[f"{name}: subject first"] = mean(one.right[0] for one in judged)
            figures[f"{name}: look"] = mean(one.is_of_its_look for one in judged)
            figures[f"{name}: ground"] = mean(one.is_on_its_ground for one in judged)
            every += judged
        grounds = [(one.scene.ground, one.ground) for one in every]
        lands = [(asked, found) for asked, found in grounds if isinstance(asked, Land)]
        outcomes = {
            "land": [isinstance(found, Land) and found.name == asked.name for asked, found in lands],
            "time of day": [isinstance(found, Land) and found.time == asked.time for asked, found in lands],
            "plain ground": [found == asked for asked, found in grounds if isinstance(asked, Plain)],
            "gradient": [found == asked for asked, found in grounds if isinstance(asked, Gradient)],
        }
        return figures | {name: mean(right) for name, right in outcomes.items() if right}

    def two_objects(self) -> Figures:
        judged = self.judged(self.pairs, self.show(self.pairs, in_any_words(self.pairs, 3)))
        return {
            "both right, each in its place": mean(all(one.right) for one in judged),
            "first right": mean(one.right[0] for one in judged),
            "second right": mean(one.right[1] for one in judged),
            "look of both": mean(one.is_of_its_look for one in judged),
        }

    @cached_property
    def pairs(self) -> list[Scene]:
        return self.ask(3, self.count, TWO)

    def several(self) -> Figures:
        """Two to four objects of a kind."""
        asked = self.ask(4, self.count, SEVERAL)
        images = self.show(asked, in_any_words(asked, 4))
        counts = [scene.groups[0].count for scene in asked]
        right = [self.judge.count(image, scene) == n for image, scene, n in zip(images, asked, counts, strict=True)]
        figures = {"number": mean(right)}
        for number in sorted(set(counts)):
            figures[COUNTS[number]] = mean(is_right for is_right, n in zip(right, counts, strict=True) if n == number)
        return figures | {"every one its subject": mean(all(one.right) for one in self.judged(asked, images))}

    def coherence(self) -> Figures:
        """Whether all objects of an image are of one look, where the prompt leaves that open."""
        asked = self.ask(5, self.count, MANY)
        rng = random.Random(5)
        prompts = [compose(scene, Said(look=False), rng.choice) for scene in asked]
        settings = {"all of one look": DEFAULTS}
        if self.images == IMAGES[0] and self.draws_in_steps:
            settings["all of one look, in a single step"] = Settings(steps=1)
        judged = {name: self.judged(asked, self.show(asked, prompts, drawn)) for name, drawn in settings.items()}
        return {name: mean(map(is_coherent, several)) for name, several in judged.items()}

    def inpainting(self) -> Figures:
        """The second of two objects is drawn anew as another one."""
        rng = random.Random(6)
        wanted = [self.with_another(scene, rng) for scene in self.pairs]
        tokens_BN = draw_tokens(self.model, in_any_words(self.pairs, 3))
        region_BN = torch.stack([self.region(scene.objects[1][1]) for scene in wanted])
        painted_BN = draw_tokens(self.model, in_any_words(wanted, 6), tokens_BN, region_BN)
        judged = self.judged(wanted, decode(self.model, painted_BN.unflatten(1, self.grid)))
        return {
            "asked object there": mean(one.right[1] for one in judged),
            "rest unchanged": mean(((tokens_BN == painted_BN) | region_BN).all(1).tolist()),
        }

    def with_another(self, scene: Scene, rng: random.Random) -> Scene:
        """The scene with another second subject in the same place."""
        first, second = scene.groups
        others = {*self.subjects} - {first.subject, second.subject}
        same_place = sorted((one for one in others if one.flies == second.subject.flies), key=lambda one: one.icon)
        return replace(scene, groups=(first, replace(second, subject=rng.choice(same_place))))

    def region(self, box: Box) -> Tensor:
        """The tokens (N,) of a box."""
        (rows, columns), edge = (torch.arange(side) * CELLS // side for side in self.grid), box.cells
        down_h, across_w = (
            (cells >= begin) & (cells < begin + edge) for cells, begin in ((rows, box.top), (columns, box.left))
        )
        return (down_h[:, None] & across_w).flatten()

    def outpainting(self) -> Figures:
        """Lands drawn on to the right, to twice their width, by a prompt that names the land alone: pairs of neighbours
        across the seam that no real land has, beside those elsewhere in the same images.
        """
        (rows, columns), K = self.grid, self.model.transformer.spec.codebook_size
        count = -(-self.count // WIDE)
        asked = self.ask(7, count, ONE, lambda scene: isinstance(scene.ground, Land))
        left_Bhw = draw_tokens(self.model, list(map(caption, asked))).unflatten(1, self.grid)
        wide_Bhw = torch.cat([left_Bhw, torch.full_like(left_Bhw, self.model.transformer.spec.mask_id)], 2)
        region_BN = (torch.arange(2 * columns) >= columns).repeat(count, rows)
        canvas = (rows, 2 * columns)
        on = [caption(replace(scene, groups=())) for scene in asked]
        drawn_BN = draw_tokens(self.model, on, wide_Bhw.flatten(1), region_BN, canvas=canvas)
        pairs_Bhv = beside(drawn_BN.unflatten(1, canvas), K)
        seam = columns - 1
        lands = self.ask(8, 2 * self.count, is_wanted=lambda scene: isinstance(scene.ground, Land))
        known = known_pairs(map(self.encode, lands), K)
        return {
            "odd pairs across the seam": odd_share(pairs_Bhv[:, :, seam], known),
            "odd pairs left of it": odd_share(pairs_Bhv[:, :, :seam], known),
            "odd pairs right of it": odd_share(pairs_Bhv[:, :, seam + 1 :], known),
            "odd pairs of true scenes": odd_share(beside(torch.cat([*map(self.encode, asked)]), K), known),
        }

    def ask(
        self,
        seed: int,
        count: int,
        kinds: dict[Kind, float] | None = None,
        is_wanted: Callable[[Scene], bool] = lambda scene: True,
    ) -> list[Scene]:
        """Scenes at random, what is held out among them."""
        rng, found = random.Random(seed), list[Scene]()
        while len(found) < count:
            scene = any_scene(rng, self.subjects, recipe.LOOKS, kinds)
            if is_wanted(scene):
                found.append(scene)
        return found

    def show(self, asked: Sequence[Scene], prompts: Sequence[str], settings: Settings = DEFAULTS) -> list[Image.Image]:
        """What is judged: images of the prompts, or what these scenes look like."""
        if self.images == IMAGES[0]:
            return draw(self.model, prompts, settings)
        if self.images == IMAGES[1]:
            return [image for scene in asked for image in decode(self.model, self.encode(scene))]
        return [render(scene, self.sprites) for scene in asked]

    @torch.no_grad()
    def encode(self, scene: Scene) -> Tensor:
        """Its tokens (1, h, w)."""
        image = to_tensor(render(scene, self.sprites))[None]
        return self.model.vqgan.encode(image.to(self.model.device)).cpu()

    def judged(self, asked: Sequence[Scene], images: Sequence[Image.Image]) -> list[Judged]:
        return [Judged(scene, *self.judge(image, scene)) for scene, image in zip(asked, images, strict=True)]


def in_any_words(asked: Sequence[Scene], seed: int) -> list[str]:
    """Prompts that say all of each scene."""
    rng = random.Random(seed)
    return [compose(scene, Said(), rng.choice) for scene in asked]


def is_coherent(judged: Judged) -> bool:
    return len({verdict.look for verdict in judged.found}) == 1
