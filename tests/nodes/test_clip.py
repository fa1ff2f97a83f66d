"""The CLIP-like object, called as the core's nodes call it."""

import pytest
import torch
from pack.vqdiffusion_core.emphasis import weighted


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


# Prompt weights

WEIGHTED = [
    "a (red:1.3) cat",
    "((red)) cat",
    "(a (red) cat:2)",
    "(a (red:1.5) cat:0.8)",
    r"a cat \(red\)",
    "a (red cat",
    "(red:0) cat",
    "a big (red:-1) cat, (big:1.05)",
]


@pytest.mark.parametrize("text", WEIGHTED)
def test_a_prompt_is_weighted_as_the_core_reads_it(text):
    from comfy.sd1_clip import escape_important, token_weights, unescape_important

    def letters(pieces):
        return [(letter, pytest.approx(weight)) for piece, weight in pieces for letter in piece]

    core = [(unescape_important(piece), weight) for piece, weight in token_weights(escape_important(text), 1.0)]
    assert [(letter, weight) for piece, weight in weighted(text) for letter in piece] == letters(core)


def test_a_weight_of_one_is_no_weight_and_others_are_heard(model):
    plain, one, more, less = (model.clip.encode(text) for text in ("red", "(red:1.0)", "(red:1.4)", "(red:0.5)"))
    assert torch.equal(plain, one)
    assert not torch.equal(plain, more) and not torch.equal(more, less)


def test_the_token_that_is_weighted_moves_away_from_the_empty_prompt_as_in_the_core(model):
    empty, plain, more = (model.clip.encode(text)[0] for text in ("", "red red", "(red:1.5) red"))
    weights = [weight for _, weight in model.clip.tokenize("(red:1.5) red")["vq_diffusion"][0]]
    for at, weight in enumerate(weights):
        expected = empty[at] + weight * (plain[at] - empty[at]) if weight != 1 else plain[at]
        assert torch.allclose(more[at], expected, atol=1e-6)
    assert 1.5 in weights and set(weights) == {1.0, 1.5}
