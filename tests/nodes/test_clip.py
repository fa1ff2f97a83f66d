"""The CLIP-like object, called as the core's nodes call it."""

import pytest
import torch
from pack.nodes.clip import TextEncodeError
from pack.nodes.prompt import VQDiffusionTextEncode
from pack.vqdiffusion_core.networks.prompt_weights import parse_weights


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


# Text encode nodes of the core and of other packs

OTHERS = {  # as each of the core's nodes asks
    "CLIPTextEncodeSDXL": ("g", lambda clip: len(clip.tokenize("red")["l"]) != len(clip.tokenize("red")["g"])),
    "CLIPTextEncodeFlux": ("t5xxl", lambda clip: clip.tokenize("red")["t5xxl"]),
    "CLIPTextEncodeHunyuanDiT": ("mt5xl", lambda clip: clip.tokenize("red")["mt5xl"]),
    "CLIPTextEncodeHiDream": ("llama", lambda clip: clip.tokenize("red")["llama"]),
    "Kandinsky5": ("qwen25_7b", lambda clip: clip.tokenize("red")["qwen25_7b"]),
}


@pytest.mark.parametrize("node", OTHERS)
def test_a_node_for_models_with_another_text_encoder_is_told_which_node_to_use(model, node):
    encoder, ask = OTHERS[node]
    with pytest.raises(
        TextEncodeError, match=rf"'{encoder}'.*Use CLIP Text Encode \(Prompt\) or VQ-Diffusion Text Enc"
    ):
        ask(model.clip)


def test_the_cores_own_nodes_end_in_that_error_too(model):
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL
    from comfy_extras.nodes_flux import CLIPTextEncodeFlux
    from comfy_extras.nodes_sd3 import CLIPTextEncodeSD3

    sizes = dict.fromkeys(("width", "height", "crop_w", "crop_h", "target_width", "target_height"), 64)
    with pytest.raises(TextEncodeError, match="'g'"):
        CLIPTextEncodeSDXL.execute(model.clip, **sizes, text_g="red", text_l="red")
    with pytest.raises(TextEncodeError, match="'t5xxl'"):
        CLIPTextEncodeFlux.execute(model.clip, "red", "red", 3.5)
    for texts in (("red", "", ""), ("red", "red", "red"), ("", "", "")):
        with pytest.raises(TextEncodeError, match="Use CLIP Text Encode"):
            CLIPTextEncodeSD3.execute(model.clip, *texts, "none")


def test_nodes_that_only_add_something_encode_as_clip_text_encode_does(model):
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXLRefiner
    from comfy_extras.nodes_pixart import CLIPTextEncodePixArtAlpha

    for node, inputs in (
        (CLIPTextEncodeSDXLRefiner, (6.0, 64, 64, "red")),
        (CLIPTextEncodePixArtAlpha, (64, 64, "red")),
    ):
        named = dict(zip(("ascore",) * (len(inputs) == 4) + ("width", "height", "text"), inputs, strict=True))
        ((vectors, _),) = node.execute(clip=model.clip, **named)[0]
        assert torch.equal(vectors, model.clip.encode("red"))


def test_an_encoder_that_weights_words_by_itself_finds_ids_weights_and_words_under_l(model):
    (tokens,) = model.clip.tokenize("red (cat:1.5)", return_word_ids=True)["l"]
    words = [word for _, _, word in tokens]
    first, second = ([i for i, word in enumerate(words) if word == n] for n in (1, 2))
    assert first and second and words[0] == words[-1] == 0 and {*words} == {0, 1, 2}
    assert {tokens[i][1] for i in second} == {1.5}
    doubled = [(i, 2.0 if word == 1 else 1.0) for i, _, word in tokens]
    assert torch.equal(model.clip.encode_from_tokens({"l": [doubled]}), model.clip.encode("(red:2) cat"))


def test_a_prompt_in_pieces_becomes_one_long_text_as_in_the_core(model):
    pieces = model.clip.tokenize("red")
    pieces["l"] += model.clip.tokenize("cat")["l"]
    long = model.clip.encode_from_tokens(pieces)
    apart = torch.cat([model.clip.encode("red"), model.clip.encode("cat")], dim=1)
    torch.testing.assert_close(long, apart, atol=1e-5, rtol=0)  # two at once round otherwise on some CPUs


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ({"g": [[(0, 1.0)] * 7], "l": [[(0, 1.0)] * 7]}, "other models' text encoders, g"),
        ({"l": [[(0, 1.0)] * 77]}, "as 77 tokens"),
        ({"l": [[(49407, 1.0)] * 7]}, "ids below"),
        ({"l": [[(torch.zeros(24), 1.0)] * 7]}, "ids below"),
        ({"l": []}, "taken all tokens out"),
    ],
    ids=["encoders", "length", "vocabulary", "vectors", "none"],
)
def test_tokens_that_another_encoder_has_made_are_refused(model, tokens, words):
    with pytest.raises(TextEncodeError, match=f"{words}.*Use CLIP Text Encode"):
        model.clip.encode_from_tokens_scheduled(tokens)


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
    assert [(letter, weight) for piece, weight in parse_weights(text) for letter in piece] == letters(core)


def test_a_weight_of_one_is_no_weight_and_others_are_heard(model):
    plain, one, more, less = (model.clip.encode(text) for text in ("red", "(red:1.0)", "(red:1.4)", "(red:0.5)"))
    assert torch.equal(plain, one)
    assert not torch.equal(plain, more) and not torch.equal(more, less)


def test_the_token_that_is_weighted_moves_away_from_the_empty_prompt_as_in_the_core(model):
    empty, plain, more = (model.clip.encode(text)[0] for text in ("", "red red", "(red:1.5) red"))
    weights = [weight for _, weight in model.clip.tokenize("(red:1.5) red")["l"][0]]
    for at, weight in enumerate(weights):
        expected = empty[at] + weight * (plain[at] - empty[at]) if weight != 1 else plain[at]
        assert torch.allclose(more[at], expected, atol=1e-6)
    assert 1.5 in weights and set(weights) == {1.0, 1.5}


@pytest.mark.parametrize("text", [None, 5, ["a fox"]])
def test_what_is_no_text_is_refused_by_our_node_and_by_the_cores(model, text):
    """Prompts from other nodes, which may have nothing to say."""
    for way in (VQDiffusionTextEncode.execute, encode):
        with pytest.raises(ValueError, match=r"text is .*; expected a prompt\. The node that writes it"):
            way(model.clip, text)
