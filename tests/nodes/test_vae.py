"""The VAE-like object, called as the core's nodes call it."""

import pytest
import torch
from pack.nodes.latents import LatentError


def images(height=16, width=16, batch=1):
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(0))


def tokens(rows=4, columns=4, batch=1):
    return torch.randint(0, 11, (batch, 1, rows, columns), generator=torch.Generator().manual_seed(0)).float()


def test_an_image_becomes_integer_ids_and_ids_an_image(model):
    samples = model.vae.encode(images(batch=2))
    assert samples.shape == (2, 1, 4, 4) and samples.dtype == torch.float32
    assert torch.equal(samples, samples.round()) and samples.max() < 11
    image = model.vae.decode(samples)
    assert image.shape == (2, 16, 16, 3) and 0 <= image.min() and image.max() <= 1


def test_encoding_and_decoding_are_those_of_the_vqgan(model):
    vqgan = model.vae.first_stage_model
    assert torch.equal(model.vae.encode(images())[:, 0], vqgan.encode(images().movedim(-1, 1) * 2 - 1).float())
    assert torch.equal(model.vae.decode(tokens()).movedim(-1, 1), (vqgan.decode(tokens()[:, 0].long()) + 1) / 2)


def test_an_image_is_cut_around_its_middle_to_whole_tokens(model):
    middle = images(18, 19)[:, 1:17, 1:17]
    assert torch.equal(model.vae.encode(images(18, 19)), model.vae.encode(middle))


def test_transparency_is_left_out(model):
    rgba = torch.cat([images(), torch.zeros(1, 16, 16, 1)], -1)
    assert torch.equal(model.vae.encode(rgba), model.vae.encode(images()))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_grey_image_is_read_as_one_of_three_equal_channels(model, channels):
    """What masks and depth maps become; the second channel is alpha."""
    grey = images()[..., :channels]
    assert torch.equal(model.vae.encode(grey), model.vae.encode(grey[..., :1].repeat(1, 1, 1, 3)))
    assert torch.equal(model.vae.encode_tiled(grey), model.vae.encode(grey))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_an_image_that_another_node_has_broken_is_refused(model, value, dtype):
    """The black image of a VAE in 16 bits, which would become one token all over, in silence."""
    broken = images().to(dtype)
    broken[0, 5, 7, 1] = value
    for encode in (model.vae.encode, model.vae.encode_tiled):
        with pytest.raises(LatentError, match="values that are not numbers, so the node that made it has failed"):
            encode(broken)


def test_an_image_smaller_than_a_token_is_refused(model):
    with pytest.raises(LatentError, match="3 x 16 pixels with 3 channels; expected RGB of at least 4 x 4"):
        model.vae.encode(images(16, 3))


@pytest.mark.parametrize("value", [1, [[0.5]], torch.zeros(16, 16, 3), torch.zeros(1, 16, 16, 3, dtype=torch.uint8)])
def test_what_is_no_image_is_refused(model, value):
    """ComfyUI takes a plain value for a link of any type, and its VAE Encode hands it on."""
    with pytest.raises(LatentError, match=r"This image is .*; expected \(images, height, width, 3\) of floats"):
        model.vae.encode(value)


def test_masked_tokens_are_refused_and_counted(model):
    samples = tokens()
    samples[0, 0, 1, 2:] = 11
    with pytest.raises(LatentError, match="2 of 16 tokens are still masked"):
        model.vae.decode(samples)
    with pytest.raises(LatentError, match="2 of 16 tokens are still masked"):
        model.vae.decode_tiled(samples)


def test_another_models_latent_is_refused(model):
    with pytest.raises(LatentError, match="another kind of model"):
        model.vae.decode(torch.zeros(1, 4, 8, 8))


def test_what_fits_into_one_tile_is_as_without_tiles(model):
    tokens_of_tiles = model.vae.encode_tiled(images(), tile_x=64, tile_y=64, overlap=16)
    assert torch.equal(tokens_of_tiles, model.vae.encode(images()))
    image = model.vae.decode_tiled(tokens(), tile_x=8, tile_y=8, overlap=2)
    torch.testing.assert_close(image, model.vae.decode(tokens()))


def test_tiles_cover_an_image_larger_than_they_are(model):
    samples = model.vae.encode_tiled(images(40, 72), tile_x=32, tile_y=32, overlap=32)
    assert samples.shape == (1, 1, 10, 18) and torch.equal(samples, samples.round())
    image = model.vae.decode_tiled(samples, tile_x=8, tile_y=8, overlap=8)
    assert image.shape == (1, 40, 72, 3) and image.isfinite().all()


def test_the_core_can_decode_in_shares_of_what_fits(model, monkeypatch):
    from pack.nodes import vae

    batch = tokens(batch=3)
    whole = model.vae.decode(batch)
    monkeypatch.setattr(vae, "image_bytes", lambda spec, pixels, encoding: 10**15)
    torch.testing.assert_close(model.vae.decode(batch), whole)


def test_it_has_what_the_core_reads_of_a_vae(model):
    vae = model.vae
    assert (vae.downscale_ratio, vae.spacial_compression_decode(), vae.spacial_compression_encode()) == (4, 4, 4)
    assert vae.temporal_compression_decode() is None and vae.latent_channels == 1 and vae.is_dynamic() is False
    assert vae.patcher.model is vae.first_stage_model and "decoder.conv_in.weight" in vae.get_sd()
    vae.throw_exception_if_invalid()
