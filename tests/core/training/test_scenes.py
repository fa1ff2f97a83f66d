"""The built-in scenes: what they show, how they are called, and the judge that looks at images of them."""

import random

import numpy as np
import pytest
from pack.vqdiffusion_core.training import evaluate, metrics, scenes
from pack.vqdiffusion_core.training.pocket import Scenes, seen_scene
from PIL import Image

needs_font = pytest.mark.skipif(
    not any(path.exists() for path in scenes.FONT_PATHS), reason="scenes need the font: apt fonts-noto-color-emoji"
)
SUBJECTS = {subject.name: subject for subject in scenes.SUBJECTS}
SOME = random.Random(0).sample(scenes.SUBJECTS, 12)


def test_subjects_have_names_of_their_own():
    assert len(SUBJECTS) == len({subject.glyph for subject in scenes.SUBJECTS}) == len(scenes.SUBJECTS) == 255
    phrases = [phrase for subject in scenes.SUBJECTS for phrase in subject.phrases]
    assert len(set(phrases)) == len(phrases)


@needs_font
def test_every_subject_has_an_image_of_its_own():
    drawn = [scenes.draw_glyph(subject.glyph) for subject in scenes.SUBJECTS]
    assert len({image.tobytes() for image in drawn}) == len(scenes.SUBJECTS)
    assert min(np.asarray(image)[..., 3].mean() for image in drawn) > 15


@pytest.mark.parametrize(
    ("names", "background", "size", "caption"),
    [
        (["owl"], ["orange"], "large", "an owl on an orange background"),
        (["owl"], ["red"], "small", "a small owl on a red background"),
        (["bread"], ["red"], "small", "small bread on a red background"),
        (["tiger", "red apple"], ["pink"], "small", "a tiger and a red apple on a pink background"),
        (["fox"], ["red", "blue"], "large", "a fox on a background from red to blue"),
    ],
)
def test_plain_captions(names, background, size, caption):
    assert scenes.Scene(tuple(SUBJECTS[name] for name in names), tuple(background), size).caption == caption


def test_wordings_name_the_subjects_in_the_order_of_their_sides():
    scene = scenes.Scene((SUBJECTS["fox"], SUBJECTS["owl"]), ("red",), "small")
    for seed in range(200):
        words = scenes.wording(scene, random.Random(seed))
        fox, owl = (min(words.find(name) % 1000 for name in names) for names in (["fox"], ["owl"]))
        swapped = words[owl:].startswith(("owl to the right", "owl on the right")) and owl < fox
        assert fox < owl or swapped, words


def test_wordings_are_many():
    scene = scenes.Scene((SUBJECTS["fox"], SUBJECTS["owl"]), ("red",), "small")
    assert len({scenes.wording(scene, random.Random(seed)) for seed in range(300)}) > 100


def test_one_combination_in_ten_is_held_out():
    held = [scenes.held_out(subject, colour) for subject in scenes.SUBJECTS for colour in scenes.COLOURS]
    assert np.mean(held) == pytest.approx(0.1, abs=0.01)
    rng = random.Random(0)
    for scene in (seen_scene(rng) for _ in range(500)):
        assert not any(scenes.held_out(subject, colour) for subject in scene.subjects for colour in scene.background)


@needs_font
def test_the_same_scenes_come_every_time():
    first, again = ([source[i][0].tobytes() for i in range(5)] for source in (Scenes(5), Scenes(5)))
    assert first == again and len(set(first)) == 5


@needs_font
@pytest.mark.parametrize("background", [("red",), ("white",), ("blue", "yellow")])
def test_the_judge_knows_what_a_true_image_shows(background):
    for subject, other in zip(SOME, reversed(SOME), strict=True):
        if subject == other:
            continue
        for chosen, size in (((subject,), "large"), ((subject,), "small"), ((subject, other), "small")):
            scene = scenes.Scene(chosen, background, size)
            image = scenes.render(scene)
            for i in range(len(chosen)):
                assert evaluate.is_first(scene, image, i), scene
            if len(background) == 1:
                assert metrics.background_of(image) == background[0]
            else:
                assert metrics.gradient_of(image) == background


@needs_font
def test_the_judge_is_not_fooled():
    scene = scenes.Scene((SUBJECTS["fox"], SUBJECTS["owl"]), ("red",), "small")
    swapped = scenes.render(scenes.Scene((SUBJECTS["owl"], SUBJECTS["fox"]), ("red",), "small"))
    assert not evaluate.is_first(scene, swapped, 0) and not evaluate.is_first(scene, swapped, 1)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    ranks = [metrics.ranking(noise).index(subject.name) for subject in SOME]
    assert sum(rank == 0 for rank in ranks) <= 1
