"""Apple's graphics processors have no float64, in which chances are worked out; a Mac draws all the same."""

import pytest
import torch
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS, Settings

from . import tiny
from .apple import MPS, Apple, move


def last_state(device, settings, canvas=None, mask_strength_BN=None):
    network, (wanted, unwanted) = tiny.transformer(), (tiny.text(seed).to(device) for seed in (1, 2))
    if device == MPS:
        move(network)
    tokens_BN = torch.full((2, 4 * 8 if canvas else tiny.SPEC.num_tokens), tiny.SPEC.mask_id)
    if mask_strength_BN is not None:
        tokens_BN = tiny.tokens(batch=2)
    tokens_BN, guidance = tokens_BN.to(device), cfg(wanted, unwanted, settings.guidance)
    *_, state = sample(network, tiny.SCHEDULE, guidance, tokens_BN, mask_strength_BN, settings, [3, 4], canvas)
    return state


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("rounds", [1, 2])
def test_every_sampler_draws_the_tokens_of_the_cpu_on_a_device_without_float64(sampler, rounds):
    settings = Settings(steps=6, sampler=sampler, rounds=rounds, truncation=0.9, temperature=0.8, top_k=8)
    with Apple():
        state = last_state(MPS, settings)
        assert state.x_BN.device == state.confidence_BN.device == MPS
    assert torch.equal(state.x_BN, last_state("cpu", settings).x_BN)


@pytest.mark.parametrize("edit", [{"canvas": (4, 8)}, {"mask_strength_BN": torch.linspace(0, 1, 16).repeat(2, 1)}])
def test_windows_and_soft_regions_too(edit):
    settings = Settings(steps=4, soft=True, denoise=0.7)
    with Apple():
        state = last_state(MPS, settings, **edit)
    assert torch.equal(state.x_BN, last_state("cpu", settings, **edit).x_BN)
