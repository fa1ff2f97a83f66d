"""Two processes that share each batch take the steps of one."""

import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from pack.tests.core import tiny_training
from pack.tests.core.two_processes import shard, train
from pack.vqdiffusion_core.distributed import ALONE, PATIENCE, Processes
from pack.vqdiffusion_core.training.loop import run

LEARNED = [("codec", 1), ("codec", 2), ("decoder", 1), ("diffusion", 1), ("diffusion", 2)]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    alone = train(folder, ALONE)  # first: it learns the vocabulary and encodes the images that both use
    script = Path(__file__).parents[1] / "two_processes.py"
    result = subprocess.run([*TORCHRUN, str(script), str(folder)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return alone, torch.load(folder / "seen.pt", weights_only=False)


@pytest.mark.parametrize(("part", "accumulate"), LEARNED)
def test_two_processes_have_the_gradients_of_one_with_the_batch_of_both(runs, part, accumulate):
    """Each with its half at once or in two parts."""
    alone, together = (run[f"{part} gradients"] for run in (runs[0], runs[1][accumulate]))
    assert alone.norm() > 1e-3
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5 * alone.norm().item())


@pytest.mark.parametrize(("part", "accumulate"), LEARNED)
def test_two_processes_learn_as_one(runs, part, accumulate):
    alone, together = (run[f"{part} losses"] for run in (runs[0], runs[1][accumulate]))
    torch.testing.assert_close(together, alone, rtol=2e-3, atol=0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_keep_one_codebook_and_one_table_of_times_and_of_costs(runs, accumulate):
    alone, together = runs[0], runs[1][accumulate]
    torch.testing.assert_close(together["codebook"], alone["codebook"], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(together["times"], alone["times"], rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(together["costs"], alone["costs"], rtol=1e-2, atol=0)


def test_two_processes_share_the_encoding_and_train_with_one_image_each(runs, tmp_path):
    _, together = runs
    ours, theirs = shard(tmp_path, ALONE), together["shared"]
    assert theirs["opened"] == [["red"], ["green"]] and ours["opened"] == ["red", "green"]
    assert torch.equal(theirs["tokens"], ours["tokens"])
    torch.testing.assert_close(theirs["losses"], ours["losses"], rtol=2e-2, atol=0)  # bfloat16 inside


def test_two_processes_begin_with_one_text_encoder(runs):
    ours, theirs = runs[1]["matched"]
    assert all(map(torch.equal, ours, theirs))


TRAIN = """
import os, runpy, sys
runpy.run_path(sys.argv[1])
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.training.data import Folder
if sys.argv[2] == os.environ["RANK"]:
    def gone(self, path):
        raise ValueError(f"{path} is gone")
    Folder.open = gone
sys.exit(main(["train", "diffusion", *sys.argv[3:], "--layers", "1", "--width", "16", "--heads", "2", "--batch", "2"]))
"""


@pytest.fixture
def place(tmp_path):
    """Two images and the run of a codec."""
    (tmp_path / "data").mkdir()
    for name in ("red", "green"):
        tiny_training.paint(tiny_training.COLOURS[name], 8).save(tmp_path / "data" / f"{name}.png")
        (tmp_path / "data" / f"{name}.txt").write_text(f"a {name} one")
    run(tiny_training.codec(tmp_path), tmp_path / "codec", 1)
    return tmp_path


def begin(place, failing, *options):
    """`vqdiffusion train diffusion` in two processes, of which one may fail."""
    (place / "train.py").write_text(TRAIN)
    folders = [str(place / "run"), "--codec", str(place / "codec"), "--data", str(place / "data"), "--size", "16"]
    conftest = str(Path(__file__).parents[2] / "conftest.py")
    command = [*TORCHRUN, str(place / "train.py"), conftest, failing, *folders, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said_by_us(errors):
    """The lines of our processes; torchrun itself has more to say."""
    assert "KeyboardInterrupt" not in errors and "gloo" not in errors
    return [line for line in errors.splitlines() if line.startswith("vqdiffusion:")]


def test_ctrl_c_ends_all_processes_at_one_step_with_one_checkpoint(place):
    process = begin(place, "none", "--steps", "1000000", "--save-every", "1")
    while process.poll() is None and not (place / "run" / "checkpoint.pt").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    (line,) = said_by_us(errors)
    step = torch.load(place / "run" / "checkpoint.pt")["step"]
    assert f"stopped at step {step} of 1000000" in line


def test_one_process_that_fails_ends_all_with_one_line(place):
    _, errors = begin(place, "1").communicate()
    (line,) = said_by_us(errors)
    assert "red.png is gone" in line or "green.png is gone" in line
    assert not [*place.rglob("examples.pt")]


def test_the_processes_look_at_their_shards_of_the_images_and_one_names_all_that_are_bad(place):
    for name in ("red", "green"):
        (place / "data" / f"{name}.png").write_bytes(b"no image")
    _, errors = begin(place, "none").communicate()
    (line,) = said_by_us(errors)
    assert "for 2 reasons" in line and "red.png cannot" in line and "green.png cannot" in line


def test_the_processes_wait_for_each_other_with_more_than_pytorchs_patience(runs):
    assert runs[1]["patience"] == PATIENCE > timedelta(days=7)


def test_the_shares_of_a_batch_are_the_batch():
    rows = torch.arange(6)
    assert sorted(torch.cat([Processes(rank, 3).shard(rows) for rank in range(3)]).tolist()) == rows.tolist()


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch of 5 does not divide among 2"):
        Processes(0, 2).shard(torch.arange(5))
