"""Model folders as other systems leave them load as they were published."""

import shutil

import pytest
from pack.vqdiffusion_core.checkpoints import find, load

from . import tiny_checkpoints, tiny_originals

PROMPT = "A red b"


@pytest.fixture(scope="module", params=["diffusers", "original"])
def published(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    if request.param == "diffusers":
        return tiny_checkpoints.diffusers_folder(folder)
    folder.mkdir()
    return tiny_originals.coco_folder(folder)


@pytest.fixture
def copy(published, tmp_path):
    return shutil.copytree(published, tmp_path / "models" / "model")


def files(folder, *suffixes):
    return [path for path in folder.rglob("*") if path.is_file() and (not suffixes or path.suffix in suffixes)]


def as_in_a_windows_checkout(folder):
    """git's autocrlf, which is on there from the beginning."""
    for path in files(folder, ".json", ".txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def as_saved_by_a_windows_editor(folder):
    for path in files(folder, ".json", ".txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def as_on_a_macs_external_disk(folder):
    """exFAT cannot keep what a Mac notes beside a file, so that each gets a second one."""
    for path in files(folder):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(100))
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder.parent / "._model").write_bytes(b"\0\5\x16\7")


@pytest.mark.parametrize("leave", [as_in_a_windows_checkout, as_saved_by_a_windows_editor, as_on_a_macs_external_disk])
def test_a_model_loads_as_it_was_published(leave, published, copy):
    expected = load(published).text_encoder
    leave(copy)
    found = find([copy.parent])
    assert list(found.models) == ["model"] and not found.unlisted
    text = load(copy).text_encoder
    assert text.tokenize(PROMPT) == expected.tokenize(PROMPT)
    assert text.encode([PROMPT]).equal(expected.encode([PROMPT]))
