"""The node that opens images to teach from: the eight drawings of the pack, and folders of ComfyUI's input."""

import folder_paths
import pytest
import torch
from pack.nodes.load_images import VQDiffusionLoadImages
from pack.nodes.loaders import ZIMBO
from PIL import Image


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in ComfyUI's input, empty."""
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def opened(name="mine"):
    return VQDiffusionLoadImages.execute(name).args


def menu():
    (folders,) = VQDiffusionLoadImages.define_schema().inputs
    return folders.options


def test_the_zimbo_comes_along():
    images, captions = opened(ZIMBO)
    assert [tuple(image.shape) for image in images] == [(1, 96, 96, 3)] * 8
    assert captions == [""] * 8 and menu()[0] == ZIMBO


def test_images_come_in_the_order_of_names_each_with_the_lines_of_its_text(folder):
    for name, colour, side in [("b", "red", 30), ("a", "blue", 20)]:
        Image.new("RGB", (side, side), colour).save(folder / f"{name}.png")
    (folder / "a.txt").write_text("a zimbo\nmy zimbo\n")
    (folder / "b.txt").write_text("a red zimbo")
    (blue, red), captions = opened()
    assert captions == ["a zimbo\nmy zimbo", "a red zimbo"]
    assert blue.shape[1] == 20 and torch.equal(red, torch.tensor([1.0, 0, 0]).expand(1, 30, 30, 3))
    assert "mine" in menu()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "mine has no images to learn from: it is empty"),
        ({"a.txt": "a zimbo"}, "it holds 1 file of captions"),
        ({"a.png": "no image"}, "a.png cannot be read as an image"),
        ({"a.png": None, "b.png": None, "a.txt": "a zimbo"}, "b.png has no caption; expected b.txt beside it"),
    ],
)
def test_what_cannot_be_learned_from_is_one_error(files, message, folder):
    for name, content in files.items():
        if content is None:
            Image.new("RGB", (20, 20)).save(folder / name)
        else:
            (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        opened()


def test_other_files_are_said_to_be_passed_over(folder, caplog):
    Image.new("RGB", (20, 20)).save(folder / "a.png")
    (folder / "a.zip").write_bytes(b"")
    assert opened()[1] == [""] and "passed over: 1 file (.zip)" in caplog.text


def test_only_what_is_in_the_menu_is_opened(folder):
    with pytest.raises(ValueError, match=r"There is no folder '\.\./secret'"):
        opened("../secret")


def test_a_folder_that_changes_is_opened_anew(folder):
    before = VQDiffusionLoadImages.fingerprint_inputs("mine")
    Image.new("RGB", (20, 20)).save(folder / "a.png")
    assert VQDiffusionLoadImages.fingerprint_inputs("mine") != before
