"""A list of prompts on a device: many images go through the network at once, and are the CPU's."""

import json
import string

import numpy as np
import pytest
from pack.tests.core.noted_batches import note_batches
from pack.tests.core.tiny_checkpoints import diffusers_folder
from pack.vqdiffusion_core.cli import main
from PIL import Image

from .fake import FakeDevice

LINES = [{"prompt": letter, "name": letter, "negative": "red"} for letter in string.ascii_lowercase]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return diffusers_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def batches(monkeypatch):
    return note_batches(monkeypatch)


def draw(model, folder, device, lines):
    """The images of these lines, by the command."""
    file = folder.parent / "list.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    command = ["generate", "--prompts", str(file), "-o", str(folder), "--model", str(model), "--steps", "2"]
    assert main([*command, "--dtype", "float32", "--device", device]) == 0
    return {path.name: np.asarray(Image.open(path), int) for path in folder.iterdir()}


def assert_same(images, expected):
    for name, image in expected.items():
        assert np.abs(images[name] - image).max() <= 1


def test_a_list_is_drawn_in_one_run_and_in_parts_where_memory_is_scarce(model, tmp_path, batches):
    expected = draw(model, tmp_path / "cpu", "cpu", LINES)
    with FakeDevice() as gpu:
        draw(model, tmp_path / "one", "cuda", LINES[:1])
        of_one = gpu.peak
    with FakeDevice() as gpu:
        assert_same(draw(model, tmp_path / "all", "cuda", LINES), expected)
        of_all = gpu.peak
    assert of_all > 1.2 * of_one and batches[-1] == list(range(len(LINES)))
    with FakeDevice(limit=(of_one + of_all) // 2) as gpu:
        assert_same(draw(model, tmp_path / "in parts", "cuda", LINES), expected)
        assert gpu.operators["empty_cache"] > 0
