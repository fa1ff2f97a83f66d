"""What a host is asked to keep free is what the work takes, within a quarter."""

import pytest
import torch
from pack.tests.core.allocations import Peak
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.memory import image_bytes, step_bytes
from pack.vqdiffusion_core.networks.gpt import GPT
from pack.vqdiffusion_core.networks.inference import FastTransformer
from pack.vqdiffusion_core.networks.kernels import keep_freed_memory
from pack.vqdiffusion_core.networks.specs import GPTSpec, TransformerSpec, VQGANSpec
from pack.vqdiffusion_core.networks.vqgan import VQGAN

CODECS = {
    "ithq": VQGANSpec((64, 128, 256, 512), 2, (3,), latent_channels=256, code_dim=128, codebook_size=4096),
    "f8": VQGANSpec((128, 128, 256, 512), 2, (3,), latent_channels=256, code_dim=256, codebook_size=2887),
    "f16": VQGANSpec((128, 128, 256, 256, 512), 2, (4,), latent_channels=256, code_dim=256, codebook_size=974),
    "one block a level": VQGANSpec((32, 64, 128, 128), 1, (3,), latent_channels=64, code_dim=64, codebook_size=512),
}
SIDE = 64  # pixels; what an image needs grows with its pixels


def within_a_quarter(estimate, measured):
    return 0.8 <= estimate / measured <= 1.25


def test_the_measure_counts_what_is_alive_at_once():
    with Peak() as peak:
        a = torch.zeros(1000)
        b = a + 1
        del a
        b.add_(1)
        c = b + 1
    assert peak.bytes == 8000 and c.sum() == 3000


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("encoding", [True, False], ids=["encode", "decode"])
def test_of_an_image(codec, encoding):
    spec = CODECS[codec]
    vqgan, side = VQGAN(spec).eval(), SIDE // spec.downscale
    with torch.no_grad(), Peak() as peak:
        if encoding:
            vqgan.encode(torch.zeros(1, 3, SIDE, SIDE))
        else:
            vqgan.decode(torch.zeros(1, side, side, dtype=torch.long))
    assert within_a_quarter(image_bytes(spec, SIDE**2, encoding=encoding), peak.bytes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize(
    ("batch", "steps", "sampler"), [(1, 16, "ancestral"), (2, 1, "ancestral"), (2, 8, "exact count")]
)
def test_of_a_step(dtype, guidance, batch, steps, sampler):
    spec = TransformerSpec(codebook_size=700, grid=(16, 16), layers=2, width=256, heads=8, num_timesteps=100)
    network, schedule = (
        FastTransformer(spec).to(dtype).eval().prepare_for_inference(),
        Schedule.linear(100, spec.codebook_size),
    )
    text = torch.zeros(1, 77, spec.text_width, dtype=dtype)
    guided = cfg(text, text, guidance)
    settings = Settings(steps=steps, guidance=guidance, sampler=sampler)
    masked = torch.full((batch, spec.num_tokens), spec.mask_id)
    states = sample(network, schedule, guided, masked, None, settings, list(range(batch)))
    next(states)
    keep_freed_memory()  # once a process, and given back at once
    with Peak() as peak:  # the first step reads the text too
        next(states)
    estimate = step_bytes(network, schedule, guided, masked, settings)
    assert within_a_quarter(estimate, peak.bytes), (estimate, peak.bytes)


def test_of_a_run_token_by_token_through_a_window():
    """At most: what is read anew at once is at most what the window shows, and mostly half of that."""
    spec = GPTSpec(300, (8, 8), layers=8, width=128, heads=8, condition="none")
    network, schedule, alone = GPT(spec).eval(), Schedule.one_step(spec.codebook_size), cfg(None, None, 1.5)
    settings, masked = Settings(sampler="autoregressive"), torch.full((2, 96), spec.mask_id)
    with Peak() as peak:
        list(sample(network, schedule, alone, masked, None, settings, [0, 1], (8, 12)))
    assert 1 <= step_bytes(network, schedule, alone, masked, settings) / peak.bytes <= 1.5
