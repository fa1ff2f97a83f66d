"""A run whose images or captions changed says what changed and what to do, before anything is written."""

import json
import os
import shutil

import pytest
import torch
from pack.tests.core.tiny_training import COLOURS, paint
from pack.vqdiffusion_core.cli import main

CODEC = ["--size", "16", "--channels", "8,8", "--codes", "16", "--batch", "2"]
DIFFUSION = ["--size", "16", "--layers", "1", "--width", "16", "--heads", "2", "--batch", "2"]


def train(place, kind, *more, steps=1):
    begin = ["--codec", str(place / "codec"), *DIFFUSION] if kind == "diffusion" else CODEC
    data = ["--data", str(place / "data"), "--steps", str(steps)]
    return main(["train", kind, str(place / kind), *begin, *data, *more])


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    place = tmp_path_factory.mktemp("begun")
    (place / "data" / "deep").mkdir(parents=True)
    for name, colour in COLOURS.items():
        paint(colour, 8).save(place / "data" / "deep" / f"{name}.png")
        (place / "data" / "deep" / f"{name}.txt").write_text(f"a {name} one")
    assert train(place, "codec") == train(place, "diffusion") == 0
    return place


@pytest.fixture
def place(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "place")


def add(data):
    paint((9, 9, 9), 8).save(data / "black.png")
    (data / "black.txt").write_text("black")


def remove(data):
    (data / "deep" / "red.png").unlink()


def replace(data):
    paint((9, 9, 9), 8).save(data / "deep" / "green.png")


def caption(data):
    (data / "deep" / "blue.txt").write_text("a blue one, which has more words than any other here")


CHANGES = {
    "1 added": [add],
    "1 removed": [remove],
    "1 replaced": [replace],
    "1 with other captions": [caption],
    "1 added, 1 removed, 1 replaced, 1 with other captions": [add, remove, replace, caption],
}


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("said", CHANGES)
def test_what_changed_is_said_before_anything_is_written(said, place, capsys):
    for change in CHANGES[said]:
        change(place / "data")
    before = contents(place)
    assert train(place, "diffusion", steps=2) == 1
    line = capsys.readouterr().err.strip()
    assert f"began: {said}. " in line and "--new-data" in line and "\n" not in line
    assert contents(place) == before


def test_another_background_is_a_change(place, capsys):
    assert train(place, "diffusion", "--background", "red", steps=2) == 1
    assert "the background (255, 255, 255), now (255, 0, 0)" in capsys.readouterr().err


def test_a_codec_is_not_trained_on_other_images_unasked(place, capsys):
    caption(place / "data")  # which a codec does not read
    assert train(place, "codec", steps=2) == 0
    replace(place / "data")
    assert train(place, "codec", steps=3) == 1
    assert "1 replaced" in capsys.readouterr().err
    assert train(place, "codec", "--new-data", steps=3) == 0
    assert train(place, "codec", steps=4) == 0, "asked once"


def test_a_run_goes_on_with_what_is_new_when_it_is_asked_to(place, capsys):
    for change in (add, caption):
        change(place / "data")
    assert train(place, "diffusion", "--new-data", steps=2) == 0
    said = capsys.readouterr().err
    assert "began: 1 added, 1 with other captions. It goes on" in said
    assert "more than the 3 tokens that the model reads: 2. Their ends are left out" in said
    assert torch.load(place / "diffusion" / "checkpoint.pt")["step"] == 2
    assert len(torch.load(place / "diffusion" / "examples.pt")["tokens_SN"]) == 4
    assert train(place, "diffusion", steps=3) == 0
    assert "began" not in capsys.readouterr().err


def test_what_was_accepted_is_encoded_though_the_first_attempt_was_cut_off(place):
    add(place / "data")
    before = (place / "diffusion" / "examples.pt").read_bytes()
    assert train(place, "diffusion", "--new-data", steps=2) == 0
    (place / "diffusion" / "examples.pt").write_bytes(before)
    assert train(place, "diffusion", steps=3) == 0
    assert len(torch.load(place / "diffusion" / "examples.pt")["tokens_SN"]) == 4


def test_a_copy_of_the_images_is_the_same_images(place, capsys):
    shutil.move(place / "data", place / "elsewhere")
    shutil.copytree(place / "elsewhere", place / "data", copy_function=shutil.copyfile)
    for path in (place / "data").rglob("*.png"):
        os.utime(path, (1, 1))
    assert train(place, "diffusion", steps=2) == 0
    assert capsys.readouterr().err == ""


def test_a_run_without_a_record_of_its_images_goes_on_as_before(place):
    """Version 0.1.0 kept none."""
    run = place / "diffusion"
    (run / "data.json").unlink()
    examples, checkpoint = torch.load(run / "examples.pt"), torch.load(run / "checkpoint.pt")
    del examples["data"], checkpoint["setup"]["kernel"]
    checkpoint["setup"]["images"] = 3
    torch.save(examples, run / "examples.pt")
    torch.save(checkpoint, run / "checkpoint.pt")
    before = contents(run)[run / "examples.pt"]
    caption(place / "data")  # longer: a traceback once
    assert train(place, "diffusion", steps=2) == 0
    assert contents(run)[run / "examples.pt"] == before
    assert len(json.loads((run / "data.json").read_text())["images"]) == 3


def test_images_may_change_before_anything_was_learned_from_them(place):
    (place / "diffusion" / "checkpoint.pt").unlink()
    add(place / "data")
    assert train(place, "diffusion") == 0
    assert len(torch.load(place / "diffusion" / "examples.pt")["tokens_SN"]) == 4


DAMAGE = {  # by a copy that was cut off, and by what a power cut leaves on one file system or another
    "cut": lambda data: data[:50],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("file", ["checkpoint.pt", "examples.pt", "data.json"])
def test_a_damaged_file_of_a_run_is_named(file, damage, place, capsys):
    path = place / "diffusion" / file
    path.write_bytes(damage(path.read_bytes()))
    assert train(place, "diffusion", steps=2) == 1
    line = capsys.readouterr().err.strip()
    assert str(path) in line and "delete it" in line and "\n" not in line
