"""What a node has left out or changed is said on the node, and in the log."""

import pytest
import torch
from pack.nodes import runtime
from pack.nodes.inspector import VQDiffusionTokenInspector
from pack.nodes.prompt import VQDiffusionTextEncode
from pack.nodes.sampling import VQDiffusionSampler
from pack.nodes.tokens import VQDiffusionEmptyTokens, VQDiffusionEncode


@pytest.fixture
def said(monkeypatch):
    """The lines that a user gets to see."""
    lines = []
    monkeypatch.setattr(runtime, "show_notice", lines.append)
    return lines


def test_words_beyond_the_models_length_are_named_wherever_a_prompt_is_encoded(model, said):
    def core(clip, text):
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    text = "red red red red blue, sky"
    for encode in (VQDiffusionTextEncode.execute, core):
        said.clear()
        encode(model.clip, text)
        (line,) = said
        assert "this model reads 5" in line and "sky" in line and "left out" in line


def test_a_prompt_that_fits_says_nothing(model, said):
    VQDiffusionTextEncode.execute(model.clip, "(red:1.2) sky")
    assert said == []


def test_words_that_the_captions_never_had_are_named_once_wherever_a_prompt_is_encoded(model, said, monkeypatch):
    monkeypatch.setattr(model.clip.cond_stage_model, "known_words", frozenset({"red", "sky"}))

    def core(clip, text):
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    for encode in (VQDiffusionTextEncode.execute, core):
        said.clear()
        encode(model.clip, "Red (SKIES:1.2), zebra zebra 2")
        (line,) = [line for line in said if "does not know" in line]
        assert line.startswith('This model does not know "skies", "zebra": the captions')


def test_what_goes_to_other_text_encoders_beside_the_text_is_named(model, said):
    model.clip.tokenize("red", images=[torch.zeros(1, 4, 4, 3)], llama_template="{}", min_length=1, keyframes=[])
    assert said == ["images, llama_template not read: VQ-Diffusion's text encoder reads text alone."]


def test_a_program_finds_the_line_in_the_log(model, caplog):
    model.clip.tokenize("<lora:fur:1>")
    assert [record.levelname for record in caplog.records if "<lora:fur:1>" in record.message] == ["WARNING"]


# What a run does not heed


def draw(model, latent=None, options=None, extra=None, **changes):
    ((vectors, about),) = VQDiffusionTextEncode.execute(model.clip, "red")[0]
    settings = {"seed": 0, "steps": 2, "guidance": 2.0, "truncation": 1.0, "sampler": "ancestral", "denoise": 1.0}
    latent = latent or VQDiffusionEmptyTokens.execute(model, 1)[0]
    positive = [[vectors, about | (extra or {})]]
    model = model.with_options(**(options or {}))
    return VQDiffusionSampler.execute(model, positive, latent, **(settings | changes))[0]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"guidance": 1.0, "negative": [[torch.zeros(1, 7, 24), {}]]}, "the negative prompt is not heard"),
        ({"guidance": 0.0}, "the prompt is not heard"),
        ({"denoise": 0.0}, "nothing but masked tokens is drawn"),
        ({"options": {"luck": 1.0}}, "luck is 1.0, which has no effect on the sampler ancestral, but on confidence"),
        ({"options": {"remask_strength": 0.7}, "sampler": "purity"}, "no effect on the sampler purity, but on remask"),
        ({"extra": {"reference_latents": [torch.zeros(1, 4, 8, 8)]}}, "positive carries reference images"),
        ({"extra": {"hooks": object()}}, "positive carries hooks"),
        ({"extra": {"mask": torch.ones(3, 8, 8)}}, "positive has 3 masks for 1 images"),
    ],
)
def test_what_has_no_effect_on_a_run_is_said_in_one_line(model, said, run, words):
    draw(model, **run)
    (line,) = said
    assert words in line


@pytest.mark.parametrize(
    "run",
    [
        {},
        {"negative": [[torch.zeros(1, 7, 24), {}]]},
        {"guidance": 1.0},
        {"denoise": 0.5},
        {"options": {"luck": 1.0}, "sampler": "confidence"},
        {"options": {"remask": "rescale", "remask_strength": 0.1}},
        {"options": {"remask": "cap", "remask_strength": 0.5}, "sampler": "remask"},
        {"extra": {"mask": torch.ones(8, 8), "strength": 0.5, "pooled_output": None, "width": 64}},
    ],
)
def test_a_run_that_heeds_all_says_nothing(model, said, run):
    draw(model, **run)
    assert said == []


def test_masks_without_an_image_are_counted(model, said):
    latent = VQDiffusionEmptyTokens.execute(model, 1)[0]
    draw(model, latent | {"noise_mask": torch.ones(2, 4, 4)})
    assert said == ["There are 2 masks for 1 images; the last ones are left out."]


def test_an_image_that_is_cut_to_whole_tokens_is_told_by_its_sizes(model, said):
    image = torch.zeros(1, 17, 22, 3)
    for encode in (lambda: VQDiffusionEncode.execute(image, model.vae), lambda: model.vae.encode(image)):
        said.clear()
        encode()
        assert said == ["The image of 22 x 17 pixels is cut around its middle to 20 x 16, whole tokens."]
    VQDiffusionEncode.execute(image[:, :16, :20], model.vae)
    assert len(said) == 1


def test_a_canvas_of_whole_tokens_is_told_by_its_size(model, said):
    VQDiffusionEmptyTokens.execute(model, 1, 18, 16)
    assert said == ["width and height are 18 and 16 pixels; the canvas has 16 x 16, whole tokens."]


def test_a_history_that_leaves_steps_out_says_so(model, said, monkeypatch):
    monkeypatch.setattr("pack.nodes.inspector.MOST_FRAMES", 2)
    monkeypatch.setattr("comfy_api.latest.ui.PreviewImage.__init__", lambda preview, images, cls: None)
    monkeypatch.setattr("comfy_api.latest.ui.PreviewImage.as_dict", lambda preview: {"images": []})
    VQDiffusionTokenInspector.execute(draw(model), model.vae, "history")
    assert said == ["The run has 3 states; 2 of them are shown."]
