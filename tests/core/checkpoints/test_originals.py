"""The authors' files load, whatever they are called, and our modules agree with the original classes' numbers.

originals.json was made once by running the classes of microsoft/VQ-Diffusion (commit d1d3948) on a CPU, with the
weights of tiny_originals.py by name (their state dicts had exactly these names and shapes), GELU2, 16 heads, and the
inputs that the tests below build. Log-probabilities are those of `DiffusionTransformer.transformer`, log-softmaxed in
float64; those of models without text are kept at the positions WHERE. Codes come from `only_get_indices` (ITHQ), the
argmax of `quantize.proj` (Gumbel; the original draws at random) and VectorQuantizer2; images from
get_codebook_entry, the decoder and a clamp. Text vectors are those of clip.model.Transformer and ln_final in float32,
every 16th number. Those of `gpt` are of CompVis/taming-transformers' GPT (commit 3ba01b2), whose state dict likewise
had exactly these names and shapes, after its start token or a class.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import key_maps, load, original_codec, save
from pack.vqdiffusion_core.checkpoints.rename import rename
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from torch import nn

from .. import tiny_originals as tiny

GOLDEN = json.loads(Path(__file__).with_name("originals.json").read_text())
WHERE = [0, 17, 100, 255]
PIXELS = [(0, 0, 0), (1, 5, 60), (2, 33, 31), (0, 63, 63), (1, 40, 7), (2, 12, 50)]


@pytest.fixture(scope="module")
def ithq(tmp_path_factory):
    return load(tiny.ithq_folder(tmp_path_factory.mktemp("ithq")))


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return load(tiny.coco_folder(tmp_path_factory.mktemp("coco")))


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    return load(tiny.imagenet_folder(tmp_path_factory.mktemp("imagenet")))


@pytest.fixture(scope="module")
def ffhq(tmp_path_factory):
    return load(tiny.ffhq_folder(tmp_path_factory.mktemp("ffhq")))


@pytest.fixture(scope="module")
def token_by_token(tmp_path_factory):
    """Of taming-transformers' file alone, in which the VQGAN lies too."""
    return load(tiny.two_stages_folder(tmp_path_factory.mktemp("faces")))


def assert_golden(ours: torch.Tensor, golden: list[float]) -> None:
    torch.testing.assert_close(ours.flatten(), torch.tensor(golden), atol=1e-5, rtol=1e-6)


def log_p(model, t, condition, batch=1):
    """Log-probabilities (B, K, N) of a token grid that has every id in it."""
    spec = model.transformer.spec
    x_BN = (torch.arange(batch * spec.num_tokens) * 7919 % (spec.codebook_size + 1)).reshape(batch, -1)
    return model.transformer(x_BN, torch.tensor([t]), condition).log_softmax(-1).transpose(1, 2)


# Numbers


@pytest.mark.parametrize("t", [0, 5, 9])
def test_the_text_transformer_agrees_with_the_original(ithq, t):
    text_BLD = tiny.value("text", (2, tiny.CLIP.length, tiny.TEXT.text_width), 1.0)
    assert_golden(log_p(ithq, t, ithq.transformer.precompute_kv(text_BLD), batch=2), GOLDEN["text"][str(t)])


@pytest.mark.parametrize(("t", "label"), [(0, 0), (9, 3), (5, 5)])
def test_the_class_transformer_agrees_with_the_original(imagenet, t, label):
    """Label 5 is one after the last class, for which the original takes the mean of all; the 16 x 16 grid reads the
    first 256 of 32 x 32 positions.
    """
    ours = log_p(imagenet, t, torch.tensor([label]))[..., WHERE]
    assert_golden(ours, GOLDEN["class"][f"{t} {label}"])


@pytest.mark.parametrize("t", [0, 9])
def test_the_unconditional_transformer_agrees_with_the_original(ffhq, t):
    assert_golden(log_p(ffhq, t, None)[..., WHERE], GOLDEN["none"][str(t)])


@pytest.mark.parametrize("first", [0, 5])
def test_the_autoregressive_transformer_agrees_with_the_original(token_by_token, first):
    x_BN = (torch.arange(32) * 7919 % tiny.FULL_K).reshape(2, -1)
    network = token_by_token.transformer
    ours_BNK = network(x_BN, None if first == 0 else torch.tensor([first]))
    assert_golden(ours_BNK.log_softmax(-1)[:, [0, 1, 9, 15]], GOLDEN["gpt"][str(first)])


def image():
    return tiny.value("image", (1, 3, 64, 64), 1.0)


def check_decoding(vqgan, side, golden):
    tokens = (torch.arange(side * side) * 7919 % tiny.K).reshape(1, side, side)
    decoded = vqgan.decode(tokens)[0]
    assert_golden(torch.stack([decoded[at] for at in PIXELS]), golden["pixels"])
    assert_golden(decoded.mean((1, 2)), golden["mean"])


def test_the_ithq_codec_agrees_with_the_original(ithq):
    assert ithq.vqgan.encode(image()).flatten().tolist() == GOLDEN["ithq codec"]["codes"]
    check_decoding(ithq.vqgan, 8, GOLDEN["ithq codec"])


@pytest.mark.parametrize(("name", "side"), [("gumbel codec", 8), ("f16 codec", 4)])
def test_codecs_cut_by_a_code_map_agree_with_the_original(name, side, coco, imagenet):
    """Where the original's code is one that the model uses, ours is the same; where it is not, ours is another used
    one, never number 0, which stands for all the unused.
    """
    vqgan = (coco if name == "gumbel codec" else imagenet).vqgan
    ours = vqgan.encode(image()).flatten().tolist()
    for code, full in zip(ours, GOLDEN[name]["full codes"], strict=True):
        assert code > 0
        assert full not in tiny.KEPT[1:] or tiny.KEPT[code] == full
    check_decoding(vqgan, side, GOLDEN[name])


def test_the_text_encoder_agrees_with_the_original(ithq):
    ids = torch.tensor([GOLDEN["clip"]["ids"]])
    assert ithq.text_encoder.tokenize("A red bs") == ids[0].tolist()
    assert_golden(ithq.text_encoder.embed(ids)[0, :, ::16], GOLDEN["clip"]["vectors"])


# What is taken from the files


def test_the_average_is_taken_and_the_learned_null_becomes_float32(ithq):
    null = tiny.value("null", (tiny.CLIP.length, tiny.TEXT.text_width))
    assert torch.equal(ithq.learned_null_1LD, null[None])
    weights = tiny.value("transformer.to_logits.1.weight", (tiny.K, tiny.TEXT.width))
    assert torch.equal(ithq.transformer.to_logits[1].weight, weights)


def test_without_an_average_the_last_weights_are_taken(tmp_path):
    checkpoint = tiny.training_checkpoint(tiny.TEXT, vqgan=tiny.F8, clip=tiny.CLIP)
    del checkpoint["ema"]
    torch.save(checkpoint, tmp_path / "model.pth")
    tiny.write_vocabulary(tmp_path)
    weights = tiny.value("last transformer.to_logits.1.weight", (tiny.K, tiny.TEXT.width))
    assert torch.equal(load(tmp_path).transformer.to_logits[1].weight, weights)


def test_both_layouts_hold_the_same_model_bit_for_bit(ithq, tmp_path):
    save(ithq, tmp_path / "folder")
    again = load(tmp_path / "folder")
    for part in ("transformer", "vqgan", "text_encoder"):
        ours, theirs = getattr(ithq, part).state_dict(), getattr(again, part).state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (ithq.schedule.beta_bar == again.schedule.beta_bar).all()


def test_a_trained_null_class_is_kept_and_a_missing_one_is_the_mean(imagenet, tmp_path):
    table = imagenet.transformer.blocks[1].ln2.emb.weight
    assert len(table) == tiny.CLASS.class_rows + 1
    torch.testing.assert_close(table[-1], table[:-1].mean(0))
    trained = load(tiny.imagenet_folder(tmp_path, class_rows=1001))
    assert trained.transformer.spec.class_rows == 1001


def test_the_usual_schedule_is_recognised_and_another_is_read_from_the_buffers(ithq, tmp_path):
    usual = Schedule.linear(tiny.T, tiny.K)
    assert (ithq.schedule.alpha_bar == usual.alpha_bar).all()
    checkpoint = tiny.training_checkpoint(tiny.TEXT, vqgan=tiny.F8, clip=tiny.CLIP)
    checkpoint["ema"] |= tiny.buffers(tiny.K, gamma_end=0.9)
    torch.save(checkpoint, tmp_path / "model.pth")
    tiny.write_vocabulary(tmp_path)
    other = load(tmp_path)
    assert other.schedule.gamma_bar[0] == 0 and other.schedule.alpha_bar[0] == 1
    assert other.schedule.gamma_bar[-1] == pytest.approx(0.9, rel=1e-6)
    save(other, tmp_path / "folder")
    assert (load(tmp_path / "folder").schedule.beta_bar == other.schedule.beta_bar).all()


def test_one_file_of_several_is_chosen_by_its_name(tmp_path):
    tiny.ithq_folder(tmp_path)
    torch.save(
        tiny.training_checkpoint(replace(tiny.TEXT, layers=1), vqgan=tiny.F8, clip=tiny.CLIP), tmp_path / "other.pth"
    )
    assert load(tmp_path / "other.pth").transformer.spec.layers == 1
    assert load(tmp_path / "ithq.pth").name == "ithq"


def test_bare_safetensors_of_a_checkpoint_load_too(ithq, tmp_path):
    from safetensors.torch import save_file

    checkpoint = tiny.training_checkpoint(tiny.TEXT, vqgan=tiny.F8, clip=tiny.CLIP)
    state = checkpoint["model"] | {f"transformer.{name}": tensor for name, tensor in checkpoint["ema"].items()}
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    tiny.write_vocabulary(tmp_path)
    assert torch.equal(load(tmp_path).transformer.to_logits[1].weight, ithq.transformer.to_logits[1].weight)


# CLIP, in each of its forms


def archive_of(state: dict[str, torch.Tensor]) -> nn.Module:
    """A module tree with these parameters under these names, and a program that must not run."""
    root = Program()
    for name, tensor in state.items():
        *path, leaf = name.split(".")
        module = root
        for step in path:
            if not hasattr(module, step):
                module.add_module(step, GuidanceTerm())
            module = getattr(module, step)
        module.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    return torch.jit.script(root)


class GuidanceTerm(nn.Module):
    def forward(self) -> int:
        return 0


class Program(nn.Module):
    def forward(self) -> int:
        raise RuntimeError("run")


def as_archive(folder: Path) -> None:
    torch.jit.save(archive_of(tiny.clip_state() | {"visual.proj": torch.ones(2, 2)}), folder / "clip.pt")


def as_transformers_folder(folder: Path) -> None:
    """What transformers saves, from the model that our own loader made of OpenAI's names."""
    place = folder / "openai-clip"
    place.mkdir()
    (folder / "clip.pt").rename(folder / "kept")
    torch.save(tiny.clip_state(), folder / "clip.pt")
    load(folder).text_encoder.model.save_pretrained(place)
    (folder / "clip.pt").unlink()
    (folder / "kept").unlink()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("form", [as_archive, as_transformers_folder])
def test_clip_beside_the_checkpoint_is_the_same_in_every_form(form, coco, tmp_path):
    tiny.coco_folder(tmp_path)
    form(tmp_path)
    text_encoder = load(tmp_path).text_encoder
    assert torch.equal(text_encoder.encode(["a red car"]), coco.text_encoder.encode(["a red car"]))


def test_a_vocabulary_can_lie_elsewhere(coco, tmp_path):
    model, words = tmp_path / "model", tmp_path / "words"
    model.mkdir()
    words.mkdir()
    tiny.coco_folder(model)
    (model / "bpe_simple_vocab_16e6.txt.gz").rename(words / "bpe_simple_vocab_16e6.txt.gz")
    assert load(model, tokenizer=words).text_encoder.tokenize("red") == coco.text_encoder.tokenize("red")


# The parts of a model that lie in several files


def codec(entries):
    """A VQGAN of which only the codebook is looked at: entry i is the number i."""
    return rename(key_maps.VQGAN_TAMING, {original_codec.CODEBOOK: torch.arange(entries)[:, None]}, "a codec")


def test_a_vqgan_fits_a_model_of_as_many_codes():
    fits = original_codec.fits
    assert [fits(codec(entries), None, 11) for entries in (10, 11, 12)] == [False, True, False]
    assert fits(codec(24), tiny.CODE_MAP, 11) and not fits(codec(24), tiny.CODE_MAP, 10)
    assert not fits(codec(23), tiny.CODE_MAP, 11)


@pytest.mark.parametrize(("code_map", "kept", "junk"), [([2, 0, 1, 0], [1, 2, 0], True), ([1, 2, 0], [2, 0, 1], False)])
def test_a_code_map_in_any_order_keeps_the_first_code_of_each_number(code_map, kept, junk):
    code_map = torch.tensor(code_map)
    cut = original_codec.cut_codebook(codec(len(code_map)), code_map)
    assert cut.tensors[original_codec.CODEBOOK].flatten().tolist() == kept
    assert original_codec.has_junk_code(code_map) is junk


def test_files_without_a_suffix_are_looked_into(tmp_path):
    folder = tiny.coco_folder(tmp_path)
    (folder / "vqgan.pth").rename(folder / "vqgan")
    (folder / "notes").write_text("not a model")
    assert load(folder, "float32").vqgan.spec.codebook_size == tiny.K
