"""Full disks, places that may not be written to, and kill -9: what was there stays whole, what is asked for again goes
on, and a command says in one line what stopped it.
"""

import os
import tempfile
import time
from pathlib import Path

import pytest
import torch
from pack.tests.core import tiny_checkpoints, tiny_originals
from pack.tests.core.forked import COMMAND, Program, command
from pack.tests.core.local_hub import ask_there, serving
from pack.vqdiffusion_core.checkpoints import load
from pack.vqdiffusion_core.checkpoints.download import download, plan
from PIL import Image

NOBODY = 65534


IMPORTED = """
import io, os, resource, torch
from pack.vqdiffusion_core import cli
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
load(POCKET_FOLDER)  # what loading imports
file = io.BytesIO()
torch.save({}, file)
torch.load(io.BytesIO(file.getvalue()), weights_only=True)  # and what reading a pickle does
user, limit, *arguments = arguments
if limit != "None":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
if user != "None":
    os.setuid(int(user))
code = cli.main(arguments)
sys.stderr.flush()
os._exit(code)  # PyTorch 2.6 leaves a folder that it could not remove now, and says so at its end
"""


def imported_command(*arguments, user=None, limit=None):
    """The vqdiffusion command by a user of this number or with a limit as `command` has it, either from the moment on
    that everything is imported: the interpreter may lie in a place of root alone, and PyTorch 2.6 writes when it is
    imported.
    """
    return Program(IMPORTED, user, limit, *arguments).ended()


def said(ran):
    """The one line of a command that failed."""
    assert ran.returncode == 1, ran.stderr
    progress, found, line = ran.stderr.strip().rpartition("vqdiffusion: ")
    assert found and "\n" not in line and "Traceback" not in progress
    return line


def test_a_full_disk_leaves_no_half_model(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    tiny_originals.ithq_folder(source)
    assert "File too large" in said(command("convert", source, tmp_path / "out", limit=20_000))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert command("convert", source, tmp_path / "out").returncode == 0
    load(tmp_path / "out")


def test_a_full_disk_leaves_the_image_that_was_there(tmp_path):
    image = tmp_path / "fox.png"
    Image.new("RGB", (8, 8), "red").save(image)
    before = image.read_bytes()
    draw = ("generate", "a fox", "--steps", "1", "-o", image)
    assert "File too large" in said(imported_command(*draw, limit=1000))
    assert image.read_bytes() == before
    assert command(*draw).returncode == 0
    assert Image.open(image).size == (192, 192)


TRAIN = """
from pathlib import Path
from pack.tests.core import tiny_training
from pack.vqdiffusion_core.training.loop import run
folder = Path(arguments[0])
training = tiny_training.codec(folder)
run(training, folder, steps=30, save_every=1, log_every=1, report=lambda line: print(line, flush=True))
"""


def training(folder, limit=None):
    return Program(TRAIN, folder, limit=limit)


def test_training_that_is_killed_at_any_moment_goes_on_to_the_same_weights(tmp_path):
    """Every step writes a checkpoint, and the kill comes while one is written."""
    folder = tmp_path / "killed"
    for lines in (3, 5):
        process = training(folder)
        for _ in range(lines):
            process.stdout.readline()
        while not (folder / ".checkpoint.pt.part").exists() and process.process.is_alive():
            pass
        process.kill()
        torch.load(folder / "checkpoint.pt", weights_only=True)
    for place in (folder, tmp_path / "whole"):
        assert training(place).ended().stderr == ""
    ours, theirs = (flat(torch.load(place / "checkpoint.pt")) for place in (folder, tmp_path / "whole"))
    assert len(ours) == len(theirs) > 10 and all(map(torch.equal, ours, theirs))


def flat(state):
    """All tensors of a nested state."""
    if torch.is_tensor(state):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for value in values for tensor in flat(value)]


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    process = training(tmp_path)
    for _ in range(3):
        process.stdout.readline()
    process.kill()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    ended = training(tmp_path, limit=len(before) // 2).ended()
    assert ended.returncode == 1 and "File too large" in ended.stderr.strip().split("\n")[-1]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_download_that_is_killed_goes_on_and_gives_the_same_files(tmp_path, monkeypatch):
    repository = tiny_checkpoints.diffusers_folder(tmp_path / "repository")
    (repository / "model_index.json").write_text('{"_class_name": "VQDiffusionPipeline"}')
    models = tmp_path / "models"
    with serving(repository) as hub:
        ask_there(hub.url, monkeypatch)
        download_it = Program(COMMAND, "download", "--yes", models, HF_ENDPOINT=hub.url)
        while not list(models.rglob("*.part")) and download_it.process.is_alive():
            time.sleep(0.001)
        download_it.kill()
        target = models / "vq-diffusion-ithq"
        if not target.exists():  # else it was quicker than the kill
            download(plan(), models)
        assert all((target / file.path).read_bytes() == hub.files[file.path] for file in plan().files)
    assert [path.name for path in models.iterdir()] == ["vq-diffusion-ithq"]


@pytest.fixture
def open_folder():
    """A folder that every user may look into, as pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("kind", ["convert", "generate"])
def test_a_place_that_may_not_be_written_to_is_named_and_left_alone(kind, open_folder):
    source = open_folder / "source"
    source.mkdir()
    tiny_originals.ithq_folder(source)
    locked = open_folder / "locked"
    locked.mkdir(mode=0o555)
    generate = ["generate", "red", "--steps", "1", "--model", str(source), "-o", str(locked / "picture.png")]
    arguments = ["convert", str(source), str(locked / "out")] if kind == "convert" else generate
    ran = imported_command(*arguments, user=NOBODY if os.getuid() == 0 else None)
    assert "Permission denied" in said(ran) and "locked" in said(ran)
    assert list(locked.iterdir()) == []
