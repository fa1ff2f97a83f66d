"""What a node has left out or changed is said on the node, and in the log."""

import pytest
import torch
from pack.nodes import runtime
from pack.nodes.prompt import VQDiffusionTextEncode


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


def test_what_goes_to_other_text_encoders_beside_the_text_is_named(model, said):
    model.clip.tokenize("red", images=[torch.zeros(1, 4, 4, 3)], llama_template="{}", min_length=1, keyframes=[])
    assert said == ["images, llama_template not read: VQ-Diffusion's text encoder reads text alone."]


def test_a_program_finds_the_line_in_the_log(model, caplog):
    model.clip.tokenize("<lora:fur:1>")
    assert [record.levelname for record in caplog.records if "<lora:fur:1>" in record.message] == ["WARNING"]
