"""A real ComfyUI on a graphics card that is not there draws the shipped workflow, whatever its memory settings."""

from pathlib import Path

import numpy as np
import pytest
from pack.tests.host.comfy import Comfy
from pack.tests.host.shipped import text_to_image
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.pipeline import generate

PROMPT, SEED = "a teddy bear", 5
SAMPLER = {"steps": 2, "truncation": 0.86}
ON_A_CARD = str(Path(__file__).with_name("boot.py"))


@pytest.fixture(scope="module")
def expected():
    (image,) = generate(load(POCKET_FOLDER).prepare_for_inference(), PROMPT, seed=SEED, settings=Settings(**SAMPLER))
    return np.asarray(image, int)


@pytest.mark.parametrize("flags", [(), ("--novram",), ("--gpu-only",)], ids=lambda flags: " ".join(flags) or "no flag")
def test_it_draws_the_image_of_a_cpu(flags, expected):
    workflow = text_to_image(PROMPT, seed=SEED, **SAMPLER)
    workflow["Loader"]["inputs"]["dtype"] = "float32"
    with Comfy(flags, program=[ON_A_CARD]) as comfy:
        (image,) = comfy.images(comfy.run(workflow))
        assert "Device: cuda:0 NVIDIA" in comfy.log()
    assert np.abs(np.asarray(image.convert("RGB"), int) - expected).max() <= 1
