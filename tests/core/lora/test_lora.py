"""LoRAs are added to a model by their strengths, read strictly by name, and refused where they do not fit."""

import json
from copy import deepcopy

import pytest
import torch
from pack.tests.core import tiny_lora as tiny
from pack.vqdiffusion_core import apply_loras, read_lora
from pack.vqdiffusion_core.checkpoints import CheckpointError
from pack.vqdiffusion_core.lora import write_lora
from pack.vqdiffusion_core.lora.file import to_tensors
from pack.vqdiffusion_core.notices import notices_to
from safetensors import safe_open
from safetensors.torch import save_file


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(base):
    return deepcopy(base)


def weights(model):
    named = {**model.transformer.state_dict(), **model.text_encoder.state_dict(), "null": model.learned_null_1LD}
    return {name: weight.clone() for name, weight in named.items()}


def test_a_layer_gains_b_times_a_by_the_strength(model):
    before, lora = weights(model), tiny.lora(model)
    after = weights(apply_loras(model, [(lora, 0.5)]))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    token = next(name for name in before if name.endswith("token_embedding.weight"))
    assert changed == {f"{layer}.weight" for layer in lora.pairs} | {token, "null"}
    for layer, (A, B) in lora.pairs.items():
        torch.testing.assert_close(after[f"{layer}.weight"], before[f"{layer}.weight"] + 0.5 * B @ A)
    for i, vector in lora.tokens.items():
        torch.testing.assert_close(after[token][i], before[token][i] + 0.5 * vector)
    torch.testing.assert_close(after["null"], before["null"] + 0.5 * lora.null_1LD)


def test_strength_0_is_the_model_to_the_bit(model):
    before = weights(model)
    after = weights(apply_loras(model, [(tiny.lora(model), 0.0), (tiny.lora(model, seed=1), 0.0)]))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_any_number_are_added_up_and_a_negative_strength_takes_away(base):
    first, second = tiny.lora(base), tiny.lora(base, seed=1)
    together = weights(apply_loras(deepcopy(base), [(first, 0.8), (second, -0.3)]))
    in_turn = weights(apply_loras(apply_loras(deepcopy(base), [(second, -0.3)]), [(first, 0.8)]))
    back = weights(apply_loras(deepcopy(base), [(first, 1.0), (first, -1.0)]))
    for name, weight in weights(base).items():
        torch.testing.assert_close(together[name], in_turn[name])
        torch.testing.assert_close(back[name], weight)


def test_a_model_that_is_ready_for_drawing_takes_a_lora_and_draws_the_same(base):
    lora = tiny.lora(base, size=0.5)
    first = apply_loras(deepcopy(base), [(lora, 1.0)]).prepare_for_inference()
    later = apply_loras(deepcopy(base).prepare_for_inference(), [(lora, 1.0)])
    images = [tiny.drawn(model) for model in (deepcopy(base), first, later)]
    assert images[0] != images[1] == images[2]


def test_a_file_is_peft_s_and_comes_back_whole(model, tmp_path):
    lora, path = tiny.lora(model), tmp_path / "pim.safetensors"
    write_lora(lora, path)
    read = read_lora(path)
    assert read.about == lora.about
    ours, theirs = to_tensors(lora), to_tensors(read)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    with safe_open(path, "pt") as file:
        assert "base_model.model.transformer.blocks.0.attn1.query.lora_A.weight" in file.keys()
        assert file.metadata()["rank"] == "2" and json.loads(file.metadata()["words"]) == ["pim"]
    before = path.read_bytes()
    write_lora(read, path)
    assert path.read_bytes() == before, "the same LoRA, the same bytes"


def test_what_peft_wrote_is_weighed_by_its_alpha(model, tmp_path):
    lora = tiny.lora(model)
    layers = {name: tensor for name, tensor in to_tensors(lora).items() if "lora_" in name}
    save_file(layers, tmp_path / "plain.safetensors")
    save_file(layers, tmp_path / "alpha.safetensors", {"lora_alpha": "4"})
    plain, alpha = (read_lora(tmp_path / f"{name}.safetensors") for name in ("plain", "alpha"))
    for layer, (_, B) in lora.pairs.items():
        assert torch.equal(plain.pairs[layer][1], B) and torch.equal(alpha.pairs[layer][1], 2 * B)


def test_a_lora_of_another_shape_is_refused_with_what_fits_and_changes_nothing(model, tmp_path):
    other = tiny.lora(tiny.model(tmp_path, width=24))
    before = weights(model)
    with pytest.raises(
        CheckpointError, match=r"another model than .*: blocks\.0.*taught on .*2 layers x 24.*2 layers x 16"
    ):
        apply_loras(model, [(tiny.lora(model), 1.0), (other, 0.0)])
    assert all(torch.equal(before[name], weight) for name, weight in weights(model).items())


def test_a_lora_of_a_model_of_the_same_shape_is_used_and_said(model, tmp_path):
    heard = []
    with notices_to(heard.append):
        apply_loras(model, [(tiny.lora(model), 1.0)])
        assert not heard
        apply_loras(model, [(tiny.lora(tiny.model(tmp_path, seed=2)), 1.0)])
    assert len(heard) == 1 and "taught on another model" in heard[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_sixteen_bits_is_still_the_model(dtype, model):
    heard, lora = [], tiny.lora(model)
    model.transformer.to(dtype)
    with notices_to(heard.append):
        apply_loras(model, [(lora, 1.0)])
    assert not heard and model.transformer.blocks[0].attn1.query.weight.dtype == dtype


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(strength, model):
    with pytest.raises(ValueError, match=r"expected a number such as 0\.8"):
        apply_loras(model, [(tiny.lora(model), strength)])


def tensors_of(name, change):
    def made(model):
        tensors = to_tensors(tiny.lora(model))
        change(tensors)
        return tensors

    return pytest.param(made, id=name)


@pytest.mark.parametrize(
    "made",
    [
        tensors_of("a stranger's name", lambda tensors: tensors.update(junk=torch.zeros(2))),
        tensors_of("half a pair", lambda tensors: tensors.pop(next(n for n in tensors if n.endswith("lora_A.weight")))),
        tensors_of(
            "two ranks",
            lambda tensors: tensors.update(
                {"base_model.model.transformer.blocks.0.attn1.key.lora_A.weight": torch.zeros(3, 16)}
            ),
        ),
        tensors_of("nothing", lambda tensors: tensors.clear()),
    ],
)
def test_a_file_of_other_names_is_refused(made, model, tmp_path):
    path = tmp_path / "bad.safetensors"
    save_file(made(model), path)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors is no LoRA of a VQ-Diffusion model"):
        read_lora(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"<!DOCTYPE html>" + b" " * 100])
def test_a_file_of_another_kind_is_refused_unread(content, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        read_lora(path)


def test_a_header_that_lies_changes_words_alone(model, tmp_path):
    path = tmp_path / "odd.safetensors"
    lies = {"words": "[[[", "recipe": "7", "lora_alpha": "nan", "base_model": "\x1b[2J" * 99, "rank": "-1"}
    save_file(to_tensors(tiny.lora(model)), path, lies)
    read = read_lora(path)
    assert read.about.rank == 2 and read.about.words == () and "\x1b" not in read.about.base
    assert all(B.isfinite().all() for _, B in read.pairs.values())
