"""Two processes that share each batch take the steps of one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pack.tests.core.two_workers import train
from pack.vqdiffusion_core.training.workers import ALONE, Workers


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    alone = train(folder, ALONE)  # first: it learns the vocabulary and encodes the pictures that both use
    script = Path(__file__).with_name("two_workers.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run([*torchrun, str(script), str(folder)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return alone, torch.load(folder / "seen.pt")


@pytest.mark.parametrize("part", ["codec", "diffusion"])
def test_two_processes_have_the_gradients_of_one_with_the_batch_of_both(runs, part):
    alone, together = (run[f"{part} gradients"] for run in runs)
    assert alone.norm() > 1e-3
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5 * alone.norm().item())


@pytest.mark.parametrize("part", ["codec", "diffusion"])
def test_two_processes_learn_as_one(runs, part):
    alone, together = (run[f"{part} losses"] for run in runs)
    torch.testing.assert_close(together, alone, rtol=2e-3, atol=0)


def test_two_processes_keep_one_codebook_and_one_table_of_times(runs):
    alone, together = runs
    torch.testing.assert_close(together["codebook"], alone["codebook"], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(together["times"], alone["times"], rtol=1e-2, atol=1e-6)


def test_the_shares_of_a_batch_are_the_batch():
    rows = torch.arange(6)
    assert sorted(torch.cat([Workers(rank, 3).share(rows) for rank in range(3)]).tolist()) == rows.tolist()


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch of 5 does not divide among 2"):
        Workers(0, 2).share(torch.arange(5))
