"""What of the folders for models is in the menu, and what is said of the rest. Names alone count: files are empty."""

from __future__ import annotations

import os

import pytest
from pack.vqdiffusion_core.checkpoints import find, menu

PUBLISHED = "models--microsoft--vq-diffusion-ithq"


def model(folder):
    folder.mkdir(parents=True)
    (folder / "model_index.json").touch()
    return folder


@pytest.mark.parametrize("name", ["ithq", "of others/ithq", "a/b/c/d/ithq", "2024-05/runs.old/last one"])
def test_a_model_is_listed_by_its_path_in_the_place(name, tmp_path):
    model(tmp_path / name)
    found = find([tmp_path])
    assert found.models == {name: tmp_path / name} and found.unlisted == []


def test_a_model_of_the_authors_is_listed_as_deep(tmp_path):
    model(tmp_path / "a" / "diffusers")
    (tmp_path / "a" / "coco").mkdir()
    (tmp_path / "a" / "coco" / "coco_pretrained.pth").touch()
    assert list(find([tmp_path]).models) == ["a/coco", "a/diffusers"]


def test_what_belongs_to_a_model_is_no_model(tmp_path):
    folder = model(tmp_path / "ithq")
    (folder / "vqvae").mkdir()
    (folder / "vqvae" / "diffusion_pytorch_model.bin").touch()
    assert list(find([tmp_path]).models) == ["ithq"]


def cache(place, *commits, main=None):
    repository = place / PUBLISHED
    for age, commit in enumerate(commits):
        version = model(repository / "snapshots" / commit)
        os.utime(version, (1000 - age, 1000 - age))
    if main:
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(main)
    return repository / "snapshots"


@pytest.mark.parametrize("below", ["", "hub/"])
def test_the_cache_of_the_hub_is_listed_by_the_names_of_the_hub(below, tmp_path):
    versions = cache(tmp_path / below, "0123456789abcdef")
    assert find([tmp_path]).models == {f"{below}microsoft/vq-diffusion-ithq": versions / "0123456789abcdef"}


@pytest.mark.parametrize(("main", "plain"), [("f" * 40, "f" * 40), ("gone", "e" * 40), (None, "e" * 40)])
def test_of_several_versions_the_one_called_main_has_the_plain_name_else_the_newest(main, plain, tmp_path):
    versions = cache(tmp_path, "e" * 40, "f" * 40, main=main)
    other = "e" * 40 if plain == "f" * 40 else "f" * 40
    name = "microsoft/vq-diffusion-ithq"
    assert find([tmp_path]).models == {name: versions / plain, f"{name}@{other[:8]}": versions / other}


def test_a_cache_without_a_whole_version_is_said(tmp_path):
    (tmp_path / PUBLISHED / "blobs").mkdir(parents=True)
    found = find([tmp_path])
    assert found.models == {}
    assert found.unlisted[0].startswith(
        f"{tmp_path / PUBLISHED} is not listed, since no model was found in it. A model"
    )


@pytest.mark.parametrize("name", ["ithq.pth", "last.ckpt", "model_index.json", "cub_pretrained_aa"])
def test_files_without_a_folder_are_said_by_name(name, tmp_path):
    (tmp_path / name).touch()
    (tmp_path / "put models here.txt").touch()
    (sentence,) = find([tmp_path]).unlisted
    assert sentence.startswith(f"{name} in {tmp_path}: not listed. Put the files of a model into a folder of its own")


def test_parts_of_a_model_without_a_folder_of_its_own_are_no_models(tmp_path):
    model(tmp_path / "place")
    for part in ("vqvae", "transformer"):
        (tmp_path / "place" / part).mkdir()
        (tmp_path / "place" / part / "diffusion_pytorch_model.bin").touch()
    found = find([tmp_path / "place"])
    assert found.models == {} and len(found.unlisted) == 1


def test_hidden_folders_are_passed_by_without_a_word(tmp_path):
    """Downloads that are under way, and what version control keeps."""
    model(tmp_path / ".ithq.partial")
    model(tmp_path / "a" / ".git" / "x")
    model(tmp_path / "a" / "b")
    found = find([tmp_path])
    assert list(found.models) == ["a/b"] and found.unlisted == []


def test_links_may_lead_in_circles_and_to_one_model_twice(tmp_path):
    model(tmp_path / "group" / "ithq")
    (tmp_path / "group" / "again").symlink_to(tmp_path / "group")
    (tmp_path / "group" / "up").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "nothing").symlink_to("nowhere")
    (tmp_path / "short").symlink_to(tmp_path / "group" / "ithq")
    assert list(find([tmp_path]).models) == ["group/ithq", "short"]


def test_a_folder_of_models_may_be_a_link(tmp_path):
    model(tmp_path / "disk" / "ithq")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "big").symlink_to(tmp_path / "disk")
    assert list(find([tmp_path / "place"]).models) == ["big/ithq"]


def test_a_tree_without_end_is_left_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(menu, "MAX_ENTRIES", 50)
    model(tmp_path / "a" / "ithq")
    for i in range(60):
        (tmp_path / "zoo" / str(i)).mkdir(parents=True)
    found = find([tmp_path])
    assert list(found.models) == ["a/ithq"]
    assert found.unlisted[0] == f"{tmp_path} was not searched to its end: it has too many files, or folders too deep."


def test_a_folder_too_deep_is_left_with_a_word(tmp_path):
    model(tmp_path / "/".join("abcdef") / "within")
    model(tmp_path / "/".join("abcdefg") / "beyond")
    found = find([tmp_path])
    assert list(found.models) == ["a/b/c/d/e/f/within"]
    assert "folders too deep" in found.unlisted[0]


def test_the_first_of_a_name_counts_and_places_that_are_not_there_are_none(tmp_path):
    for place in ("one", "two"):
        model(tmp_path / place / "sub" / "ithq")
    found = find([tmp_path / "none", tmp_path / "one", tmp_path / "two"])
    assert found.models == {"sub/ithq": tmp_path / "one" / "sub" / "ithq"}
