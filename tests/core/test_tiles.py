"""An image that is too large for a VQGAN as a whole goes through in tiles, and shows no seam."""

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core import tiles
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.editing import Inpaint, initial_tokens
from pack.vqdiffusion_core.networks.oom import OutOfMemory
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from pack.vqdiffusion_core.pipeline import decode, generate, to_pixels
from PIL import Image


@pytest.fixture(scope="module")
def model():
    return load(POCKET_FOLDER).prepare_for_inference()


@pytest.fixture(scope="module")
def tokens_1hw(model):
    """Of a drawn image, 36 x 44 tokens."""
    states = []
    generate(
        model,
        "a fox",
        size=(352, 288),
        settings=Settings(steps=2, overlap=0.1),
        on_step=lambda *state: states.append(state),
    )
    return states[-1][1].view(1, 36, 44)


def images(model, tokens_1hw, monkeypatch, most):
    """Where the decoder takes no more than so many tokens on a side."""
    whole = VQGAN.decode

    def decode_what_fits(self, tokens_Bhw):
        if max(tokens_Bhw.shape[1:]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, tokens_Bhw)

    with monkeypatch.context() as patch:
        patch.setattr(VQGAN, "decode", decode_what_fits)
        return [np.asarray(image, float) for image in decode(model, tokens_1hw)]


@pytest.mark.parametrize("most", [32, 16])
def test_tiles_are_the_image_without_steps_at_their_borders(model, tokens_1hw, monkeypatch, most):
    (expected,) = images(model, tokens_1hw, monkeypatch, 44)
    (image,) = images(model, tokens_1hw, monkeypatch, most)
    assert image.shape == expected.shape and 0 < np.abs(image - expected).mean() < 4
    for axis in (0, 1):
        steps, own = (np.abs(np.diff(each, axis=axis)).mean((1 - axis, 2)) for each in (image - expected, expected))
        assert steps.max() < own.mean()  # hard edges: three times as much


def test_what_does_not_fit_in_the_smallest_tiles_is_a_clear_error(model, tokens_1hw, monkeypatch):
    with pytest.raises(OutOfMemory, match="too small for one image"):
        images(model, tokens_1hw, monkeypatch, 15)


def test_an_image_to_edit_that_does_not_fit_is_read_in_tiles(model, tokens_1hw, monkeypatch):
    """Most tokens are those of the whole image; those that differ have neighbouring latents."""
    image = model.vqgan.decode(tokens_1hw)
    expected_1hw, whole = tiles.encode(model.vqgan, image), VQGAN.latents

    def latents_that_fit(self, image_1CHW):
        if max(image_1CHW.shape[2:]) > 32 * self.spec.downscale:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, image_1CHW)

    monkeypatch.setattr(VQGAN, "latents", latents_that_fit)
    canvas = initial_tokens(model, Inpaint(Image.fromarray(to_pixels(image)[0].numpy())), None)[0]
    assert canvas.shape == (36, 44) and (canvas == expected_1hw[0]).float().mean() > 0.8
