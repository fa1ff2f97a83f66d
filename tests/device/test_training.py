"""What a training step costs a device, but for its backward pass: PyTorch's engine asks the driver of a device for its
context before it takes anything back, in C++, where nothing that is not there can answer.

On a GPU a small model's step is launches and waits. What needs more of them changes a number here, and says why.
"""

import sys
from dataclasses import replace

import pytest
import torch
from pack.tests.core import tiny_training as tiny
from pack.vqdiffusion_core.distributed import Processes
from pack.vqdiffusion_core.training.diffusion import DiffusionTraining

from .fake import CUDA, FakeDevice, OnDevice
from .test_budgets import SMALL

# Launches and uploads of the forward pass of a step with its loss, of two layers and one of the text encoder
COST = {"absorbing": (119, 10), "mask-and-replace": (199, 27)}
# Launches of an update, by optimizers and averages, of the pocket model's layers; by PyTorch's own Muon 1,950
UPDATE = 218


def training_on(device, kernel, **settings) -> DiffusionTraining:
    return tiny.on_tokens(SMALL, kernel=kernel, processes=Processes(device=device), **settings)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    with FakeDevice(float64=False) as gpu:
        yield gpu


@pytest.mark.parametrize("kernel", COST)
def test_the_losses_are_those_of_the_cpu_and_nothing_is_waited_for(kernel, gpu):
    losses = []
    for device in (torch.device("cpu"), CUDA):
        training = training_on(device, kernel, mixed=False)
        (batch,) = training.batches(range(1))
        gpu.count_anew()
        losses.append([loss_B.detach() for loss_B in training.losses(batch)])
    assert gpu.waits.total() == 0, gpu.waits
    assert (gpu.launches, gpu.uploads.total()) == COST[kernel], (gpu.operators, gpu.uploads)
    for ours, expected in zip(losses[1], losses[0], strict=True):
        torch.testing.assert_close(ours.cpu(), expected)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9 has no Muon")
def test_an_update_launches_so_many_kernels_whatever_the_number_of_layers(gpu, monkeypatch):
    # As of a device's own tensors, whose type PyTorch asks for before it takes many at once
    monkeypatch.setattr("torch.nn.utils.clip_grad._has_foreach_support", lambda *_: True)
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], "_foreach_supported_types", [OnDevice])
    for layers in (2, 6):
        training = tiny.on_tokens(replace(SMALL, layers=layers), processes=Processes(device=CUDA))
        for step in range(2):  # the first makes the optimizers' states
            for weight in training.weights:
                weight.grad = torch.zeros_like(weight)
            gpu.count_anew()
            training.update(step, 0.5)
        assert gpu.launches == UPDATE, gpu.operators


@pytest.mark.parametrize("settings", [{}, {"token_shares": [0.5]}, {"accumulate": 2}], ids=str)
def test_a_step_waits_for_its_gradients_norm_and_for_its_losses(settings, gpu, monkeypatch):
    training = training_on(CUDA, "absorbing", batch=4, **settings)

    def backward(loss):
        for weight in training.weights:
            weight.grad = torch.zeros_like(weight)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    for step, batch in enumerate(training.batches(range(2))):
        gpu.count_anew()
        training.step(step, 0.5, batch)
    assert gpu.waits.total() == 2, gpu.waits
