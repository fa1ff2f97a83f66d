"""`vqdiffusion convert`: any layout becomes one folder, the same bytes each time, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import Transformer2DModel, VQModel
from pack.vqdiffusion_core.checkpoints import CheckpointError, load, load_codec
from pack.vqdiffusion_core.checkpoints.convert import convert
from pack.vqdiffusion_core.checkpoints.write import replace_folder
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.networks.inference import FastTransformer
from safetensors.torch import load_file

from .. import tiny_checkpoints, tiny_originals

NOBODY = 65534
MAKERS = {
    "diffusers": tiny_checkpoints.diffusers_folder,
    "ithq": tiny_originals.ithq_folder,
    "coco": tiny_originals.coco_folder,
    "imagenet": tiny_originals.imagenet_folder,
    "ffhq": tiny_originals.ffhq_folder,
    "two stages": tiny_originals.two_stages_folder,
}


@pytest.fixture
def source(request, tmp_path):
    place = tmp_path / "source"
    place.mkdir()
    return MAKERS[request.param](place)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("source", MAKERS, indirect=True)
def test_the_converted_model_is_the_same_model(source, tmp_path):
    convert(source, tmp_path / "out")
    before, after = load(source), load(tmp_path / "out")
    assert before.transformer.spec == after.transformer.spec and before.vqgan.spec == after.vqgan.spec
    for part in ("transformer", "vqgan", "text_encoder"):
        if (module := getattr(before, part)) is not None:
            state = getattr(after, part).state_dict()
            assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items()), part
    assert (before.schedule.gamma_bar == after.schedule.gamma_bar).all()


@pytest.mark.parametrize("source", MAKERS, indirect=True)
def test_converting_twice_or_what_was_converted_gives_the_same_bytes(source, tmp_path):
    for origin, target in ((source, "one"), (source, "two"), (tmp_path / "one", "three")):
        convert(origin, tmp_path / target)
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "three")


@pytest.mark.parametrize("source", ["ithq"], indirect=True)
def test_a_converted_text_model_opens_in_the_classes_of_diffusers_and_agrees(source, tmp_path):
    convert(source, tmp_path / "out")
    ours = load(tmp_path / "out")
    transformer = Transformer2DModel.from_pretrained(tmp_path / "out" / "transformer").eval()
    x_BN = torch.arange(16)[None] % (tiny_originals.K + 1)
    text_BLD = tiny_originals.value("text", (1, tiny_originals.CLIP.length, tiny_originals.TEXT.text_width), 1.0)
    with torch.no_grad():
        theirs = transformer(x_BN, encoder_hidden_states=text_BLD, timestep=torch.tensor(3)).sample
    assert isinstance(ours.transformer, FastTransformer)
    log_p = ours.transformer(x_BN, torch.tensor([3]), ours.transformer.precompute_kv(text_BLD)).log_softmax(-1)
    torch.testing.assert_close(log_p.transpose(1, 2), theirs, atol=1e-5, rtol=0)
    vqgan = VQModel.from_pretrained(tmp_path / "out" / "vqvae").eval()
    image = tiny_originals.value("image", (1, 3, 64, 64), 1.0)
    codes = vqgan.quantize(vqgan.encode(image).latents)[2][2]
    assert torch.equal(ours.vqgan.encode(image).flatten(), codes)


@pytest.mark.parametrize("source", ["coco"], indirect=True)
def test_a_dtype_is_that_of_every_file(source, tmp_path):
    convert(source, tmp_path / "out", torch.bfloat16)
    files = list((tmp_path / "out").rglob("*.safetensors"))
    assert files and {t.dtype for file in files for t in load_file(file).values()} == {torch.bfloat16}
    assert load(tmp_path / "out").transformer.to_logits[1].weight.dtype == torch.float32


@pytest.mark.parametrize("source", ["coco"], indirect=True)
def test_progress_runs_to_the_whole(source, tmp_path):
    reports = []
    convert(source, tmp_path / "out", on_progress=lambda done, total: reports.append((done, total)))
    assert reports == sorted(reports) and reports[-1][0] == reports[-1][1]


@pytest.mark.parametrize("source", ["coco"], indirect=True)
def test_nothing_is_left_behind_by_a_failure_and_nothing_is_overwritten(source, tmp_path, monkeypatch):
    def full(done, total):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        convert(source, tmp_path / "out", on_progress=full)
    with pytest.raises(CheckpointError, match="source exists already"):
        convert(source, source)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1})())
    with pytest.raises(CheckpointError, match=r"out would take 0.01 GB; .* has 0.00 GB left"):
        convert(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.fixture
def anyone():
    """A folder where whoever runs this is someone without a say: root may write everywhere."""
    place, me = Path(tempfile.mkdtemp()), os.geteuid()
    place.chmod(0o755)
    try:
        yield place
    finally:
        os.seteuid(me)
        shutil.rmtree(place)


def test_a_read_only_place_is_an_error(anyone):
    (anyone / "source").mkdir()
    source = tiny_originals.coco_folder(anyone / "source")
    (anyone / "locked").mkdir(mode=0o500)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    with pytest.raises(PermissionError):
        convert(source, anyone / "locked" / "out")


# A codec alone, and files with more in them than tensors


class Own(dict):
    """Of a library that nobody here has."""


def with_own_class(path):
    torch.save(torch.load(path) | {"config": Own(name="x")}, path)


@pytest.mark.parametrize("source", ["coco"], indirect=True)
def test_what_loading_refuses_is_converted_without_it_and_named(source, tmp_path, capsys):
    plain = load(shutil.copytree(source, tmp_path / "plain"))
    for name in ("coco.pth", "vqgan.pth"):
        with_own_class(source / name)
    with pytest.raises(CheckpointError, match=r"coco.pth holds .* \(.*test_convert.Own\). `vqdiffusion convert SOURCE"):
        load(source)
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    assert re.search(r"(?m)^left behind, and not run: \S*test_convert.Own\n$", capsys.readouterr().err)
    again = load(tmp_path / "out")
    assert torch.equal(plain.transformer.to_logits[1].weight, again.transformer.to_logits[1].weight)
    assert torch.equal(plain.vqgan.quantize.embedding.weight, again.vqgan.quantize.embedding.weight)


@pytest.mark.parametrize("source", ["coco"], indirect=True)
@pytest.mark.parametrize("name", ["vqgan.pth", "its folder"])
def test_a_codec_alone_is_converted_to_one_that_can_be_trained_on(source, name, tmp_path):
    with_own_class(source / "vqgan.pth")
    place = tmp_path / "codec"
    place.mkdir()
    (source / "vqgan.pth").rename(place / "vqgan.pth")
    convert(place if name == "its folder" else place / name, tmp_path / "out")
    convert(tmp_path / "out", tmp_path / "again")
    assert digests(tmp_path / "out") == digests(tmp_path / "again")
    codec = load_codec(tmp_path / "out")
    assert codec.spec == tiny_originals.GUMBEL_F8
    expected = tiny_originals.vqgan_state(tiny_originals.GUMBEL_F8)["quantize.embed.weight"]
    assert torch.equal(codec.quantize.embedding.weight, expected)


@pytest.mark.parametrize("source", ["diffusers"], indirect=True)
def test_a_model_with_a_broken_part_is_not_converted_to_its_codec(source, tmp_path):
    (source / "transformer" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"transformer/config.json is missing"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


MEMORY = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.bench.releases import MemoryWatch
from pathlib import Path
from pack.vqdiffusion_core.checkpoints.convert import convert
convert(Path(sys.argv[2]), Path(sys.argv[4]) / "libraries")
with MemoryWatch() as memory:
    convert(Path(sys.argv[3]), Path(sys.argv[4]) / "out")
print(memory.peak)
"""


@pytest.mark.parametrize("source", ["coco"], indirect=True)
def test_a_conversion_takes_the_memory_of_a_few_tensors_not_of_the_checkpoint(source, tmp_path):
    """Its largest tensors have a megabyte, the checkpoint with averages and optimizer 113."""
    large = shutil.copytree(source, tmp_path / "large")
    spec = replace(tiny_originals.TEXT, layers=6, width=256)
    torch.save(tiny_originals.training_checkpoint(spec), large / "coco.pth")
    assert (large / "coco.pth").stat().st_size > 100e6
    arguments = [sys.executable, "-c", MEMORY, *map(str, (Path(__file__).parents[3], source, large, tmp_path))]
    ran = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    assert int(ran.stdout) < 15e6


STOPPED = """
import sys, types
from pathlib import Path
pack = types.ModuleType("pack"); pack.__path__ = [sys.argv[1]]; sys.modules["pack"] = pack
from pack.vqdiffusion_core.checkpoints.convert import convert
def stop(done, total):
    print(done, flush=True)
    sys.stdin.read()
convert(Path(sys.argv[2]), Path(sys.argv[3]), on_progress=stop)
"""


@pytest.mark.parametrize("source", ["coco"], indirect=True)
def test_after_a_kill_there_is_no_half_model_and_the_next_run_cleans_up(source, tmp_path):
    arguments = [sys.executable, "-c", STOPPED, str(Path(__file__).parents[3]), str(source), str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # it is writing
        process.kill()
    assert not (tmp_path / "out").exists()
    convert(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_a_folder_is_put_back_if_a_run_was_killed_while_it_was_replaced(tmp_path):
    """The moment between two renamings: the old content is aside, the new one not yet in place."""
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "weights").write_text("old")

    def fail(folder):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        replace_folder(tmp_path / "model", fail)
    assert (tmp_path / "model" / "weights").read_text() == "old"
    replace_folder(tmp_path / "model", lambda folder: (folder / "weights").write_text("new"))
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("source", ["ithq"], indirect=True)
def test_the_model_stays_usable_while_its_files_are_replaced(source, tmp_path):
    convert(source, tmp_path / "out")
    model = load(tmp_path / "out")
    weight = model.transformer.get_parameter("to_logits.1.weight").clone()
    shutil.rmtree(tmp_path / "out")
    convert(source, tmp_path / "out", torch.float16)
    assert torch.equal(model.transformer.to_logits[1].weight, weight)
