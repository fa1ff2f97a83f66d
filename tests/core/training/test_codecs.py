"""`vqdiffusion train diffusion --codec`: any codec that can be read is one to train on."""

import argparse
import re

import pytest
import torch
from pack.tests.core import tiny_checkpoints, tiny_originals
from pack.tests.core.tiny_training import write_images
from pack.vqdiffusion_core.checkpoints import load
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.training.checkpoint import read_tensors
from pack.vqdiffusion_core.training.recipe import load_codec

CODEC = ["--size", "16", "--channels", "8,8", "--codes", "16", "--steps", "1", "--batch", "2"]
DIFFUSION = ["--size", "16", "--layers", "1", "--width", "16", "--heads", "2", "--steps", "1", "--batch", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"))


def taming(spec):
    def write(folder, data):
        content = {"state_dict": tiny_originals.vqgan_state(spec), "args": argparse.Namespace(lr=1)}
        torch.save(content, folder / "last.ckpt")
        return folder / "last.ckpt"

    return write


def vqvae(folder, data):
    tiny_checkpoints.peer_vqgan().save_pretrained(folder / "vqvae")
    return folder / "vqvae"


def run_file(*options):
    def write(folder, data):
        assert main(["train", "codec", str(folder / "run"), "--data", str(data), *CODEC, *options]) == 0
        return folder / "run" / "checkpoint.pt"

    return write


PLACES = {
    "taming": (taming(tiny_originals.F8), 11),
    "Gumbel": (taming(tiny_originals.GUMBEL_F8), 24),
    "vqvae of diffusers": (vqvae, 11),
    "whole model": (lambda folder, data: tiny_checkpoints.diffusers_folder(folder / "model"), 11),
    "model of the authors": (lambda folder, data: tiny_originals.coco_folder(folder), 11),
    "file of a run": (run_file(), 16),
}


@pytest.mark.parametrize(("write", "codes"), PLACES.values(), ids=PLACES)
def test_a_codec_of_any_origin_is_trained_on(write, codes, data, tmp_path):
    (tmp_path / "codec").mkdir()
    place = write(tmp_path / "codec", data)
    run = ["train", "diffusion", str(tmp_path / "run"), "--codec", str(place), "--data", str(data), *DIFFUSION]
    assert main([*run, "--save-as", str(tmp_path / "model")]) == 0
    model = load(tmp_path / "model")
    assert model.vqgan.spec.codebook_size == codes == model.transformer.spec.codebook_size


def test_a_run_of_an_earlier_version_goes_on(data, tmp_path):
    """Its checkpoint says nothing of cells alone, so that of a codec without them is to say nothing, too."""
    names = (
        "level_channels res_blocks attention_levels latent_channels code_dim codebook_size norm_groups gumbel junk_code"
    )
    assert {*read_tensors(run_file()(tmp_path, data))["setup"]["codec"]} == {*names.split()}


def test_a_codec_of_cells_alone_is_trained_on_and_becomes_a_model_s(data, tmp_path):
    place, given = run_file("--cells-alone")(tmp_path, data), ["--data", str(data)]
    more = ["train", "codec", str(tmp_path / "on"), "--codec", str(place), *given]
    assert main([*more, "--size", "16", "--steps", "1", "--batch", "2"]) == 0
    run = ["train", "diffusion", str(tmp_path / "diffusion"), "--codec", str(tmp_path / "on"), *given, *DIFFUSION]
    assert main([*run, "--save-as", str(tmp_path / "model")]) == 0
    specs = [load_codec(place).spec, load_codec(tmp_path / "on").spec, load(tmp_path / "model").vqgan.spec]
    assert specs == [specs[0]] * 3 and specs[0].cells_alone


def page(folder):
    (folder / "last.ckpt").write_text("<!doctype html>")
    return folder / "last.ckpt"


def run_of_a_transformer(folder):
    torch.save({"step": 1, "setup": {"layers": 2}, "training": {}}, folder / "checkpoint.pt")
    return folder


def damaged_run(folder):
    (folder / "checkpoint.pt").write_bytes(b"PK\3\4")
    return folder


WRONG = {
    "nothing": (lambda folder: folder / "no", r"no is no folder and no file; expected those of a model\."),
    "an empty folder": (
        lambda folder: folder,
        r"holds 0 codecs \(no tensors\); expected one VQGAN, or the folder of a",
    ),
    "a web page": (page, r"last.ckpt is neither a safetensors nor a PyTorch file: it is a web page"),
    "a run of another kind": (run_of_a_transformer, r"is a run of a transformer; expected that of its codec, or any"),
    "a damaged run": (damaged_run, r"checkpoint.pt is cut short"),
}


@pytest.mark.parametrize(("write", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_codec_is_said_in_one_line_and_nothing_is_begun(write, said, data, tmp_path, capsys):
    (tmp_path / "codec").mkdir()
    place = write(tmp_path / "codec")
    run = ["train", "diffusion", str(tmp_path / "run"), "--codec", str(place), "--data", str(data), *DIFFUSION]
    assert main(run) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line), line
    assert not (tmp_path / "run").exists()
