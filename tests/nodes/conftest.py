"""The nodes with ComfyUI's real modules, in this process and without a server, on a model of a few thousand weights."""

import sys

import pytest
import torch
from pack.tests.core.tiny_checkpoints import diffusers_folder
from pack.tests.host.fetch import comfyui

sys.path.append(str(comfyui()))
import utils.extra_config  # noqa: F401 - first, as in main.py: nodes.py puts a folder with another utils first
from comfy.cli_args import args

args.cpu = True  # before anything asks which device there is


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A model with K = 11 codes on a 4 x 4 grid of 4 x 4 pixels, which reads 7 text vectors of 24 numbers."""
    return diffusers_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def model(folder):
    from pack.nodes.loaders import open_model

    return open_model(folder, "float32")
