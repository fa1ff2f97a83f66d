"""Beside another pack, and under the switches of ComfyUI that change how models are kept, the images are the same."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pack.tests.host import shipped
from pack.tests.host.comfy import Comfy
from pack.tests.host.shipped import node, text_to_image

NEIGHBOUR = Path(__file__).with_name("neighbour")

# --lowvram and --novram exclude --cpu; the tests of the nodes set them inside.
SWITCHES = {
    "nothing kept": ["--disable-smart-memory", "--cache-none", "--force-fp32"],
    "16 bits": ["--force-fp16", "--cache-lru", "4"],
}


@pytest.fixture(scope="module")
def plain(comfy):
    return shipped.draw_tokens(comfy, text_to_image(seed=3, steps=4))


@pytest.fixture(scope="module", params=SWITCHES.values(), ids=SWITCHES)
def crowded(request, tmp_path_factory):
    """A ComfyUI with these switches and a neighbour."""
    base = tmp_path_factory.mktemp("comfyui")
    shutil.copytree(NEIGHBOUR, base / "custom_nodes" / "a_neighbour")
    with Comfy(request.param, base=base) as host:
        yield host, "--force-fp16" in request.param


def test_the_neighbour_and_the_pack_both_have_their_nodes(crowded):
    host, _ = crowded
    assert {"NeighbourSeed", "NeighbourDraw", "VQDiffusionSampler"} <= host.object_info().keys()


def test_the_image_is_the_same_beside_the_neighbour(crowded, plain):
    host, sixteen_bits = crowded
    drawn = shipped.draw_tokens(host, text_to_image(seed=3, steps=4))
    assert drawn.shape == plain.shape and drawn.max() < shipped.CODES["pocket"]
    assert sixteen_bits or torch.equal(drawn, plain)
    host.free()
    again = shipped.draw_tokens(host, text_to_image(seed=3, steps=4))
    assert torch.equal(drawn, again)


def test_a_run_takes_no_numbers_from_the_generators_that_all_share(crowded):
    host, _ = crowded
    workflow = text_to_image(seed=4, steps=2)
    latent = workflow["Sampler"]["inputs"]["latent"]
    workflow["seeded"] = node("NeighbourSeed", latent=latent, seed=11)
    workflow["Sampler"]["inputs"]["latent"] = ["seeded", 0]
    workflow["numbers"] = node("NeighbourDraw", latent=["Sampler", 0])
    numbers = host.run(workflow).outputs["numbers"]["numbers"]
    generator = torch.Generator().manual_seed(11)
    expected = [
        torch.rand((), generator=generator).item(),
        random.Random(11).random(),
        float(np.random.RandomState(11).rand()),
    ]
    assert numbers == expected
