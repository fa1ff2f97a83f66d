from dataclasses import replace

import comfy.model_management
import numpy as np
import pytest
import torch
from comfy.cli_args import LatentPreviewMethod, args
from pack.nodes import conditioning, latents
from pack.nodes.latents import LatentError
from pack.nodes.loaders import open_model
from pack.nodes.model import ManagedModel
from pack.nodes.prompt import VQDiffusionClassEncode, VQDiffusionTextEncode
from pack.nodes.sampling import VQDiffusionSampler
from pack.nodes.tokens import VQDiffusionEmptyTokens
from pack.tests.core import tiny
from pack.vqdiffusion_core.checkpoints import load, save
from pack.vqdiffusion_core.diffusion.matrix_schedule import MATRIX_KERNELS
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS
from pack.vqdiffusion_core.model import VQDiffusion
from pack.vqdiffusion_core.networks.inference import FastTransformer

MASK = 11


def prompt(model, text="red"):
    return VQDiffusionTextEncode.execute(model.clip, text)[0]


def canvas(model, batch=1):
    return VQDiffusionEmptyTokens.execute(model, batch)[0]


def draw(model, latent=None, positive=None, **changes):
    settings = {"seed": 0, "steps": 4, "guidance": 2.0, "truncation": 1.0, "sampler": "ancestral", "denoise": 1.0}
    latent = canvas(model) if latent is None else latent
    return VQDiffusionSampler.execute(model, positive or prompt(model), latent, **(settings | changes))[0]


def test_an_empty_canvas_is_filled(model):
    samples = draw(model)["samples"]
    assert samples.shape == (1, 1, 4, 4) and samples.max() < MASK


def test_image_i_of_a_batch_is_that_of_seed_plus_i_alone(model):
    batch = draw(model, canvas(model, 3), seed=5)["samples"]
    alone = [draw(model, seed=5 + i)["samples"] for i in range(3)]
    assert torch.equal(batch, torch.cat(alone))


def test_an_image_cut_from_a_batch_keeps_its_seed(model):
    cut = canvas(model) | {"batch_index": [2]}  # as LatentFromBatch leaves it
    assert torch.equal(draw(model, cut)["samples"], draw(model, canvas(model, 3))["samples"][2:])


@pytest.mark.parametrize("kind", [np.array, torch.tensor, tuple, lambda places: [np.int64(place) for place in places]])
def test_the_places_in_a_batch_may_be_whole_numbers_of_any_kind(model, kind):
    """Other packs' batch nodes leave those of numpy and torch, and their seed nodes give numpy's."""
    cut = canvas(model, 2) | {"batch_index": kind([2, 0])}
    assert torch.equal(
        draw(model, cut, seed=np.int64(3))["samples"], draw(model, canvas(model, 3), seed=3)["samples"][[2, 0]]
    )


@pytest.mark.parametrize("places", [[0, 1, 2], [0.5, 1], ["0", "1"], np.zeros(3, int)])
def test_places_that_do_not_fit_the_batch_are_refused(model, places):
    with pytest.raises(LatentError, match=r"2 images and the batch index .*; expected a whole number for each"):
        draw(model, canvas(model, 2) | {"batch_index": places})


def test_the_largest_seed_goes_on_from_zero(model):
    batch = draw(model, canvas(model, 2), seed=2**64 - 1)["samples"]
    assert torch.equal(batch[1:], draw(model, seed=0)["samples"])


def test_tokens_outside_the_region_come_out_as_they_went_in(model):
    image = draw(model)
    region = torch.zeros(16, 16)
    region[:8] = 1
    drawn = draw(model, image | {"noise_mask": region}, seed=9)["samples"]
    assert torch.equal(drawn[:, :, 2:], image["samples"][:, :, 2:])
    assert not torch.equal(drawn[:, :, :2], image["samples"][:, :, :2])


def test_images_of_a_batch_may_have_regions_of_different_size(model):
    images = draw(model, canvas(model, 3))
    regions = torch.zeros(3, 4, 4)
    regions[1, :1] = regions[2, :3] = 1
    batch = draw(model, images | {"noise_mask": regions}, seed=9)["samples"]
    for i in range(3):
        one = {"samples": images["samples"][i : i + 1], "noise_mask": regions[i : i + 1]}
        assert torch.equal(batch[i : i + 1], draw(model, one, seed=9 + i)["samples"])
    assert torch.equal(batch[0], images["samples"][0])


def test_denoise_zero_changes_nothing(model):
    image = draw(model)
    assert torch.equal(draw(model, image, denoise=0.0)["samples"], image["samples"])


def test_other_keys_of_the_latent_survive(model):
    region = torch.ones(1, 1, 4, 4)
    drawn = draw(model, canvas(model) | {"noise_mask": region, "note": "kept"})
    assert drawn["note"] == "kept" and drawn["noise_mask"] is region


def test_without_a_negative_the_learned_null_speaks(model):
    assert model.model.learned_null_1LD is not None
    null = conditioning.of_text(model.model.learned_null_1LD)
    assert torch.equal(draw(model)["samples"], draw(model, negative=null)["samples"])


def test_without_a_learned_null_the_empty_prompt_speaks(model):
    other = replace(model, model=replace(model.model, learned_null_1LD=None))
    assert torch.equal(draw(other)["samples"], draw(other, negative=prompt(other, ""))["samples"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_text_vectors_of_any_number_type_are_read_in_that_of_the_model(model, dtype):
    ((vectors, about),) = prompt(model)
    rounded = vectors.to(dtype)
    other, same = (draw(model, positive=[[v, about]], guidance=1.0) for v in (rounded, rounded.float()))
    assert torch.equal(other["samples"], same["samples"])


def test_a_prompt_of_twice_the_length_is_read(model):
    joined = conditioning.of_text(torch.cat([prompt(model)[0][0], prompt(model, "ed")[0][0]], 1))
    assert joined[0][0].shape[1] == 14  # as ConditioningConcat makes it
    assert draw(model, positive=joined)["samples"].max() < MASK


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_sixteen_bits_draws(folder, dtype):
    from pack.nodes.loaders import open_model

    model = open_model(folder, str(dtype).removeprefix("torch."))
    assert model.model.dtype == dtype and model.vae.first_stage_model.quant_conv.weight.dtype == torch.float32
    assert draw(model)["samples"].max() < MASK


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"truncation": 1.5}, "truncation is 1.5"),
        ({"denoise": float("inf")}, "denoise is inf"),
        ({"sampler": "euler"}, "sampler is 'euler'"),
    ],
)
def test_a_setting_without_a_meaning_is_refused(model, changes, words):
    with pytest.raises(ValueError, match=words):
        draw(model, **changes)


def test_latents_of_other_models_are_refused(model):
    with pytest.raises(LatentError, match="belongs to another kind of model"):
        draw(model, {"samples": torch.zeros(1, 4, 8, 8)})
    with pytest.raises(LatentError, match="4 x 3 tokens; this model draws 4 x 4 or more, an image of 16 x 16 pixels"):
        draw(model, {"samples": torch.zeros(1, 1, 3, 4)})


def previews_of_a_run(model, monkeypatch, method, size=512):
    """The images that a run of two steps shows, with the host's settings for them."""
    shown = []
    monkeypatch.setattr(args, "preview_method", method)
    monkeypatch.setattr(args, "preview_size", size)
    monkeypatch.setattr(
        "comfy.utils.PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: shown.append(preview)
    )
    for limit in ("INTERVAL", "PERCENT"):  # newer ComfyUIs leave out what follows soon
        monkeypatch.setattr(f"comfy.utils.PROGRESS_THROTTLE_MIN_{limit}", 0, raising=False)
    draw(model, steps=2)
    assert len(shown) == 3, "the progress bar goes on without images too"
    return shown


def test_no_image_is_shown_where_the_host_wants_none(model, monkeypatch):
    monkeypatch.setattr(type(model.vae), "preview_decoder", property(lambda vae: pytest.fail("made for nothing")))
    assert previews_of_a_run(model, monkeypatch, LatentPreviewMethod.NoPreviews) == [None] * 3


@pytest.mark.parametrize(
    "method", [LatentPreviewMethod.Auto, LatentPreviewMethod.Latent2RGB, LatentPreviewMethod.TAESD]
)
def test_every_other_method_shows_the_tokens_no_larger_than_the_host_wants(model, method, monkeypatch):
    assert [most for _, _, most in previews_of_a_run(model, monkeypatch, method, 100)] == [100] * 3
    assert [most for _, _, most in previews_of_a_run(model, monkeypatch, method, 512)] == [256] * 3


def test_each_step_shows_the_image_so_far_and_can_be_the_last(model, monkeypatch):
    shown = []
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Auto)

    def hook(value, total, preview, node_id=None):
        shown.append((value, total, preview[1]))
        comfy.model_management.interrupt_current_processing(value == 2)

    monkeypatch.setattr("comfy.utils.PROGRESS_BAR_HOOK", hook)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        draw(model)
    assert [(value, total) for value, total, _ in shown] == [(0, 4), (1, 4), (2, 4)]
    empty, half = (shown[i][2].getcolors(1 << 20) for i in (0, 2))
    assert len(empty) == 2 and max(max(colour) for _, colour in empty) < 70, "an empty canvas is not a dark checker"
    assert len(half) > 2, "nothing has been drawn after two steps of four"


@pytest.fixture(scope="module")
def class_model(model):
    spec = replace(tiny.SPEC, condition="class", class_rows=5)
    classes = VQDiffusion("classes", tiny.transformer(spec=spec), tiny.SCHEDULE, model.vae.first_stage_model)
    return ManagedModel.of(classes, model.folder)


def test_a_class_is_drawn_by_its_number(class_model):
    one, other = (VQDiffusionClassEncode.execute(class_model, label)[0] for label in ("1", " 2 "))
    plain = draw(class_model, positive=one, guidance=1.0)["samples"]
    assert plain.max() < MASK
    assert not torch.equal(plain, draw(class_model, positive=other, guidance=1.0)["samples"])
    assert draw(class_model, positive=one, negative=other)["samples"].max() < MASK


def test_without_a_negative_a_class_model_is_guided_away_from_its_null_class(class_model):
    one, null = (VQDiffusionClassEncode.execute(class_model, label)[0] for label in ("1", "4"))
    drawn = draw(class_model, positive=one)["samples"]
    assert torch.equal(drawn, draw(class_model, positive=one, negative=null)["samples"])
    assert not torch.equal(drawn, draw(class_model, positive=one, guidance=1.0)["samples"])


@pytest.mark.parametrize("label", ["5", "-1", "", "cat", "1.0", "²"])
def test_a_label_that_is_no_class_number_is_refused(class_model, label):
    with pytest.raises(ValueError, match=f"There is no class {label.strip()!r}; expected a number from 0 to 3"):
        VQDiffusionClassEncode.execute(class_model, label)


def test_text_and_class_models_name_each_others_node(model, class_model):
    with pytest.raises(ValueError, match=r"tiny does not draw classes\. Use VQ-Diffusion Text Encode"):
        VQDiffusionClassEncode.execute(model, "1")
    with pytest.raises(ValueError, match="Use VQ-Diffusion Class Encode"):
        VQDiffusionTextEncode.execute(class_model.clip, "red")


def test_a_canvas_that_is_partly_drawn_is_finished_and_the_rest_kept(model):
    image = draw(model)["samples"]
    half = image.clone()
    half[:, :, 2:] = MASK
    nothing = torch.zeros(1, 1, 4, 4)
    finished = draw(model, {"samples": half, "noise_mask": nothing})["samples"]
    assert torch.equal(finished[:, :, :2], image[:, :, :2]) and finished.max() < MASK
    assert latents.read_region({"samples": half}) is None


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("count", "expected"), [(16, [9, 7, 5, 3, 1]), (8, [4, 3, 2, 1, 0])])
def test_the_network_is_told_the_rows_that_it_was_trained_on(model, monkeypatch, sampler, count, expected):
    """For a whole image those of the chain, for half of one those of half as many masked tokens."""
    told, hidden = [], FastTransformer.hidden

    def heard(self, x_BN, index_B, *rest):
        told.append(index_B[0].item())
        return hidden(self, x_BN, index_B, *rest)

    image = draw(model)
    monkeypatch.setattr(FastTransformer, "hidden", heard)
    region = (torch.arange(16) < count).float().view(1, 4, 4)
    draw(model, image | {"noise_mask": region}, steps=5, sampler=sampler)
    left = iter(expected)
    assert told[0] == expected[0] and all(row in left for row in told), "a step that draws nothing does not ask"


@pytest.fixture(scope="module", params=MATRIX_KERNELS)
def by_matrix(request, folder, tmp_path_factory):
    """The model with a kernel that moves tokens to codes near them."""
    changed = load(folder, "float32")
    codes_KD = changed.vqgan.quantize.embedding.weight.detach()
    changed.schedule = MATRIX_KERNELS[request.param](changed.schedule.num_timesteps, codes_KD)
    place = tmp_path_factory.mktemp("models") / request.param
    save(changed, place)
    return open_model(place, "float32")


def test_a_kernel_that_is_a_matrix_draws_variations_keeps_what_is_not_marked_and_knows_its_sampler(by_matrix):
    batch = draw(by_matrix, canvas(by_matrix, 2), seed=3)
    assert batch["samples"].max() < MASK
    assert torch.equal(batch["samples"], torch.cat([draw(by_matrix, seed=3 + i)["samples"] for i in range(2)]))
    image = {"samples": batch["samples"][:1]}
    kept, varied, new = (draw(by_matrix, image, seed=9, denoise=amount)["samples"] for amount in (0.0, 0.3, 1.0))
    assert torch.equal(kept, image["samples"])
    assert not torch.equal(varied, kept) and not torch.equal(varied, new)
    marked = torch.zeros(1, 4, 4)
    marked[:, :2] = 1
    painted = draw(by_matrix, image | {"noise_mask": marked}, seed=9)["samples"]
    assert torch.equal(painted[:, :, 2:], image["samples"][:, :, 2:]) and not torch.equal(painted, image["samples"])
    with pytest.raises(ValueError, match="ancestral"):
        draw(by_matrix, sampler="confidence")
