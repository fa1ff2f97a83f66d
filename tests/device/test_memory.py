"""What a host is asked to keep free is what the work takes of a device, within a quarter."""

from dataclasses import replace

import pytest
import torch
from pack.tests.core import tiny
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.memory import image_bytes, step_bytes
from pack.vqdiffusion_core.networks.specs import TransformerSpec, VQGANSpec
from pack.vqdiffusion_core.networks.vqgan import VQGAN

from .fake import FakeDevice

NARROW = TransformerSpec(
    codebook_size=900, grid=(16, 16), layers=2, width=64, heads=4, num_timesteps=100, text_width=32
)
WIDE = TransformerSpec(codebook_size=700, grid=(16, 16), layers=2, width=256, heads=8, num_timesteps=100, text_width=32)

DEEP = replace(NARROW, grid=(12, 12), layers=6)

# Images, how each is drawn, the canvas if it is not the network's own, and whether each has a prompt of its own
RUNS = {
    "one": (WIDE, 1, "ancestral", None, False),
    "a batch": (WIDE, 4, "confidence", None, False),
    "most is log p": (NARROW, 2, "purity", None, False),
    "a prompt an image": (DEEP, 8, "ancestral", None, True),
    "a large canvas": (NARROW, 1, "confidence", (40, 40), False),
    "a large canvas, wide": (WIDE, 2, "ancestral", (32, 40), False),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("run", RUNS)
def test_of_a_step(run, dtype):
    spec, batch, sampler, canvas, own_prompts = RUNS[run]
    rows, columns = canvas or spec.grid
    with FakeDevice() as gpu:
        network = tiny.transformer(spec=spec).prepare_for_inference().to("cuda", dtype)
        null = torch.zeros(1, 77, spec.text_width, device="cuda", dtype=dtype)
        text = null.repeat(batch if own_prompts else 1, 1, 1)
        masked = torch.full((batch, rows * columns), spec.mask_id, device="cuda")
        schedule, guidance = Schedule.linear(100, spec.codebook_size), cfg(text, null, 5.0)
        settings = Settings(steps=8, sampler=sampler)
        states = sample(network, schedule, guidance, masked, None, settings, list(range(batch)), canvas)
        next(states)
        before = gpu.used
        gpu.count_anew()
        next(states)
    ratio = step_bytes(network, schedule, guidance, masked, settings) / (gpu.peak - before)
    assert 0.8 <= ratio <= 1.25, ratio


@pytest.mark.parametrize("encoding", [True, False], ids=["encode", "decode"])
def test_of_an_image(encoding):
    spec, side = VQGANSpec((32, 64, 128, 128), 1, (3,), latent_channels=64, code_dim=64, codebook_size=512), 96
    with FakeDevice() as gpu, torch.no_grad():
        vqgan = VQGAN(spec).eval().to("cuda")
        image, tokens = torch.zeros(1, 3, side, side), torch.zeros(1, side // 8, side // 8, dtype=torch.long)
        given = (image if encoding else tokens).to("cuda")
        before = gpu.used
        gpu.count_anew()
        (vqgan.encode if encoding else vqgan.decode)(given)
    ratio = image_bytes(spec, side**2, encoding=encoding) / (gpu.peak - before)
    assert 0.8 <= ratio <= 1.25, ratio
