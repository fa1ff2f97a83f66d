"""Muon's steps are PyTorch's, and go on from PyTorch's, with matrices of one shape taken together."""

from copy import deepcopy

import pytest
import torch
from pack.vqdiffusion_core.training.muon import Muon, orthogonal

SHAPES = [(24, 24), (48, 24), (24, 24), (24, 96), (24, 24), (24, 96)]


def take_steps(optimizer, matrices, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        optimizer.step()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9 has no Muon")
def test_a_run_of_pytorchs_goes_on_to_the_same_weights():
    ones = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = torch.optim.Muon(ones, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    take_steps(theirs, ones, range(2))
    others = deepcopy(ones)
    ours = Muon(others, weight_decay=0.01)
    ours.load_state_dict(deepcopy(theirs.state_dict()))
    for optimizer, matrices in ((theirs, ones), (ours, others)):
        take_steps(optimizer, matrices, range(2, 5))
    torch.testing.assert_close(others, ones, atol=1e-6, rtol=1e-6)


def test_what_has_no_gradient_stays():
    matrices = [torch.nn.Parameter(torch.ones(4, 4)) for _ in range(2)]
    matrices[0].grad = torch.eye(4)
    Muon(matrices, weight_decay=0.01).step()
    assert not torch.equal(matrices[0], torch.ones(4, 4)) and torch.equal(matrices[1], torch.ones(4, 4))


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 16, 4), (3, 4, 16)])
def test_singular_values_come_near_one(shape):
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))).float())
    assert 0.5 < values.min() and values.max() < 1.3
