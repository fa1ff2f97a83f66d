"""A codec whose encoder sees the pixels of each token by themselves."""

from dataclasses import replace

import pytest
import torch
from diffusers import VQModel
from pack.tests.core import tiny_checkpoints
from pack.tests.core.tiny import with_random_weights
from pack.vqdiffusion_core.checkpoints import load, save
from pack.vqdiffusion_core.networks.specs import VQGANSpec
from pack.vqdiffusion_core.networks.vqgan import VQGAN

CELL = 4
SPEC = VQGANSpec((8, 8, 16), 1, (2,), 16, 4, 64, 4)


@pytest.fixture(params=[True, False], ids=["cells alone", "whole image"])
def codec(request):
    return with_random_weights(VQGAN, replace(SPEC, cells_alone=request.param), 0)


def noise(seed, batch=1, side=8 * CELL):
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_same_pixels_have_the_same_code_wherever_they_stand(codec):
    first, second = noise(0), noise(1)
    second[..., 2 * CELL : 6 * CELL, CELL : 5 * CELL] = first[..., : 4 * CELL, 4 * CELL :]
    before, after = (codec.latents(image) for image in (first, second))
    moved, still = after[..., 2:6, 1:5], before[..., :4, 4:]
    is_the_same = bool(torch.isclose(moved, still, atol=1e-5).all())
    assert is_the_same == codec.spec.cells_alone
    if is_the_same:
        assert torch.equal(codec.encode(second)[:, 2:6, 1:5], codec.encode(first)[:, :4, 4:])


def test_each_cell_of_each_image_is_encoded_as_an_image_of_its_own():
    codec, image = with_random_weights(VQGAN, replace(SPEC, cells_alone=True), 0), noise(2, batch=2)[..., : 4 * CELL]
    latents = codec.latents(image)
    assert latents.shape == (2, 4, 8, 4)
    cell = image[1:, :, 5 * CELL : 6 * CELL, 2 * CELL : 3 * CELL]
    torch.testing.assert_close(latents[1, :, 5, 2], codec.latents(cell)[0, :, 0, 0])


def test_a_saved_model_says_how_its_codec_sees(tmp_path):
    model = load(tiny_checkpoints.diffusers_folder(tmp_path / "model"))
    model.vqgan.spec = replace(model.vqgan.spec, cells_alone=True)
    save(model, tmp_path / "copy")
    again, image = load(tmp_path / "copy").vqgan, noise(3, side=16)
    tokens = model.vqgan.encode(image)
    assert again.spec == model.vqgan.spec and torch.equal(again.encode(image), tokens)
    peer = VQModel.from_pretrained(tmp_path / "copy" / "vqvae")  # draws the same, whatever it would encode
    latents = peer.quantize.get_codebook_entry(tokens.flatten(), shape=(1, 4, 4, 5))
    drawn = peer.decode(latents, force_not_quantize=True).sample.clamp(-1, 1)
    torch.testing.assert_close(again.decode(tokens), drawn, atol=1e-4, rtol=0)  # of -1..1: rounding
