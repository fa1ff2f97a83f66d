"""Faults in the middle of the work, injected: what runs out of memory is done in less at once, or says so, and the next
run is as if nothing had been.
"""

import shutil

import comfy.model_management as management
import pytest
import torch
from pack.nodes import loaders
from pack.nodes.loaders import VQDiffusionLoader
from pack.nodes.prompt import VQDiffusionTextEncode
from pack.nodes.sampling import VQDiffusionSampler
from pack.nodes.tokens import VQDiffusionEmptyTokens
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS
from pack.vqdiffusion_core.networks.inference import FastTransformer
from pack.vqdiffusion_core.networks.oom import OutOfMemory
from pack.vqdiffusion_core.networks.vqgan import VQGAN

STEPS = 3


def draw(model, batch=1, steps=STEPS, sampler="ancestral", **canvas):
    (prompt,) = VQDiffusionTextEncode.execute(model.clip, "red").args
    (canvas,) = VQDiffusionEmptyTokens.execute(model, batch, **canvas).args
    (latent,) = VQDiffusionSampler.execute(model, prompt, canvas, 0, steps, 2.0, 0.9, sampler, 1.0).args
    return latent["samples"]


class Short:
    """Runs out of memory whenever it is asked for more than `most` rows, or in its first `times` calls."""

    def __init__(self, work, most=10**9, times=0):
        self.work, self.most, self.times, self.calls, self.largest = work, most, times, 0, 0

    def __call__(self, first, *rest):
        self.calls += 1
        if len(first) > self.most or self.calls <= self.times:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        self.largest = max(self.largest, len(first))
        return self.work(first, *rest)


def patched(monkeypatch, cls, name, **limits):
    """A method of a network that runs out of memory."""
    short = Short(None, **limits)
    whole = getattr(cls, name)

    def method(self, *arguments):
        short.work = lambda *given: whole(self, *given)
        return short(*arguments)

    monkeypatch.setattr(cls, name, method)
    return short


@pytest.mark.parametrize("most", [2, 4, 6])
def test_a_batch_that_does_not_fit_through_the_network_is_drawn_in_parts(model, monkeypatch, most):
    whole = draw(model, batch=7)
    short = patched(monkeypatch, FastTransformer, "hidden", most=most)  # rows: two branches of guidance an image
    assert torch.equal(draw(model, batch=7), whole)
    assert 0 < short.largest <= most


def test_one_image_that_does_not_fit_through_the_network_is_a_clear_error(model, monkeypatch):
    before = draw(model)
    with monkeypatch.context() as patch:
        patched(patch, FastTransformer, "hidden", most=0)
        with pytest.raises(OutOfMemory, match="too small for one image, even in the smallest pieces"):
            draw(model, batch=3)
    assert torch.equal(draw(model), before)


def test_a_batch_that_does_not_fit_through_the_decoder_is_decoded_in_parts(model, monkeypatch):
    tokens = draw(model, batch=5)
    whole = model.vae.decode(tokens)
    short = patched(monkeypatch, VQGAN, "decode", most=2)
    torch.testing.assert_close(model.vae.decode(tokens), whole)
    assert short.largest == 2


def test_an_image_that_does_not_fit_whole_is_decoded_and_encoded_in_tiles(model, monkeypatch):
    whole_decode, whole_latents = VQGAN.decode, VQGAN.latents

    def small(image, side):
        if max(image.shape[-2:]) > side:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def decode(self, tokens_Bhw):
        small(tokens_Bhw, 40)
        return whole_decode(self, tokens_Bhw)

    def latents(self, image_BCHW):
        small(image_BCHW, 300)
        return whole_latents(self, image_BCHW)

    monkeypatch.setattr(VQGAN, "decode", decode)
    monkeypatch.setattr(VQGAN, "latents", latents)
    tokens = torch.randint(0, 11, (1, 1, 80, 90)).float()
    image = model.vae.decode(tokens)
    assert image.shape == (1, 320, 360, 3) and image.isfinite().all()
    assert model.vae.encode(image).shape == tokens.shape


def test_an_image_that_does_not_fit_in_the_smallest_tiles_is_a_clear_error(model, monkeypatch):
    tokens = draw(model)
    with monkeypatch.context() as patch:
        patched(patch, VQGAN, "decode", most=0)
        with pytest.raises(OutOfMemory, match="too small for this image"):
            model.vae.decode(tokens)
    assert model.vae.decode(tokens).isfinite().all()


def test_a_model_that_finds_no_room_on_the_device_is_loaded_after_the_others_have_left(model, monkeypatch):
    before = draw(model)
    load, left = management.load_models_gpu, []
    short = Short(lambda models, options: load(models, **options), times=1)
    monkeypatch.setattr(management, "unload_all_models", lambda: left.append("left"))
    monkeypatch.setattr(management, "load_models_gpu", lambda models, **options: short(models, options))
    assert torch.equal(draw(model), before)
    assert left == ["left"]
    short.times = 10**9
    with pytest.raises(OutOfMemory, match=r"too small for the model, 0.00 GB"):
        draw(model)


def test_a_file_that_finds_no_room_is_read_once_more_and_then_says_so(folder, tmp_path, monkeypatch):
    place = shutil.copytree(folder, tmp_path / "tiny")
    monkeypatch.setattr(loaders, "model_folders", lambda: {"tiny": place})
    read = loaders.checkpoints.load
    short = Short(lambda names, *rest: read(*names), times=1)
    monkeypatch.setattr(loaders.checkpoints, "load", lambda *arguments: short(arguments))
    assert draw(VQDiffusionLoader.execute("tiny", "float32")[0]).max() < 11
    short.times = 10**9
    with pytest.raises(OutOfMemory, match="too small for the model tiny"):
        VQDiffusionLoader.execute("tiny", "bfloat16")


# Interrupts


RUNS = {
    **{name: (name, {}, {}) for name in SAMPLERS},
    "rounds": ("ancestral", {"rounds": 2}, {}),
    "windows": ("ancestral", {}, {"width": 32, "height": 16}),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("step", range(STEPS + 1))
def test_a_run_can_be_interrupted_at_every_step_and_leaves_nothing_behind(model, step, run, monkeypatch):
    sampler, options, canvas = RUNS[run]
    model = model.with_options(**options)
    before, seen = draw(model, sampler=sampler, **canvas), []

    def hook(value, total, preview, node_id=None):
        seen.append(value)
        management.interrupt_current_processing(value == step)

    with monkeypatch.context() as patch:
        patch.setattr("comfy.utils.PROGRESS_BAR_HOOK", hook)
        patch.setattr("comfy.utils.PROGRESS_THROTTLE_MIN_INTERVAL", 0, raising=False)  # newer ones show ten a second
        if step < STEPS:
            with pytest.raises(management.InterruptProcessingException):
                draw(model, sampler=sampler, **canvas)
        else:  # after the last step the image is done; who asks next is stopped
            assert torch.equal(draw(model, sampler=sampler, **canvas), before)
            with pytest.raises(management.InterruptProcessingException):
                management.throw_exception_if_processing_interrupted()
    assert seen == list(range(step + 1)), "no step is begun and shown after the interrupt"
    assert torch.equal(draw(model, sampler=sampler, **canvas), before)


# Model files that change


def test_a_model_whose_files_are_replaced_while_it_is_loaded_goes_on_and_the_next_load_is_the_new_one(
    folder, tmp_path, monkeypatch
):
    """Files are replaced by a rename, as our own commands and every downloader do it."""
    place = shutil.copytree(folder, tmp_path / "tiny")
    monkeypatch.setattr(loaders, "model_folders", lambda: {"tiny": place})
    model, _, _ = VQDiffusionLoader.execute("tiny", "float32").args
    before = draw(model)
    weights = place / "transformer" / "diffusion_pytorch_model.safetensors"
    other = weights.with_suffix(".part")
    other.write_bytes(weights.read_bytes()[:-4000] + bytes(4000))
    other.replace(weights)
    assert torch.equal(draw(model), before)
    newer, _, _ = VQDiffusionLoader.execute("tiny", "float32").args
    assert newer is not model
    pairs = zip(newer.model.transformer.parameters(), model.model.transformer.parameters(), strict=True)
    assert not all(torch.equal(new, old) for new, old in pairs)


def test_two_loaders_of_one_model_share_it_and_models_take_turns(folder, model, tmp_path, monkeypatch):
    place = shutil.copytree(folder, tmp_path / "tiny")
    monkeypatch.setattr(loaders, "model_folders", lambda: {"tiny": place})
    one, other = (VQDiffusionLoader.execute("tiny", "float32")[0] for _ in range(2))
    assert one is other and one is not model
    expected = draw(model)
    for _ in range(2):
        assert torch.equal(draw(one), expected)
        management.unload_all_models()
        assert torch.equal(draw(model), expected)
