"""Judges of what tests.bench.quality has a model draw: of the pocket model's emoji, and of stickers in landscapes."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from vqdiffusion_core.model import VQDiffusion
from vqdiffusion_core.training import metrics, scenes
from vqdiffusion_core.training.codec import psnr
from vqdiffusion_core.training.data import to_tensor
from vqdiffusion_core.training.pairs import known_pairs, neighbours, odd_share
from vqdiffusion_core.training.world import recipe
from vqdiffusion_core.training.world.captions import Said, compose
from vqdiffusion_core.training.world.evaluate import Exam, is_coherent
from vqdiffusion_core.training.world.random_scenes import MANY, SEVERAL

Figures = dict[str, float]
REAL_SCENES = 1000  # of the world, whose pairs of tokens are the real ones


class PocketJury:
    """Of images of one subject each, each of another one."""

    title, page, pictures = "Quality against steps: the pocket model", "docs/quality_pocket.md", ""

    explained = f"""The prompts ask for one subject each, each for another one. Each cell has three figures:

- how often the subject asked for is the nearest of all {len(scenes.SUBJECTS)} renderings of subjects (mean square);
- the likeness to the true rendering of the scene, as PSNR in dB;
- odd pairs: the share of neighbouring tokens that no real scene of these subjects and colours has side by side: how far
  the statistics of the drawn tokens are from those of real ones."""
    cell = "{subject:.0%} {likeness:.1f} {odd pairs:.1%}"

    def __init__(self, model: VQDiffusion, count: int):
        rng = random.Random(5)
        subjects = rng.sample(scenes.SUBJECTS, count)
        self.asked = [scenes.plain(subject, rng.choice(list(scenes.COLOURS))) for subject in subjects]
        self.prompts = [scene.caption for scene in self.asked]
        self.truth = torch.stack([to_tensor(scenes.render(scene)) for scene in self.asked])
        self.codes = model.transformer.spec.codebook_size
        images = [scenes.render(scenes.plain(s, colour)) for s in scenes.SUBJECTS for colour in scenes.COLOURS]
        with torch.no_grad():
            self.known = known_pairs((model.vqgan.encode(to_tensor(image)[None]) for image in images), self.codes)

    def figures(self, tokens_Bhw: Tensor, images: Sequence[Image.Image]) -> Figures:
        judged = zip(self.asked, images, strict=True)
        first = [metrics.ranking(image)[0] == scene.subjects[0].name for scene, image in judged]
        return {
            "subject": statistics.mean(first),
            "likeness": psnr(torch.stack([to_tensor(image) for image in images]), self.truth),
            "odd pairs": odd_share(neighbours(tokens_Bhw, self.codes), self.known),
        }


class WorldJury:
    """Of images of two to four objects, half of them of one kind, whose prompts leave the look open."""

    title, page = "Quality against steps", "docs/quality.md"
    pictures = """
One prompt, "three penguins in the snow at sunset", with seed 0; first by samplers and steps, at the defaults else:

![Three samplers, each by 1 to 50 steps](quality_steps.jpg)

Then by guidance and truncation, 16 steps of *remask*:

![Guidance 1, 1.5 and 3, each at four truncations](quality_guidance.jpg)
"""

    explained = f"""The prompts ask for two to four objects on a ground, half of them for several of one kind, and
leave the look open: "three owls in the snow at night". Each cell has four figures:

- subjects: how many of all objects are nearest to a rendering of what was asked for, among those of
  {len(recipe.CHOSEN)} subjects in all looks (mean square);
- coherence: how many images have all objects of one look; after one step several of one kind may be muddled alike, and
  count;
- number: how many of the images of one kind look most like so many objects as were asked for, of one to four;
- odd pairs: the share of neighbouring tokens that none of {REAL_SCENES:,} real scenes has side by side."""
    cell = "{subjects:.0%} {coherence:.0%} {number:.0%} {odd pairs:.1%}"

    def __init__(self, model: VQDiffusion, count: int):
        self.exam = exam = Exam(model, count, "drawn", recipe.CHOSEN)
        self.codes = model.transformer.spec.codebook_size
        half = count // 2
        self.asked = exam.ask(9, half, SEVERAL) + exam.ask(10, count - half, MANY)
        rng = random.Random(9)
        self.prompts = [compose(scene, Said(look=False), rng.choice) for scene in self.asked]
        self.known = known_pairs(map(exam.encode, exam.ask(11, REAL_SCENES)), self.codes)

    def figures(self, tokens_Bhw: Tensor, images: Sequence[Image.Image]) -> Figures:
        judged = self.exam.judged(self.asked, images)
        counted = [(scene, image) for scene, image in zip(self.asked, images, strict=True) if len(scene.groups) == 1]
        return {
            "subjects": statistics.mean(right for one in judged for right in one.right),
            "coherence": statistics.mean(map(is_coherent, judged)),
            "number": statistics.mean(
                self.exam.judge.count(image, scene) == scene.groups[0].count for scene, image in counted
            ),
            "odd pairs": odd_share(neighbours(tokens_Bhw, self.codes), self.known),
        }


Jury = PocketJury | WorldJury
HEAD = """# {title}

What {images} images show, by `.venv/bin/python -m tests.bench.quality {options}--images {images} --page
{page}`. The judge is not the model. {explained}

*The defaults* are *remask* by confidence, strength 0.5, at truncation 0.5; where the other lines name no truncation, it
is 0.86, as in the papers. Steps are network evaluations an image. *Ancestral, other seeds* says how far apart two lines
are by chance. *The authors' rule* and *diffusers' rule* are those by which the original code and diffusers take fewer
steps than they were trained with, which this pack does not offer. A dash was not measured. What follows from it for
artists: [samplers.md](samplers.md).
{pictures}
"""


def head(jury: Jury, options: str) -> str:
    return HEAD.format(
        title=jury.title,
        page=jury.page,
        pictures=jury.pictures,
        images=len(jury.asked),
        options=options,
        explained=jury.explained,
    )
