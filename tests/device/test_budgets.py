"""What a step costs a device: how often it is waited for, how many kernels it launches, what is sent there.

On a GPU a launch takes 4 to 8 microseconds of the host, a wait 15, and a small model's step little else. A change that
needs more of them changes a number here, and says why.
"""

from dataclasses import replace

import pytest
import torch
from pack.tests.core import tiny
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS, Settings
from pack.vqdiffusion_core.networks.specs import TransformerSpec

from .fake import FakeDevice

# Layers and kinds are the releases'; widths, grids and codebooks, which change no count, are small.
SMALL = TransformerSpec(codebook_size=40, grid=(4, 4), layers=2, width=32, heads=4, num_timesteps=100, text_width=24)
SHAPES = {
    "tiny": SMALL,
    "pocket": replace(SMALL, layers=6),
    "COCO": replace(SMALL, layers=19),
    "ImageNet": replace(SMALL, layers=24, condition="class", mlp="conv"),
}
LAUNCHES = {"tiny": 84, "pocket": 144, "COCO": 339, "ImageNet": 316}  # of a guided step
UPLOADS = 6  # ids, positions, which of them are asked, time, weights of the conditions, uniform numbers


def steps_on(gpu, spec, settings, batch=1):
    """What the device counted in each step."""
    network = tiny.transformer(spec=spec).prepare_for_inference().to("cuda", torch.float16)
    wanted, unwanted = (
        (tiny.text(seed).to("cuda", torch.float16) for seed in (1, 2))
        if spec.condition == "text"
        else (torch.tensor([number], device="cuda") for number in (3, spec.null_class))
    )
    masked = torch.full((batch, spec.num_tokens), spec.mask_id, device="cuda")
    schedule, seeds = Schedule.linear(spec.num_timesteps, spec.codebook_size), list(range(batch))
    states = sample(network, schedule, cfg(wanted, unwanted, 5.0), masked, None, settings, seeds)
    next(states)
    for _ in range(settings.steps):
        gpu.count_anew()
        next(states)
        yield gpu


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_step_waits_for_its_device_once(sampler):
    with FakeDevice() as gpu:
        for _ in steps_on(gpu, SHAPES["tiny"], Settings(steps=3, sampler=sampler, truncation=0.8, top_k=10), batch=2):
            assert gpu.waits.total() == 1, gpu.waits
            assert gpu.uploads.total() <= UPLOADS, gpu.uploads


@pytest.mark.parametrize("shape", SHAPES)
def test_a_guided_step_launches_so_many_kernels(shape):
    with FakeDevice() as gpu:
        *_, last = (gpu.launches for gpu in steps_on(gpu, SHAPES[shape], Settings(steps=2, sampler="confidence")))
    assert last == LAUNCHES[shape], gpu.operators
