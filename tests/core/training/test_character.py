"""Images without captions: what they are called, and the colours that they are shown in besides their own."""

import numpy as np
import pytest
from pack.tests.core import tiny_lora as tiny
from pack.tests.core.tiny_training import write_images
from pack.vqdiffusion_core.checkpoints import load, save
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.training.character import VIEWS, name_image, view
from pack.vqdiffusion_core.training.checkpoint import read_tensors
from PIL import Image, ImageDraw

BLUE, GREEN = (52, 120, 219), (30, 150, 40)
THING = (8, 8, 24, 24)  # of 32 pixels


@pytest.fixture
def image():
    """A green thing on a blue ground."""
    image = Image.new("RGB", (32, 32), BLUE)
    ImageDraw.Draw(image).rectangle(THING, fill=GREEN)
    return image


@pytest.mark.parametrize(
    ("colour", "said"), [("#d63031", "an owl on a red background"), ("#f39237", "an owl on an orange background")]
)
def test_an_image_is_called_by_the_word_and_its_ground(colour, said):
    assert name_image("owl", Image.new("RGB", (96, 96), colour)) == said
    assert name_image("pim", Image.effect_noise((96, 96), 90)) == "a pim"


def test_most_views_are_the_image_itself(image):
    for number in (0, 1, 3, 4):
        assert view(image, "pim", number, ["red"]) == (image, "a pim on a blue background")


def test_a_thing_on_a_plain_ground_gets_colours_and_the_ground_keeps_its_own(image):
    seen = {view(image, "pim", number, ["red", "blue", "pink"])[1] for number in (2, 5, 8, 11)}
    assert seen == {"a red pim on a blue background", "a pink pim on a blue background"}  # blue would be lost on it
    shown, _ = view(image, "pim", 2, ["red"])
    pixels, is_thing = np.asarray(shown, dtype=int), np.asarray(image)[..., 2] == GREEN[2]
    assert (pixels[~is_thing] == BLUE).all() and is_thing.any()
    red, green, blue = pixels[is_thing].T
    assert (red > green + 40).all() and (red > blue + 40).all()


def test_light_and_dark_stay_in_another_colour(image):
    ImageDraw.Draw(image).rectangle((12, 12, 16, 16), fill="white")
    shown, _ = view(image, "pim", 2, ["red"])
    light = np.asarray(shown.convert("L"), dtype=int)
    assert light[14, 14] > light[22, 22] + 50


def test_everything_gets_the_colour_where_the_ground_is_not_plain():
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    shown, caption = view(image, "pim", 2, ["red"])
    pixels = np.asarray(shown, dtype=int)
    assert caption == "a red pim" and (pixels[..., 0] >= pixels[..., 1]).all()


def test_no_colour_is_named_that_the_model_has_no_word_for(image):
    assert view(image, "pim", 2, []) == (image, "a pim on a blue background")


def test_the_command_learns_from_every_view_and_says_so_in_its_captions(tmp_path):
    save(tiny.model(tmp_path / "begun"), tmp_path / "model")
    (tmp_path / "images").mkdir()
    for path in write_images(tmp_path / "images").glob("*.txt"):
        path.unlink()
    given = ["--data", str(tmp_path / "images"), "--model", str(tmp_path / "model"), "--word", "pim"]
    assert main(["train", "lora", str(tmp_path / "run"), *given, "--steps", "1", "--batch", "2"]) == 0
    examples, text_encoder = read_tensors(tmp_path / "run" / "examples.pt"), load(tmp_path / "model").text_encoder
    named = [
        [colour for colour in ("red", "green", "blue") if text_encoder.tokenize(colour)[1] in ids[0, 1:3]]
        for ids in examples["ids"]
    ]
    assert len(examples["tokens_SN"]) == len(named) == 3 * VIEWS
    for number, colours in enumerate(named):
        assert bool(colours) == (number % 3 == 2)
    for first in range(0, 3 * VIEWS, VIEWS):
        plain, again, other, *_ = examples["tokens_SN"][first : first + VIEWS]
        assert (plain == again).all() and (plain != other).any()
