"""Folders of pictures: what is learned from them, and what is wrong with them, said before the work begins."""

import json
import random

import numpy as np
import pytest
from pack.vqdiffusion_core.training.data import Folder
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("fox", "owl")):
        Image.new("RGB", (24 + 8 * i, 20), (60 + 90 * i, 120, 30)).save(tmp_path / f"{name}.png")
    return tmp_path


def caption(folder, name, text):
    (folder / f"{name}.txt").write_text(text)


def test_captions_are_the_lines_of_text_files(folder):
    caption(folder, "fox", "a fox\n\nthe animal in the fog \n")
    caption(folder, "owl", "an owl")
    source = Folder(folder, 16)
    assert [captions for _, captions in source.captioned()] == [["a fox", "the animal in the fog"], ["an owl"]]
    assert [*source.captions()] == ["a fox", "the animal in the fog", "an owl"]
    assert {picture.size for picture, _ in source.captioned()} == {(16, 16)}


def test_captions_are_the_lines_of_metadata(folder):
    caption(folder, "owl", "an owl")
    lines = [{"file_name": "fox.png", "text": text} for text in ("a fox", "a red fox")]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [captions for _, captions in Folder(folder, 16).captioned()] == [["a fox", "a red fox"], ["an owl"]]


def test_pictures_are_cut_to_the_middle(tmp_path):
    stripes = np.zeros((16, 48, 3), dtype=np.uint8)
    stripes[:, 16:32] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    picture = Folder(tmp_path, 16, captions=False).picture(random.Random(0))
    assert np.asarray(picture).min() == 255


def test_a_picture_follows_from_its_number(folder):
    source = Folder(folder, 16, captions=False)
    first, again = (source.picture(random.Random(3)) for _ in range(2))
    assert first.tobytes() == again.tobytes()


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no pictures to learn from"):
        Folder(tmp_path, 16)


def test_a_picture_without_caption_is_refused(folder):
    caption(folder, "fox", "a fox")
    with pytest.raises(ValueError, match=r"owl\.png has no caption; expected owl\.txt"):
        Folder(folder, 16)


def test_a_picture_that_cannot_be_read_is_refused(folder):
    whole = (folder / "owl.png").read_bytes()
    for content in (b"no picture", whole[: len(whole) // 2]):
        (folder / "owl.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"owl\.png cannot be read as a picture"):
            Folder(folder, 16, captions=False)


def test_a_picture_that_is_too_small_is_refused(folder):
    with pytest.raises(ValueError, match=r"fox\.png is 24 x 20 pixels; expected 32 x 32 or more"):
        Folder(folder, 32, captions=False)


@pytest.mark.parametrize("line", ['{"file_name": "fox.png"}', "fox.png, a fox", "[]"])
def test_broken_metadata_is_refused_by_line(folder, line):
    (folder / "metadata.jsonl").write_text('{"file_name": "fox.png", "text": "a fox"}\n' + line)
    with pytest.raises(ValueError, match=r"metadata\.jsonl, line 2"):
        Folder(folder, 16)
