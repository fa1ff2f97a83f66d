"""The pack shares its process with ComfyUI and with every other pack: it leaves all that is common as it was."""

import logging
import random
import subprocess
import sys
import warnings
from pathlib import Path

import comfy.utils
import numpy as np
import pytest
import torch
from pack.nodes.loaders import LOADED, VQDiffusionLoader
from pack.nodes.prompt import VQDiffusionTextEncode
from pack.nodes.sampling import VQDiffusionSampler
from pack.nodes.tokens import VQDiffusionEmptyTokens
from pack.tests.host.fetch import CHECKOUT, comfyui
from pack.tests.nodes.global_state import difference, snapshot

SCRIPT = Path(__file__).with_name("global_state.py")


def test_neither_the_import_nor_a_run_changes_anything_that_others_share():
    command = [sys.executable, str(SCRIPT), str(comfyui()), str(CHECKOUT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


DEFAULTS = {
    "device": lambda: torch.set_default_device("meta"),  # stands for a GPU: nothing can be calculated with its tensors
    "half": lambda: torch.set_default_dtype(torch.float16),
    "brain": lambda: torch.set_default_dtype(torch.bfloat16),
    "double": lambda: torch.set_default_dtype(torch.float64),
}


@pytest.mark.parametrize("change", DEFAULTS.values(), ids=DEFAULTS)
def test_the_image_is_the_same_when_another_pack_has_changed_what_new_tensors_are(change):
    def drawn():
        LOADED.clear()
        model, clip, vae = VQDiffusionLoader.execute("pocket (built in)", "float32").args
        (prompt,) = VQDiffusionTextEncode.execute(clip, "a (red:1.2) fox").args
        (canvas,) = VQDiffusionEmptyTokens.execute(model, 2).args
        (latent,) = VQDiffusionSampler.execute(model, prompt, canvas, 0, 2, 3.0, 0.9, "ancestral", 1.0).args
        image = vae.decode(latent["samples"])
        return image, vae.encode(image), vae.decode_tiled(latent["samples"]), vae.encode_tiled(image)

    expected = drawn()
    try:
        change()
        defaults = torch.get_default_dtype(), torch.get_default_device()
        values = drawn()
        assert (torch.get_default_dtype(), torch.get_default_device()) == defaults  # as the neighbour wants them
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert all(torch.equal(value, wanted) for value, wanted in zip(values, expected, strict=True))


# What a bad neighbour does; each must be noticed.
OFFENCES = {
    "random numbers of torch": lambda patch: torch.manual_seed(1),
    "random numbers of numpy": lambda patch: np.random.seed(1),
    "random numbers of Python": lambda patch: random.seed(1),
    "default number type": lambda patch: torch.set_default_dtype(torch.float64),
    "matrix products": lambda patch: torch.set_float32_matmul_precision("medium"),
    "warning filters": lambda patch: warnings.simplefilter("ignore"),
    "logger root": lambda patch: patch.setattr(logging.getLogger(), "level", 5),
    "environment NEIGHBOUR": lambda patch: patch.setenv("NEIGHBOUR", "1"),
    "working folder": lambda patch: patch.chdir("/"),
    "comfy.utils.load_torch_file": lambda patch: patch.setattr(comfy.utils, "load_torch_file", lambda *_: None),
    "torch.nn.modules.linear.Linear.forward": lambda patch: patch.setattr(torch.nn.Linear, "forward", lambda *_: None),
}


@pytest.mark.parametrize(("name", "offend"), OFFENCES.items(), ids=OFFENCES)
def test_each_change_would_be_noticed(name, offend, monkeypatch):
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(), warnings.catch_warnings():
        before = snapshot()
        try:
            offend(monkeypatch)
            changes = difference(before, snapshot())
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_float32_matmul_precision("highest")
            np.random.set_state(numpy_state)
            random.setstate(python_state)
    assert any(change.startswith(name) for change in changes)
