"""Folders of the diffusers layout load in every variant, and our modules agree with diffusers' numbers."""

from __future__ import annotations

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import load, save

from . import tiny_checkpoints as tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.diffusers_folder(tmp_path_factory.mktemp("diffusers"))


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


def test_transformer_gives_the_log_probabilities_of_diffusers_at_every_time(model):
    peer = tiny.peer_transformer()
    generator = torch.Generator().manual_seed(1)
    x_BN = torch.randint(tiny.K + 1, (2, tiny.GRID**2), generator=generator)
    text_BLD = torch.randn(2, tiny.LENGTH, tiny.TEXT_WIDTH, generator=generator)
    memory = model.transformer.remember(text_BLD)
    for t in range(tiny.T):
        theirs = peer(x_BN, encoder_hidden_states=text_BLD, timestep=torch.tensor(t)).sample
        ours = model.transformer(x_BN, torch.tensor([t]), memory).log_softmax(-1).transpose(1, 2)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_vqgan_encodes_to_the_same_codes_and_decodes_to_the_same_picture(model):
    peer = tiny.peer_vqgan()
    image_BCHW = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    codes = peer.quantize(peer.encode(image_BCHW).latents)[2][2].view(2, 4, 4)
    assert torch.equal(model.vqgan.encode(image_BCHW), codes)
    assert codes.unique().numel() > 3
    latents = peer.quantize.get_codebook_entry(codes.flatten(), shape=(2, 4, 4, 5))
    picture = peer.decode(latents, force_not_quantize=True).sample.clamp(-1, 1)
    torch.testing.assert_close(model.vqgan.decode(codes), picture, atol=1e-5, rtol=0)


def test_text_encoder_gives_the_vectors_of_transformers(model):
    peer = tiny.peer_text_encoder()
    ids = torch.tensor([model.text_encoder.tokenize("A red b")])
    theirs = torch.nn.functional.normalize(peer(input_ids=ids).last_hidden_state, dim=-1)
    torch.testing.assert_close(model.text_encoder.encode(["A red b"]), theirs, atol=1e-5, rtol=0)
    assert ids.tolist() == [[56, 28, 55, 29, 57, 0, 0]]


def test_saving_and_loading_gives_the_same_tensors_and_numbers(model, tmp_path):
    save(model, tmp_path / "copy")
    again = load(tmp_path / "copy")
    for part in ("transformer", "vqgan", "text_encoder"):
        before, after = getattr(model, part), getattr(again, part)
        assert before.state_dict().keys() == after.state_dict().keys()
        assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    assert torch.equal(model.learned_null_1LD, again.learned_null_1LD)
    assert (model.schedule.alpha_bar == again.schedule.alpha_bar).all()
    assert model.text_encoder.tokenize("a red car") == again.text_encoder.tokenize("a red car")
    assert model.transformer.spec == again.transformer.spec
    assert model.vqgan.spec == again.vqgan.spec
