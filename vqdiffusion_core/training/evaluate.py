"""How well a model draws the built-in scenes, by a judge that is not the model. Same model and numbers, same figures,
but for the seconds.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from PIL import Image

from ..diffusion.settings import Settings
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..pipeline import decode
from . import measuring, metrics, scenes
from .codec import psnr
from .data import to_tensor
from .measuring import Figures, draw, draw_tokens, mean, pixel_distance

GUIDANCES = (1.0, 1.5, 2.0, 3.0, 5.0)
TRUNCATIONS = (0.5, 0.86, 1.0)
CURVE_PICTURES = 5  # of each of the curves' prompts
TIMED_PROMPT = "a fox on a green background"

Say = Callable[[scenes.Scene, random.Random], str]  # the prompt for a scene


def parts(model: VQDiffusion, prompts: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by its name: shares 0..1, dB and seconds. A model that draws token by token cannot inpaint half
    an image.
    """
    parts: dict[str, Callable[[], Any]] = {
        "codec": lambda: codec_figures(model, prompts),
        "one object, plain words": lambda: one_object_figures(model, prompts, lambda scene, rng: scene.caption),
        "one object, any words": lambda: one_object_figures(model, prompts, any_words),
        "two objects": lambda: two_object_figures(model, prompts),
        "inpainting": lambda: inpainting_figures(model, prompts),
        "guidance": lambda: curve_figures(model, prompts, [Settings(guidance=g) for g in GUIDANCES]),
        "truncation": lambda: curve_figures(model, prompts, [Settings(truncation=rate) for rate in TRUNCATIONS]),
        "speed": lambda: {"seconds from prompt to PNG": measuring.seconds_per_image(model, TIMED_PROMPT)},
    }
    if isinstance(model.transformer, GPT):
        del parts["inpainting"]
    return parts


def codec_figures(model: VQDiffusion, count: int) -> Figures:
    """Of scenes that no training shows."""
    return measuring.codec_figures(model, map(scenes.render, unseen_scenes(random.Random(1), count)))


def unseen_scenes(rng: random.Random, count: int) -> list[scenes.Scene]:
    """Half with one large subject on a colour that is held out for it, half with two of which one is on such."""
    found: list[scenes.Scene] = []
    while len(found) < count:
        scene = scenes.any_scene(rng, "one" if len(found) % 2 else "two")
        if not scenes.is_seen(scene):
            found.append(scene)
    return found


def any_words(scene: scenes.Scene, rng: random.Random) -> str:
    return scenes.wording(scene, rng, silent=0)


def one_object_figures(model: VQDiffusion, count: int, say: Say) -> Figures:
    """Half of the prompts name combinations of subject and colour that training held out."""
    rng = random.Random(2)
    pool = [scenes.plain(subject, colour) for subject in scenes.SUBJECTS for colour in scenes.COLOURS]
    seen = [scene for scene in pool if scenes.is_seen(scene)]
    unseen = [scene for scene in pool if not scenes.is_seen(scene)]
    figures = {}
    for name, part in (("seen", seen), ("unseen", unseen)):
        asked = [rng.choice(part) for _ in range(count // 2)]
        images = draw(model, [say(scene, rng) for scene in asked])
        judged = list(zip(asked, images, strict=True))
        figures[f"{name}: subject first"] = mean(is_first(scene, image, 0) for scene, image in judged)
        figures[f"{name}: background"] = mean(
            metrics.background_of(image) == scene.background[0] for scene, image in judged
        )
    return figures


def two_object_figures(model: VQDiffusion, count: int) -> Figures:
    rng = random.Random(3)
    asked = [scenes.any_scene(rng, "two") for _ in range(count)]
    images = draw(model, [any_words(scene, rng) for scene in asked])
    right = [[is_first(scene, image, i) for i in range(2)] for scene, image in zip(asked, images, strict=True)]
    return {
        "both right, each on its side": mean(all(sides) for sides in right),
        "left right": mean(sides[0] for sides in right),
        "right right": mean(sides[1] for sides in right),
    }


def inpainting_figures(model: VQDiffusion, count: int) -> Figures:
    """Two subjects are drawn, and the right half of the image anew for another one in the place of the second."""
    rng = random.Random(4)
    first = [scenes.any_scene(rng, "two") for _ in range(count)]
    second = [replace(scene, subjects=(scene.subjects[0], rng.choice(scenes.SUBJECTS))) for scene in first]
    tokens_BN = draw_tokens(model, [scene.caption for scene in first])
    rows, columns = model.transformer.spec.grid
    right_N = (torch.arange(columns) >= columns // 2).repeat(rows)
    painted_BN = draw_tokens(model, [scene.caption for scene in second], tokens_BN, right_N.expand(count, -1))
    images = decode(model, painted_BN.unflatten(1, model.transformer.spec.grid))
    return {
        "asked object there": mean(is_first(scene, image, 1) for scene, image in zip(second, images, strict=True)),
        "other half unchanged": mean((tokens_BN == painted_BN)[:, ~right_N].all(1).tolist()),
    }


def curve_figures(model: VQDiffusion, count: int, settings: Sequence[Settings]) -> list[Figures]:
    """For each of the settings, from a quarter of `count` images. Fidelity: the share whose subject is first.
    Diversity: how far images of one prompt lie apart, root mean square in grey levels of 255. Likeness: to the true
    rendering.
    """
    rng = random.Random(5)
    asked = [
        scenes.plain(rng.choice(scenes.SUBJECTS), rng.choice(list(scenes.COLOURS)))
        for _ in range(-(-count // (4 * CURVE_PICTURES)))
    ]
    every = [scene for scene in asked for _ in range(CURVE_PICTURES)]
    points = []
    for setting in settings:
        images = draw(model, [scene.caption for scene in every], setting)
        groups = [images[i : i + CURVE_PICTURES] for i in range(0, len(images), CURVE_PICTURES)]
        pairs = [
            (to_tensor(scenes.render(scene)), to_tensor(image)) for scene, image in zip(every, images, strict=True)
        ]
        points.append(
            {
                "guidance": setting.guidance,
                "truncation": setting.truncation,
                "subject first": mean(is_first(*drawn, 0) for drawn in zip(every, images, strict=True)),
                "likeness in dB": statistics.mean(psnr(drawn, true) for true, drawn in pairs),
                "diversity": statistics.mean(
                    pixel_distance(a, b) for group in groups for a, b in combinations(group, 2)
                ),
            }
        )
    return points


def is_first(scene: scenes.Scene, image: Image.Image, which: int) -> bool:
    """Whether, of all subjects, the scene's is the one that its place in the image looks most like."""
    return metrics.ranking(image, scene.boxes[which])[0] == scene.subjects[which].name
