"""That the tests beside this one can fail: mistakes that a CPU forgives, each of them found on the device."""

import pytest
import torch
from pack.vqdiffusion_core.diffusion import denoiser, predictor, sampling
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.networks.inference import FastTransformer

from .fake import FakeDevice
from .test_budgets import LAUNCHES, SHAPES, UPLOADS, steps_on


def draw_within_budget():
    with FakeDevice(float64=False) as gpu:
        for _ in steps_on(gpu, SHAPES["tiny"], Settings(steps=2, sampler="confidence")):
            assert gpu.waits.total() <= 1, "waits"
            assert gpu.uploads.total() <= UPLOADS, "uploads"
        assert gpu.launches <= LAUNCHES["tiny"], "launches"  # of the last step: the first one reads the text too


def test_without_a_fault_nothing_is_found():
    draw_within_budget()


# Done to log p by a logits processor, and what is found
MISTAKES = {
    "float64": (lambda log_p: log_p.double(), "float64"),
    "float64 on the device": (lambda log_p: torch.ones(3, dtype=torch.float64, device=log_p.device), "float64"),
    "a sum in float64": (lambda log_p: log_p.cumsum(-1, dtype=torch.float64), "float64"),
    "a tensor of the CPU": (lambda log_p: log_p + torch.zeros(log_p.shape[-1]), "same device"),
    "one among several": (lambda log_p: torch.cat([log_p, torch.zeros(1, log_p.shape[-1])]), "same device"),
    "a mask of the CPU": (lambda log_p: log_p.masked_fill(torch.zeros(log_p.shape[-1]) > 0, 0.0), "same device"),
    "a table of the CPU": (lambda log_p: torch.zeros(99)[log_p.argmax(-1)], "same device"),
    "numpy": (lambda log_p: log_p.numpy(), "numpy"),
    "item": (lambda log_p: log_p.max().item(), "waits"),
    "if": (lambda log_p: bool((log_p > 0).any()), "waits"),
    "tolist": (lambda log_p: log_p[0].tolist(), "tolist"),
    "nonzero": (lambda log_p: (log_p > 0).nonzero(), "waits"),
    "indexed by a mask": (lambda log_p: log_p[log_p > -1], "waits"),
    "equal": (lambda log_p: torch.equal(log_p, log_p), "waits"),
    "cpu": (lambda log_p: log_p.cpu(), "waits"),
    "to": (lambda log_p: log_p.to("cpu", torch.float64), "waits"),
    "a number sent": (lambda log_p: torch.tensor([1.0, 2.0], device=log_p.device), "uploads"),
    "a tensor sent": (lambda log_p: torch.ones(3).to(log_p.device), "uploads"),
    "an index sent": (lambda log_p: log_p[torch.zeros(1, dtype=torch.long)], "uploads"),
    "a kernel more": (lambda log_p: log_p + 1, "launches"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_what_is_done_to_log_p_is_found(mistake, monkeypatch):
    do, found = MISTAKES[mistake]
    processors = Settings.logits_processors
    monkeypatch.setattr(
        Settings, "logits_processors", lambda self: [*processors(self), lambda log_p: (do(log_p), log_p)[1]]
    )
    with pytest.raises((RuntimeError, TypeError, AssertionError), match=found):
        draw_within_budget()


# What is left out in the code itself
OMISSIONS = {
    "the denoiser takes the CPU for its device": (
        (sampling, "Denoiser", lambda *given: denoiser.Denoiser(*given[:-1])),
        "same device",
    ),
    "what is drawn stays on the device": (
        (predictor, "draw", lambda log_p_MK, purity_M, uniform_M: torch.stack([purity_M, purity_M, purity_M], -1)),
        "same device",
    ),
    "the text stays on the CPU": (
        (FastTransformer, "precompute", lambda self, text: self.precompute_kv(text.cpu())),
        "same device",
    ),
}


@pytest.mark.parametrize("omission", OMISSIONS)
def test_a_tensor_in_the_wrong_place_is_found(omission, monkeypatch):
    patch, found = OMISSIONS[omission]
    monkeypatch.setattr(*patch)
    with pytest.raises((RuntimeError, TypeError, AssertionError), match=found):
        draw_within_budget()
