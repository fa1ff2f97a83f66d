"""Two models of one codec, of which one is without it: its index names the folder beside it that has it."""

import json
import shutil

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, RIVAL_FOLDER, CheckpointError, load, load_codec
from pack.vqdiffusion_core.cli import main

from .. import tiny_checkpoints


@pytest.fixture
def pair(tmp_path):
    """The folders of a model and of one that shares its codec."""
    whole = tiny_checkpoints.diffusers_folder(tmp_path / "whole")
    shared = shutil.copytree(whole, tmp_path / "shared", ignore=shutil.ignore_patterns("vqvae"))
    name_codec(shared, "whole")
    return whole, shared


def name_codec(folder, name):
    index = {"_class_name": "VQDiffusionPipeline", "codec_of": name}
    (folder / "model_index.json").write_text(json.dumps(index))


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_model_has_the_codec_of_the_one_beside_it_that_it_names(pair):
    whole, shared = (load(folder) for folder in pair)
    assert same(whole.vqgan, shared.vqgan) and same(whole.vqgan, load_codec(pair[1]))


def test_converted_it_stands_alone(pair, tmp_path, capsys):
    assert main(["convert", str(pair[1]), str(tmp_path / "alone")]) == 0
    shutil.rmtree(pair[0])
    assert "codec_of" not in json.loads((tmp_path / "alone" / "model_index.json").read_text())
    assert load(tmp_path / "alone").vqgan is not None


def test_without_the_other_folder_the_error_names_what_is_missing(pair):
    shutil.rmtree(pair[0])
    with pytest.raises(CheckpointError, match=r"whole.vqvae.config\.json is missing"):
        load(pair[1])


@pytest.mark.parametrize("name", ["../whole", "/etc", "", "..", 3, ["whole"]], ids=str)
def test_no_other_place_is_looked_at(pair, name):
    name_codec(pair[1], name)
    with pytest.raises(CheckpointError, match="codec_of is"):
        load(pair[1])


def test_the_pocket_model_and_its_rival_draw_the_same_tokens():
    by_steps, token_by_token = (load(folder) for folder in (POCKET_FOLDER, RIVAL_FOLDER))
    assert same(by_steps.vqgan, token_by_token.vqgan)
    assert by_steps.transformer.spec.grid == token_by_token.transformer.spec.grid
