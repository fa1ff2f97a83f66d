"""Where a device's memory runs out, in the network or after it, fewer images go through at once, and are the same."""

from dataclasses import replace

import pytest
import torch
from pack.tests.core import tiny
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.networks.oom import OutOfMemory

from .fake import FakeDevice

BATCH = 16
SHAPES = {
    "most is the network's": replace(tiny.SPEC, width=64),
    "most is log p": replace(tiny.SPEC, codebook_size=3000),
}


def draw(gpu, spec, share=None):
    """Tokens of a batch, and the bytes that this took: with a `share` of them, no more than these."""
    network = tiny.transformer(spec=spec).cache_adaln().to("cuda")
    guidance = cfg(tiny.text(1).to("cuda"), tiny.text(2).to("cuda"), 3.0)
    masked = torch.full((BATCH, spec.num_tokens), spec.mask_id, device="cuda")
    settings = Settings(steps=2, sampler="purity", truncation=0.9, temperature=0.9)
    before = gpu.used
    gpu.count_anew()
    gpu.limit = share and before + share
    schedule = Schedule.linear(spec.num_timesteps, spec.codebook_size)
    *_, last = sample(network, schedule, guidance, masked, None, settings, list(range(BATCH)))
    return last.x_BN, gpu.peak - before


@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_that_does_not_fit_is_drawn_in_parts(shape):
    with FakeDevice() as gpu:
        whole, needed = draw(gpu, SHAPES[shape])
    for share in (0.9, 0.6, 0.4, 0.15):
        with FakeDevice() as gpu:
            in_parts, _ = draw(gpu, SHAPES[shape], int(share * needed))
        assert torch.equal(in_parts, whole)
        assert gpu.operators["empty_cache"] > 0


def test_where_one_image_does_not_fit_the_error_says_so():
    with FakeDevice() as gpu, pytest.raises(OutOfMemory, match="too small for one image"):
        draw(gpu, SHAPES["most is log p"], 100_000)
