"""Downloading, against a server on this machine that speaks the hub's language and can break off half-way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import constants
from pack.tests.core.forked import Ended, command
from pack.vqdiffusion_core.checkpoints import CheckpointError, load
from pack.vqdiffusion_core.checkpoints.download import choose, download, plan, summary
from safetensors.torch import load_file

from .. import tiny_checkpoints
from ..local_hub import BIG, Hub, ask_there, serving


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = tiny_checkpoints.diffusers_folder(tmp_path / "repository")
    (folder / "model_index.json").write_text('{"_class_name": "VQDiffusionPipeline"}')
    (folder / "README.md").write_text("Not needed to draw.")
    (folder / "transformer" / "diffusion_pytorch_model.bin").write_text("The same weights once more.")
    with serving(folder) as hub:
        ask_there(hub.url, monkeypatch)
        yield hub


def half(hub: Hub) -> int:
    """How much of BIG arrives before the line breaks, in whole chunks."""
    return len(hub.files[BIG]) // 2 // 1000 * 1000


def test_the_plan_says_what_it_takes_before_anything_is_fetched(hub):
    files = plan()
    assert {file.path for file in files.files} == hub.files.keys() - {
        "README.md",
        "transformer/diffusion_pytorch_model.bin",
    }
    assert files.size == sum(len(hub.files[file.path]) for file in files.files)
    assert hub.requests == []


def test_a_download_gives_the_model_and_leaves_nothing_else(hub, tmp_path):
    reports = []
    files = plan()
    target = download(files, tmp_path / "models", lambda done, total: reports.append((done, total)))
    assert load(target).transformer.spec.codebook_size == tiny_checkpoints.K
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["vq-diffusion-ithq"]
    assert {path.name for path in target.rglob("*.part")} == set()
    assert reports == sorted(reports) and reports[-1] == (files.size, files.size)


def test_a_connection_that_breaks_half_way_is_taken_up_again(hub, tmp_path):
    hub.breaks = 1
    target = download(plan(), tmp_path / "models")
    assert (target / BIG).read_bytes() == hub.files[BIG]
    assert [asked for name, asked in hub.requests if name == BIG] == [None, f"bytes={half(hub)}-"]


def test_a_download_that_failed_goes_on_later_from_where_it_was(hub, tmp_path):
    files = plan()
    hub.breaks, hub.dies = 1, True
    with pytest.raises(CheckpointError, match=r"transformer/.* could not be fetched whole at .*503.*What has arrived"):
        download(files, tmp_path / "models")
    assert not (tmp_path / "models" / "vq-diffusion-ithq").exists()
    hub.down = False
    assert "of which 0.00 GB have arrived" in summary(files, tmp_path / "models")
    before = len(hub.requests)
    target = download(files, tmp_path / "models")
    assert (target / BIG).read_bytes() == hub.files[BIG]
    again = hub.requests[before:]
    assert (BIG, f"bytes={half(hub)}-") in again
    assert not {name for name, _ in again} & {"vqvae/config.json", "model_index.json"}


def test_a_download_can_be_stopped_from_outside(hub, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        raise Stop

    with pytest.raises(Stop):
        download(plan(), tmp_path / "models", stop)


def test_a_file_that_is_not_what_was_promised_is_thrown_away(hub, tmp_path):
    hub.claimed[BIG] = "0" * 64
    with pytest.raises(CheckpointError, match=r"transformer/.* arrived damaged and was deleted"):
        download(plan(), tmp_path / "models")
    assert list((tmp_path / "models").rglob("transformer/*.part")) == []


def test_nothing_is_downloaded_over_a_model_or_onto_a_full_disk(hub, tmp_path, monkeypatch):
    (tmp_path / "vq-diffusion-ithq").mkdir()
    with pytest.raises(CheckpointError, match="exists already"):
        download(plan(), tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1})())
    with pytest.raises(CheckpointError, match=r"needs 0.00 GB more"):
        download(plan(), tmp_path / "models")
    assert hub.requests == []


def test_being_offline_or_asking_for_another_repository_is_said_at_once(hub, monkeypatch):
    with pytest.raises(CheckpointError, match=r"nobody/nothing could not be looked up at http://127.0.0.1.*404"):
        plan("nobody/nothing")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"Is this machine online\?.*HTTPS_PROXY.*copy the model's folder"):
        plan()


def test_names_that_lead_out_of_the_folder_are_not_fetched():
    paths = ["model_index.json", "vqvae/../../evil.json", "vqvae//etc/passwd.json", "/vqvae/x.json", "vqvae/a\\b.json"]
    assert choose(paths) == ["model_index.json"]


PUBLISHED = ["config.json", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors"]
SHARDED = [
    "config.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model-00001-of-00002.safetensors",
    "diffusion_pytorch_model-00002-of-00002.safetensors",
    "diffusion_pytorch_model-00001-of-00001.fp16.safetensors",
    "notes-00001-of-00002.safetensors",
]
ONLY_HALF = ["config.json", "diffusion_pytorch_model.fp16.bin", "diffusion_pytorch_model.bf16.safetensors"]
HALF_SHARDS = [
    "config.json",
    "model.safetensors.index.fp16.json",
    "model.fp16-00001-of-00002.safetensors",
    "model.fp16-00002-of-00002.safetensors",
]


@pytest.mark.parametrize(
    ("published", "fetched"),
    [
        (PUBLISHED, PUBLISHED[:2]),
        (SHARDED, SHARDED[0:1] + SHARDED[2:5]),
        (ONLY_HALF, ONLY_HALF[:2]),
        (HALF_SHARDS,) * 2,
    ],
    ids=["the hub's vqvae", "shards", "half alone", "shards of half"],
)
def test_full_precision_is_fetched_where_there_is_one_and_nothing_twice(published, fetched):
    chosen = choose(["model_index.json", *(f"vqvae/{name}" for name in published)])
    assert set(chosen) == {"model_index.json", *(f"vqvae/{name}" for name in fetched)}


def test_a_model_in_shards_is_downloaded_whole(hub, tmp_path):
    folder = tmp_path / "repository" / "transformer"
    data = hub.files.pop(BIG)
    names = list(load_file(folder / Path(BIG).name))
    shard = "diffusion_pytorch_model-00001-of-00001.safetensors"
    index = json.dumps({"weight_map": dict.fromkeys(names, shard)}).encode()
    hub.files |= {f"transformer/{shard}": data, f"{BIG}.index.json": index}
    del hub.files["transformer/diffusion_pytorch_model.bin"]
    load(download(plan(), tmp_path / "models"))


def ask(hub: Hub, *arguments: str | Path, **environment: str) -> Ended:
    """`vqdiffusion download`, with "n" for an answer."""
    return command("download", *arguments, answer="n\n", HF_ENDPOINT=hub.url, **environment)


def test_the_command_shows_the_size_and_waits_for_a_yes(hub, tmp_path):
    refused = ask(hub, str(tmp_path / "models"))
    assert f"{plan().size / 1e9:.2f} GB" in refused.stdout and refused.returncode == 1
    assert hub.requests == [] and not (tmp_path / "models").exists()
    agreed = ask(hub, str(tmp_path / "models"), "--yes")
    assert agreed.returncode == 0, agreed.stderr
    assert load(tmp_path / "models" / "vq-diffusion-ithq").name == "vq-diffusion-ithq"


def test_the_command_says_in_one_line_that_it_is_offline(hub, tmp_path):
    offline = ask(hub, str(tmp_path), "--yes", HF_HUB_OFFLINE="1")
    assert offline.returncode == 1 and "set to be offline (HF_HUB_OFFLINE)" in offline.stderr
    assert offline.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("proxy", "reason"), [("socks5://127.0.0.1:9", "SOCKS"), ("socks://127.0.0.1:9", "scheme|SOCKS")]
)
def test_the_command_says_in_one_line_that_the_proxy_needs_more(hub, tmp_path, proxy, reason):
    """SOCKS needs a package that nobody has; `socks://` is what some desktops set for all programs."""
    refused = ask(hub, str(tmp_path), "--yes", ALL_PROXY=proxy)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert re.search(reason, refused.stderr) and "give a proxy of http://" in refused.stderr
