"""Where a device's memory runs out, in the network or after it, fewer images go through at once, and are the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pack.tests.core import tiny
from pack.tests.core.tiny_checkpoints import diffusers_folder
from pack.vqdiffusion_core.checkpoints import load
from pack.vqdiffusion_core.diffusion.autoregressive import SCARCE
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.networks.oom import OutOfMemory
from pack.vqdiffusion_core.networks.specs import GPTSpec
from pack.vqdiffusion_core.notices import notices_to
from pack.vqdiffusion_core.pipeline import decode

from .fake import FakeDevice

BATCH = 16
SHAPES = {
    "most is the network's": replace(tiny.SPEC, width=64),
    "most is log p": replace(tiny.SPEC, codebook_size=3000),
}


def draw(gpu, spec, share=None, batch=BATCH, canvas=None):
    """Tokens of a batch, and the bytes that this took: with a `share` of them, no more than these."""
    network = tiny.transformer(spec=spec).prepare_for_inference().to("cuda")
    guidance = cfg(tiny.text(1).to("cuda"), tiny.text(2).to("cuda"), 3.0)
    rows, columns = canvas or spec.grid
    masked = torch.full((batch, rows * columns), spec.mask_id, device="cuda")
    settings = Settings(steps=2, sampler="purity", truncation=0.9, temperature=0.9)
    before = gpu.used
    gpu.count_anew()
    gpu.limit = share and before + share
    schedule = Schedule.linear(spec.num_timesteps, spec.codebook_size)
    *_, last = sample(network, schedule, guidance, masked, None, settings, list(range(batch)), canvas)
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


def draw_token_by_token(gpu, share=None):
    """As `draw`, by a network that draws token after token."""
    spec = GPTSpec(1000, (4, 4), 2, 64, 4, text_width=tiny.SPEC.text_width, prefix=7)
    network = tiny.gpt(spec).to("cuda")
    guidance = cfg(tiny.text(1).to("cuda"), tiny.text(2).to("cuda"), 3.0)
    masked = torch.full((BATCH, 16), spec.mask_id, device="cuda")
    before = gpu.used
    gpu.count_anew()
    gpu.limit = share and before + share
    settings = Settings(sampler="autoregressive", truncation=0.9)
    *_, last = sample(network, Schedule.one_step(1000), guidance, masked, None, settings, list(range(BATCH)))
    return last.x_BN, gpu.peak - before


def test_a_batch_that_is_drawn_token_by_token_too():
    with FakeDevice() as gpu:
        whole, needed = draw_token_by_token(gpu)
    for share in (0.9, 0.3):
        said = []
        with FakeDevice() as gpu, notices_to(said.append):
            in_parts, _ = draw_token_by_token(gpu, int(share * needed))
        assert torch.equal(in_parts, whole)
        assert gpu.operators["empty_cache"] > 0
    assert said == [SCARCE]


def test_where_one_image_does_not_fit_the_error_says_so():
    with FakeDevice() as gpu, pytest.raises(OutOfMemory, match="too small for one image"):
        draw(gpu, SHAPES["most is log p"], 10_000)


@pytest.mark.parametrize("canvas", [None, (12, 12)])
def test_an_image_whose_predictions_do_not_fit_is_drawn_some_tokens_at_a_time(canvas):
    spec = SHAPES["most is log p"]
    with FakeDevice() as gpu:
        whole, needed = draw(gpu, spec, batch=1, canvas=canvas)
    for share in (0.7, 0.4):
        with FakeDevice() as gpu:
            in_parts, _ = draw(gpu, spec, int(share * needed), batch=1, canvas=canvas)
        assert torch.equal(in_parts, whole)
        assert gpu.operators["empty_cache"] > 0


def test_images_are_decoded_in_one_batch_in_parts_or_in_tiles(tmp_path):
    model = load(diffusers_folder(tmp_path / "tiny")).prepare_for_inference()
    tokens_Bhw = tiny.tokens(batch=4 * 40 * 40 // tiny.SPEC.num_tokens).view(4, 40, 40)
    expected = [np.asarray(image, int) for image in decode(model, tokens_Bhw)]
    with FakeDevice() as gpu:
        of_one = peak(gpu, lambda: decode(model.prepare_for_inference("cuda"), tokens_Bhw[:1]))
        of_all = peak(gpu, lambda: decode(model, tokens_Bhw))
        for room in (of_all, (of_one + of_all) // 2):
            gpu.limit = room
            for ours, wanted in zip(decode(model, tokens_Bhw), expected, strict=True):
                assert np.abs(np.asarray(ours, int) - wanted).max() <= 1
        gpu.limit = of_one // 2
        assert [image.size for image in decode(model, tokens_Bhw)] == [(160, 160)] * 4


def peak(gpu, work):
    """The most bytes on the device while it works."""
    gpu.count_anew()
    work()
    return gpu.peak
