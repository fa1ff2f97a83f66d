"""Another custom node pack, as rude as real ones are, to run beside: it puts its folder first on Python's path with
modules of common names, sets seeds and options of torch for everybody, patches ComfyUI, and has nodes that look at the
random numbers that all share.
"""

import logging
import os
import random
import sys
import warnings
from pathlib import Path

import comfy.model_management
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "common_names"))
import nodes_of_neighbour  # noqa: F401  # pyright: ignore[reportMissingImports]

logging.basicConfig(level=logging.DEBUG)
warnings.filterwarnings("ignore")
os.environ["TOKENIZERS_PARALLELISM"] = "true"
torch.set_float32_matmul_precision("high")
torch.manual_seed(5)
random.seed(5)
np.random.seed(5)

_load_models_gpu = comfy.model_management.load_models_gpu


def load_models_gpu(*arguments, **options):
    return _load_models_gpu(*arguments, **options)


comfy.model_management.load_models_gpu = load_models_gpu


class Seed:
    """Seeds every shared generator, and passes a latent on."""

    CATEGORY = "VQ-Diffusion"  # of all names
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "run"
    INPUT_TYPES = classmethod(lambda cls: {"required": {"latent": ("LATENT",), "seed": ("INT", {"default": 0})}})

    def run(self, latent, seed):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        return (latent,)


class Draw:
    """The next number of every shared generator, after a latent has come."""

    CATEGORY = "VQ-Diffusion"
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "run"
    INPUT_TYPES = classmethod(lambda cls: {"required": {"latent": ("LATENT",)}})

    def run(self, latent):
        return {"ui": {"numbers": [torch.rand(()).item(), random.random(), float(np.random.rand())]}}


# Not written as {...}: ComfyUI-Manager's scanner would take these for nodes of the pack.
NODE_CLASS_MAPPINGS = dict(NeighbourSeed=Seed, NeighbourDraw=Draw)
NODE_DISPLAY_NAME_MAPPINGS = dict(NeighbourSeed="VQ-Diffusion Sampler", NeighbourDraw="VQ-Diffusion Decode")
