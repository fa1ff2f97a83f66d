"""Under every memory setting of ComfyUI the nodes draw on a graphics card, and what lies there is not sent again."""

import comfy.model_management as management
import pytest
import torch
from pack.nodes import host_layers, runtime
from pack.nodes.inpainting import VQDiffusionTokenMask
from pack.nodes.inspector import VIEWS, VQDiffusionTokenInspector
from pack.nodes.loaders import open_model
from pack.nodes.prompt import VQDiffusionClassEncode, VQDiffusionTextEncode
from pack.nodes.sampling import VQDiffusionSampler
from pack.nodes.tokens import VQDiffusionDecode, VQDiffusionEmptyTokens, VQDiffusionEncode
from pack.tests.core.tiny_originals import two_stages_folder
from pack.tests.nodes.graphics_card import FLAGS, graphics_card

GREY_LEVEL = 1 / 255
RESIDENT = [flag for flag in FLAGS if flag not in ("--novram", "--disable-smart-memory")]


def draw(model):
    """A run of two images of a weighted prompt, decoded."""
    (prompt,) = VQDiffusionTextEncode.execute(model.clip, "a (red:1.3) fox").args
    (canvas,) = VQDiffusionEmptyTokens.execute(model, 2).args
    (latent,) = VQDiffusionSampler.execute(model, prompt, canvas, 0, 3, 2.0, 0.9, "confidence", 1.0).args
    return latent, VQDiffusionDecode.execute(latent, model.vae).args[0]


def draw_and_edit(model):
    """Every image that the nodes make of a run, and its tokens once more from its image."""
    latent, image = draw(model)
    (again,) = VQDiffusionEncode.execute(image, model.vae).args
    marked, region = VQDiffusionTokenMask.execute(latent, 1, None, model.vae, "4x4: 1-2,1-2", 1).args
    views = [VQDiffusionTokenInspector.execute(latent, model.vae, show).args[0] for show in VIEWS]
    hidden = VQDiffusionTokenInspector.execute(marked | {"samples": again["samples"]}, model.vae).args[0]
    return [value.cpu() for value in (image, again["samples"], region, *views, hidden)]


def parts(model):
    return model.patcher, model.clip.patcher, model.vae.patcher


def size_on_card(model):
    return sum(patcher.model_size() for patcher in parts(model) if patcher.load_device.type == "cuda")


@pytest.fixture(scope="module")
def on_the_cpu(model):
    with torch.inference_mode():
        return draw_and_edit(model)


def assert_same(values, expected):
    for value, wanted in zip(values, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=GREY_LEVEL)


@pytest.mark.parametrize("flag", FLAGS)
def test_all_nodes_give_what_they_give_on_a_cpu(folder, on_the_cpu, flag):
    with graphics_card(flag):
        model = open_model(folder, "float32")
        assert_same(draw_and_edit(model), on_the_cpu)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_model_that_draws_token_by_token_gives_what_it_gives_on_a_cpu(tmp_path, flag):
    def image():
        model = open_model(folder, "float32")
        (nothing,) = VQDiffusionClassEncode.execute(model, "").args
        (canvas,) = VQDiffusionEmptyTokens.execute(model, 2).args
        latent = VQDiffusionSampler.execute(model, nothing, canvas, 0, 16, 1.0, 0.9, "autoregressive", 1.0).args[0]
        return VQDiffusionDecode.execute(latent, model.vae).args[0].cpu()

    folder = two_stages_folder(tmp_path / "faces")
    with graphics_card(flag):
        on_card = image()
    assert_same([on_card], [image()])


@pytest.mark.parametrize("flag", RESIDENT)
def test_a_model_is_sent_once_and_a_second_image_sends_no_weight(folder, flag):
    with graphics_card(flag) as card:
        model = open_model(folder, "float32")
        draw(model)
        first, card.sent = card.sent, 0
        draw(model)
        assert size_on_card(model) <= first - card.sent <= 1.01 * size_on_card(model)


def test_without_room_for_weights_each_is_sent_when_its_layer_is_called(folder):
    with graphics_card("--novram") as card:
        model = open_model(folder, "float32")
        draw(model)
        assert card.used < 0.05 * size_on_card(model) and card.sent > size_on_card(model)


def test_without_smart_memory_a_second_image_sends_what_another_part_has_pushed_out(folder):
    with graphics_card("--disable-smart-memory") as card:
        model = open_model(folder, "float32")
        draw(model)
        card.sent = 0
        draw(model)
        assert card.sent >= 0.9 * model.patcher.model_size()


def test_forced_16_bits_are_the_transformers_and_codes_stay_exact(folder):
    with graphics_card("--force-fp16"):
        model = open_model(folder, "auto")
        draw(model)
        assert model.model.transformer.dtype is torch.float16
        assert {weight.dtype for weight in model.vae.first_stage_model.parameters()} == {torch.float32}


@pytest.mark.parametrize("flag", ["", "--lowvram"])
def test_a_model_that_fits_in_part_draws_the_same_image(folder, on_the_cpu, flag):
    with graphics_card(flag) as card:
        model = open_model(folder, "float32")
        size = model.patcher.model_size()
        card.total = management.minimum_inference_memory() + 0.75 * size
        runtime.load(model.patcher)
        assert 0 < model.patcher.loaded_size() < size
        torch.testing.assert_close(draw(model)[1], on_the_cpu[0], rtol=0, atol=GREY_LEVEL)


def test_what_another_model_has_pushed_out_comes_back(folder, on_the_cpu):
    with graphics_card():
        model = open_model(folder, "float32")
        draw(model)
        for loaded in list(management.current_loaded_models):
            loaded.model_unload(loaded.model_memory() // 2)  # as the host makes room for another
        assert_same(draw_and_edit(model), on_the_cpu)
        management.unload_all_models()
        assert_same(draw_and_edit(model), on_the_cpu)


def test_every_weight_is_one_that_the_host_can_send_by_itself(folder):
    """Else newer hosts, which manage memory by layers, send it anew at every node."""
    with graphics_card():
        for patcher in parts(open_model(folder, "float32")):
            for name, module in patcher.model.named_modules():
                if list(module.parameters(recurse=False)):
                    assert hasattr(module, "comfy_cast_weights"), name
                    assert not list(module.children()), name


def test_attention_is_what_the_host_is_set_to(folder, monkeypatch):
    calls = []
    chosen = host_layers.optimized_attention
    monkeypatch.setattr(host_layers, "optimized_attention", lambda *qkv, **how: calls.append(1) or chosen(*qkv, **how))
    with graphics_card():
        model = open_model(folder, "float32")
        draw(model)
    assert len(calls) == 3 * 2 * model.spec.layers  # steps, self and text


def test_on_a_cpu_layers_are_the_cores_own_which_are_faster_there(model, folder):
    assert not any(hasattr(module, "comfy_cast_weights") for module in model.model.transformer.modules())
    with graphics_card("--cpu-vae"):
        vae = open_model(folder, "float32").vae
        assert not any(hasattr(module, "comfy_cast_weights") for module in vae.first_stage_model.modules())
