"""`train diffusion --match-captions`: a text encoder that tells images apart before a transformer learns from it."""

import csv
import math

import pytest
import torch
from pack.tests.core import tiny_training as tiny
from pack.tests.core.tiny_training import write_images
from pack.vqdiffusion_core.checkpoints import load
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.training.checkpoint import read_tensors
from pack.vqdiffusion_core.training.matching import BATCH, alike
from PIL import Image

PACE = ["--size", "16", "--layers", "1", "--width", "16", "--heads", "2", "--batch", "2"]


@pytest.fixture(scope="module")
def begin(tmp_path_factory):
    """The command that begins a run in a folder, but for its last options."""
    folder = tmp_path_factory.mktemp("begin")
    (folder / "data").mkdir()
    write_images(folder / "data")
    given = ["--data", str(folder / "data")]
    codec = ["--size", "16", "--channels", "8,8", "--codes", "16", "--steps", "30", "--batch", "2"]
    assert main(["train", "codec", str(folder / "codec"), *given, *codec]) == 0
    command = ["train", "diffusion", "--codec", str(folder / "codec"), *given, *PACE]
    return lambda run, *options: main([*command, *options, "--", str(run)])


def text_of(run, kept="networks"):
    weights = read_tensors(run / "checkpoint.pt")["training"][kept]
    return {name: weight for name, weight in weights.items() if name.startswith("text_encoder.")}


def test_each_caption_comes_to_find_its_image(begin, tmp_path):
    assert begin(tmp_path, "--match-captions", "60", "--steps", "1") == 0
    lines = [*csv.DictReader((tmp_path / "text" / "log.csv").open())]
    assert float(lines[0]["found"]) < float(lines[-1]["found"]) == 1, "the first 50 steps, the last 10"
    sheet = Image.open(tmp_path / "text" / "sheets" / "0000060.png")
    above, below = (sheet.crop((0, top, sheet.width, top + 16)) for top in (0, 16))
    assert above.size == (8 * 16, 16) and above.tobytes() == below.tobytes()


def test_the_run_goes_on_from_what_was_matched_and_its_average_and_null_too(begin, tmp_path):
    frozen = ["--learn", "transformer", "--steps", "1"]
    assert begin(tmp_path / "run", "--match-captions", "3", *frozen, "--save-as", str(tmp_path / "model")) == 0
    assert begin(tmp_path / "other", *frozen) == 0
    matched = read_tensors(tmp_path / "run" / "text" / "checkpoint.pt")["training"]["towers"]
    for kept in ("networks", "ema"):
        found, other = text_of(tmp_path / "run", kept), text_of(tmp_path / "other", kept)
        assert found and all(weight.equal(matched[name]) for name, weight in found.items())
        assert not all(weight.equal(other[name]) for name, weight in found.items())
    model = load(tmp_path / "model")
    torch.testing.assert_close(model.learned_null_1LD, model.text_encoder.encode([""]), rtol=0, atol=2e-3)  # float16


def test_a_run_that_was_cut_off_between_the_two_goes_on(begin, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    both = ["--match-captions", "3", "--steps", "2"]
    assert begin(whole, *both) == 0
    assert begin(halves, *both) == 0
    (halves / "checkpoint.pt").unlink()
    assert begin(halves, *both) == 0
    assert all(weight.equal(text_of(halves)[name]) for name, weight in text_of(whole).items())


def test_a_run_that_has_begun_says_that_it_matches_no_more(begin, tmp_path, capsys):
    assert begin(tmp_path, "--steps", "1") == 0
    before = text_of(tmp_path)
    assert begin(tmp_path, "--steps", "1", "--match-captions", "2") == 0
    assert "has begun, so no captions are matched; to do that, begin in another folder" in capsys.readouterr().err
    assert not (tmp_path / "text").exists()
    assert all(weight.equal(text_of(tmp_path)[name]) for name, weight in before.items())


def test_the_same_command_again_says_nothing_of_it(begin, tmp_path, capsys):
    for steps in ("1", "2"):
        assert begin(tmp_path, "--match-captions", "2", "--steps", steps) == 0
    assert "has begun" not in capsys.readouterr().err


def test_a_model_that_has_learned_is_not_matched(begin, tmp_path, capsys):
    assert main(["train", "diffusion", str(tmp_path), "--model", str(tmp_path), "--match-captions", "2"]) == 1
    assert "--match-captions is for a new text encoder" in capsys.readouterr().err
    assert begin(tmp_path, "--match-captions", "0") == 1
    assert "match captions is 0; expected 1 step or more" in capsys.readouterr().err


def test_the_same_image_or_caption_twice_in_a_batch_is_no_mistake(tmp_path):
    rows = torch.tensor([[1, 2], [3, 4], [1, 2]])
    assert alike(rows).tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    matching = tiny.matching(tmp_path, source=OneCaption(), mixed=False)
    for metrics in tiny.take_steps(matching, 3):
        assert metrics["found"] == 1 and metrics["loss"] == pytest.approx(math.log(BATCH), abs=0.01)


class OneCaption(tiny.Images):
    def captions(self):
        return ["an image"]

    def __getitem__(self, index):
        return super().__getitem__(index)[0], ["an image"]
