"""The CLIP-like object, called as the core's nodes call it."""

import pytest
import torch


def encode(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def test_a_prompt_becomes_the_text_encoders_vectors(model):
    ((vectors, extra),) = encode(model.clip, "red")
    assert torch.equal(vectors, model.clip.cond_stage_model.encode(["red"]))
    assert vectors.shape == (1, 7, 24) and extra == {}


def test_what_a_node_adds_is_kept_beside_the_vectors(model):
    ((_, extra),) = model.clip.encode_from_tokens_scheduled(model.clip.tokenize("red"), add_dict={"guidance": 2.0})
    assert extra == {"guidance": 2.0}


def test_the_other_ways_to_encode_give_the_same_vectors(model):
    tokens = model.clip.tokenize("red")
    ((vectors, _),) = encode(model.clip, "red")
    assert torch.equal(model.clip.encode_from_tokens(tokens), vectors)
    assert torch.equal(model.clip.encode_from_tokens(tokens, return_pooled=True)[0], vectors)
    assert torch.equal(model.clip.encode_from_tokens(tokens, return_dict=True)["cond"], vectors)
    assert torch.equal(model.clip.encode("red"), vectors)


def test_a_clone_shares_the_weights(model):
    clone = model.clip.clone()
    assert clone.patcher is not model.clip.patcher and clone.cond_stage_model is model.clip.cond_stage_model
    assert torch.equal(clone.encode("red"), model.clip.encode("red"))


def test_only_the_last_layer_can_be_chosen(model):
    clone = model.clip.clone()
    clone.clip_layer(-1)
    with pytest.raises(ValueError, match="stop_at_clip_layer is -2"):
        clone.clip_layer(-2)


def test_ten_thousand_letters_are_cut_to_the_models_length(model):
    ((long, _),) = encode(model.clip, "red " * 2500)
    ((cut, _),) = encode(model.clip, "red " * 5)
    assert torch.equal(long, cut)
