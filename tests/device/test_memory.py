"""What a host is asked to keep free is what a step takes of a device, within a quarter."""

import pytest
import torch
from pack.tests.core import tiny
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.memory import step_bytes
from pack.vqdiffusion_core.networks.specs import TransformerSpec

from .fake import FakeDevice

NARROW = TransformerSpec(
    codebook_size=900, grid=(16, 16), layers=2, width=64, heads=4, num_timesteps=100, text_width=32
)
WIDE = TransformerSpec(codebook_size=700, grid=(16, 16), layers=2, width=256, heads=8, num_timesteps=100, text_width=32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("spec", "batch", "sampler"), [(WIDE, 1, "ancestral"), (WIDE, 4, "confidence"), (NARROW, 2, "purity")]
)
def test_of_a_step(spec, batch, sampler, dtype):
    with FakeDevice() as gpu:
        network = tiny.transformer(spec=spec).cache_adaln().to("cuda", dtype)
        text = torch.zeros(1, 77, spec.text_width, device="cuda", dtype=dtype)
        masked = torch.full((batch, spec.num_tokens), spec.mask_id, device="cuda")
        schedule, guidance = Schedule.linear(100, spec.codebook_size), cfg(text, text, 5.0)
        settings = Settings(steps=8, sampler=sampler)
        states = sample(network, schedule, guidance, masked, None, settings, list(range(batch)))
        next(states)
        before = gpu.used
        gpu.count_anew()
        next(states)
    ratio = step_bytes(network, schedule, guidance, masked, settings) / (gpu.peak - before)
    assert 0.8 <= ratio <= 1.25, ratio
