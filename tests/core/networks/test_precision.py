"""float16 where its range is enough, bfloat16's where it is not; codes are chosen by exact products."""

from dataclasses import replace

import pytest
import torch
from pack.tests.core import tiny
from pack.vqdiffusion_core.checkpoints import choose_dtype
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.predictor import OVERFLOW
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.networks import precision
from pack.vqdiffusion_core.networks.specs import VQGANSpec
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from pack.vqdiffusion_core.notices import notices_to

WIDE = replace(tiny.SPEC, codebook_size=40)
MASKED = torch.full((2, WIDE.num_tokens), WIDE.mask_id)
SETTINGS = Settings(steps=4, guidance=3.0, sampler="confidence")


def network(dtype, *, loud=False, mlp="linear"):
    network = tiny.transformer(spec=replace(WIDE, mlp=mlp))
    return (tiny.beyond_float16(network) if loud else network).to(dtype).prepare_for_inference()


def draw(network, x_BN=MASKED, seeds=(3, 4), said=None):
    dtype = network.dtype
    guidance = cfg(tiny.text(1), tiny.text(2), SETTINGS.guidance).to(torch.device("cpu"), dtype)
    schedule = tiny.Schedule.linear(WIDE.num_timesteps, WIDE.codebook_size)
    with notices_to((said if said is not None else []).append):
        *_, last = sample(network, schedule, guidance, x_BN, None, SETTINGS, list(seeds))
    return last.x_BN


def test_a_gpu_has_float16_unless_told_otherwise():
    assert choose_dtype("auto", "cuda") is torch.float16
    assert choose_dtype("auto", "cpu") is torch.float32
    assert choose_dtype("bfloat16", "cuda") is torch.bfloat16


@pytest.mark.parametrize("mlp", ["linear", "conv"])
def test_a_network_whose_numbers_exceed_float16_draws_all_the_same_and_says_so_once(mlp):
    said = []
    loud = network(torch.float16, loud=True, mlp=mlp)
    drawn = draw(loud, said=said)
    assert said == [OVERFLOW]
    assert drawn.max() < WIDE.mask_id
    assert torch.equal(drawn, draw(loud))  # and the next run begins as this one did
    assert loud.dtype is torch.float16


def test_a_seed_draws_the_same_image_in_a_batch_as_alone():
    loud = network(torch.float16, loud=True)
    drawn = draw(loud)
    for image, seed in enumerate((3, 4)):
        assert torch.equal(drawn[image], draw(loud, MASKED[:1], [seed])[0])


def test_what_fits_is_drawn_in_float16_and_nothing_is_said():
    said = []
    draw(network(torch.float16), said=said)
    assert said == []


@torch.no_grad()
def test_what_is_worked_out_again_is_what_float32_says():
    index, text, x_BN = torch.tensor([6]), tiny.text(1).expand(2, -1, -1), MASKED
    expected = network(torch.float32, loud=True)(x_BN, index, text)
    half = network(torch.float16, loud=True)
    assert not half(x_BN, index, text.half()).isfinite().all()
    with precision.Bfloat16():
        again = half(x_BN, index, text.half())
    torch.testing.assert_close(again.float(), expected, atol=0.15, rtol=0.05)


def test_a_damaged_model_is_still_an_error():
    broken = network(torch.float16).requires_grad_(False)
    broken.to_logits[1].bias[0] = float("nan")
    with pytest.raises(ValueError, match="predicts what is not a number"):
        draw(broken)


@pytest.fixture(params=["rounded", "exact"])
def setting(request):
    """What another program may have set, and how to ask for it."""
    place, name = precision.CONV, precision.SETTING
    before = getattr(place, name)
    setattr(place, name, precision.EXACT if request.param == "exact" else before)
    yield lambda: getattr(place, name)
    setattr(place, name, before)


def test_an_image_is_encoded_by_exact_convolutions_and_the_setting_comes_back(setting, monkeypatch):
    before, seen = setting(), []

    def conv_in(image):
        seen.append(setting())
        raise KeyboardInterrupt  # after which it comes back too

    codec = VQGAN(VQGANSpec((8, 8), 1, (), latent_channels=4, code_dim=4, codebook_size=8, norm_groups=4))
    monkeypatch.setattr(codec.encoder, "forward", conv_in)
    with pytest.raises(KeyboardInterrupt):
        codec.encode(torch.zeros(1, 3, 8, 8))
    assert seen == [precision.EXACT]
    assert setting() == before
