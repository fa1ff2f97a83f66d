"""Whatever is wrong with a model's files, the error says what came and names the file, nothing is executed, and no
memory is taken for what a file merely claims to hold.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import CheckpointError, load
from pack.vqdiffusion_core.checkpoints.detect import CODE_MAP, UNKNOWN, detect
from safetensors.torch import load_file, save_file

from .. import tiny_checkpoints, tiny_originals

RUN = []  # what a malicious file has managed to run


class Malice:
    def __reduce__(self):
        return RUN.append, ("run",)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    makers = {
        "diffusers": tiny_checkpoints.diffusers_folder,
        "ithq": tiny_originals.ithq_folder,
        "coco": tiny_originals.coco_folder,
        "ffhq": tiny_originals.ffhq_folder,
    }
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in makers.items()}


@pytest.fixture
def broken(layouts, tmp_path):
    """A copy of a layout with something done to it."""

    def make(layout, action):
        folder = shutil.copytree(layouts[layout], tmp_path / layout)
        action(folder)
        return folder

    return make


# What can be done to a folder


def missing(name):
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def replaced(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cut(name, share=0.6):
    return lambda folder: os.truncate(folder / name, int((folder / name).stat().st_size * share))


def sparse(name, size):
    """A file that claims a size without taking it on the disk."""

    def action(folder):
        (folder / name).touch()
        os.truncate(folder / name, size)

    return action


def tensors(name, change):
    """Rewrite a safetensors or .pth file after `change(its tensors)`."""

    def action(folder):
        path = folder / name
        if path.suffix == ".safetensors":
            state = {key: tensor.clone() for key, tensor in load_file(path).items()}
            change(state)
            save_file(state, path)
        else:
            content = torch.load(path)
            change(content)
            torch.save(content, path)

    return action


def config(name, **changes):
    return lambda folder: (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))


def renamed(old, new):
    return lambda state: state.update({new: state.pop(old)})


def resized(name, *shape):
    def change(state):
        prefixed = f"text_model.{name}"  # of what transformers 4 saved
        state[prefixed if prefixed in state else name] = torch.zeros(shape)

    return change


def as_bin(name, content):
    """A pickle in place of a safetensors file."""

    def action(folder):
        (folder / name).unlink()
        torch.save(content, (folder / name).with_suffix(".bin"))

    return action


def header(name, entries):
    def action(folder):
        text = json.dumps(entries).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text)

    return action


def bomb(name):
    """A zip of a few kilobytes that unfolds to a gigabyte."""

    def action(folder):
        (folder / name).unlink()
        with zipfile.ZipFile((folder / name).with_suffix(".bin"), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", b"\0" * (1 << 27))

    return action


def shards(**weight_map):
    def action(folder):
        (folder / TRANSFORMER).unlink()
        index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": weight_map}))

    return action


def pipe(name):
    def action(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return action


VQVAE = "vqvae/diffusion_pytorch_model.safetensors"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
NULL = "learned_classifier_free_sampling_embeddings/diffusion_pytorch_model.safetensors"
HTML = b"<!DOCTYPE html>\n<html><body>404: Not Found</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
DEEP = b"[" * 100_000

DIFFUSERS = [
    (missing("vqvae"), r"vqvae/config.json is missing"),
    (missing(VQVAE), r"vqvae has no weights; expected diffusion_pytorch_model.safetensors"),
    (missing("vqvae/config.json"), r"vqvae/config.json is missing"),
    (missing(TRANSFORMER), r"transformer has no weights"),
    (missing("transformer/config.json"), r"transformer/config.json is missing"),
    (missing("scheduler"), r"scheduler/scheduler_config.json is missing"),
    (missing("text_encoder"), r"text_encoder/config.json is missing"),
    (missing(TEXT), r"text_encoder has no weights"),
    (missing("tokenizer"), r"no tokenizer in .*tokenizer; expected vocab.json and merges.txt"),
    (missing("tokenizer/merges.txt"), r"no tokenizer in"),
    (missing(NULL), r"sampling_embeddings has no weights"),
    (cut(VQVAE), r"vqvae.* has [\d,]+ bytes where its header promises"),
    (cut(TRANSFORMER), r"transformer.* where its header promises"),
    (cut(TEXT, 0.01), r"text_encoder.*is no whole safetensors file"),
    (cut(NULL, 0), r"sampling_embeddings.*it is empty"),
    (cut("scheduler/scheduler_config.json"), r"scheduler_config.json has no readable JSON"),
    (cut("tokenizer/vocab.json"), r"vocab.json has no readable JSON"),
    (cut("tokenizer/merges.txt", 0.95), r"does not join two known tokens"),
    (replaced(VQVAE, HTML), r"it is a web page"),
    (replaced(TRANSFORMER, POINTER), r"Git LFS pointer"),
    (replaced("vqvae/config.json", HTML), r"it is a web page"),
    (replaced("vqvae/config.json", DEEP), r"no readable JSON"),
    (replaced("vqvae/config.json", b"[1]"), r"holds a JSON list; expected an object"),
    (replaced("tokenizer/vocab.json", b'{"a": 1e400}'), r"ids are not 0 to 0"),
    (sparse("tokenizer/vocab.json", 1 << 30), r"1,073,741,824 bytes; at most"),
    (sparse("vqvae/config.json", 1 << 30), r"1,073,741,824 bytes; at most"),
    (replaced(VQVAE, struct.pack("<Q", 1 << 40) + b"{}"), r"its header has 1,099,511,627,776 bytes"),
    (
        header(VQVAE, {"a": {"dtype": "F32", "shape": [1 << 41], "data_offsets": [0, 1 << 43]}}),
        r"where its header promises 8,796,0\d\d,\d\d\d,\d\d\d",
    ),
    (header(VQVAE, {"a": [1]}), r"not of the safetensors format"),
    (header(VQVAE, {"a": {"dtype": "F7", "shape": [0], "data_offsets": [0, 0]}}), r"is a broken safetensors file: "),
    (as_bin(VQVAE, {"x": Malice()}), r"could run code; it was not opened"),
    (bomb(VQVAE), r"unfolds to 134,217,728 bytes"),
    (pipe(VQVAE), r"has no weights|is missing"),
    (shards(a="../../secret.safetensors"), r"files outside its own folder"),
    (shards(a="/etc/passwd"), r"files outside its own folder"),
    (shards(a="x\x00.safetensors"), r"files outside its own folder"),
    (shards(a="part.safetensors"), r"part.safetensors is missing"),
    (
        tensors(TRANSFORMER, renamed("norm_out.weight", "norm_ou.weight")),
        r"unknown names: norm_ou.weight \(is it norm_out.weight\?\).*missing names: norm_out.weight",
    ),
    (
        tensors(VQVAE, lambda state: state.update({"encoder.mid_block.attentions.0.query.weight": torch.ones(16, 16)})),
        r"claimed twice: encoder.mid.attn_1.q.weight by .*(to_q|query).weight and .*(to_q|query).weight",
    ),
    (
        tensors(TRANSFORMER, lambda state: state.pop("transformer_blocks.0.attn1.to_q.bias")),
        r"missing names: transformer_blocks.0.attn1.to_q.bias",
    ),
    (
        tensors(TRANSFORMER, renamed("transformer_blocks.0.norm1.emb.weight", "transformer_blocks.9.norm1.emb.weight")),
        r"is missing",
    ),
    (tensors(TRANSFORMER, resized("out.bias", 12)), r"out.bias is \(12,\) torch.float32, expected \(11,\)"),
    (tensors(VQVAE, resized("quant_conv.bias", 6)), r"quant_conv.bias is \(6,\) torch.float32, expected \(5,\)"),
    (tensors(VQVAE, resized("quantize.embedding.weight", 12, 5)), r"num_vq_embeddings is 11, by the weights 12"),
    (
        tensors(TEXT, resized("final_layer_norm.bias", 25)),
        r"final_layer_norm.bias is \(25,\) torch.float32, expected \(24,\)",
    ),
    (
        tensors(VQVAE, lambda state: state.update({"quant_conv.bias": torch.zeros(5, dtype=torch.int64)})),
        r"quant_conv.bias is \(5,\) torch.int64, expected \(5,\) of floats",
    ),
    (tensors(NULL, resized("embeddings", 6, 24)), r"learned null embedding has 6 vectors"),
    (tensors(NULL, lambda state: state.update(embeddings=state["embeddings"].int())), r"expected one table of floats"),
    (tensors(NULL, lambda state: state.update(embeddings=state["embeddings"][None])), r"expected one table of floats"),
    (tensors(NULL, resized("other", 7, 24)), r"expected one table of floats, embeddings; it has embeddings, other"),
    (config("transformer/config.json", num_layers=10**9), r"num_layers is 1000000000, by the weights 2"),
    (config("transformer/config.json", num_attention_heads=5), r"32 cannot be split among 5 heads"),
    (
        config("transformer/config.json", num_attention_heads="4"),
        r"num_attention_heads is '4'; expected a whole number",
    ),
    (config("transformer/config.json", sample_size=5), r"do not reach a grid of \(5, 5\)"),
    (config("vqvae/config.json", norm_num_groups=3), r"8 channels cannot be normed in 3 groups"),
    (config("text_encoder/config.json", hidden_act="os.system"), r"hidden_act is 'os.system'"),
    (config("scheduler/scheduler_config.json", num_train_timesteps=10**9), r"num_train_timesteps is 1000000000"),
    (config("scheduler/scheduler_config.json", num_vec_classes=13), r"num_vec_classes is 13, by the weights 12"),
    (config("scheduler/scheduler_config.json", alpha_cum_start=None), r"noise schedule makes no sense"),
    (config("scheduler/scheduler_config.json", gamma_cum_end=7.0), r"noise schedule makes no sense"),
    (
        lambda folder: (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}'),
        r"holds a StableDiffusionPipeline; expected a VQDiffusionPipeline",
    ),
]

STABLE_DIFFUSION = {"state_dict": {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(2)}}
GPT = {"state_dict": {"transformer.tok_emb.weight": torch.ones(2)}}


def two_stages_with(change):
    def action(folder):
        content = tiny_originals.two_stages()
        change(content["state_dict"])
        (folder / "ffhq.pth").unlink()
        torch.save(content, folder / "two_stages.pth")

    return action


def given(name, *shape):
    return two_stages_with(lambda state: state.update({name: torch.ones(shape)}))


def saved(name, content):
    return lambda folder: torch.save(content, folder / name)


def pickled(name, content):
    return lambda folder: (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def pieces(name, *letters):
    def action(folder):
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        for i, letter in enumerate(letters):
            (folder / f"{Path(name).stem}_{letter}").write_bytes(data[i * 1000 :][:1000])

    return action


def malicious_archive(folder):
    """Like TorchScript's, but its index calls a function."""
    with zipfile.ZipFile(folder / "clip.pt", "w") as archive:
        archive.writestr("clip/constants.pkl", b"")
        archive.writestr("clip/data.pkl", pickle.dumps(Malice(), protocol=2))


def many(*actions):
    return lambda folder: [action(folder) for action in actions]


def map_with(change):
    def action(folder):
        code_map = tiny_originals.CODE_MAP.clone()
        change(code_map)
        torch.save(code_map, folder / "map.pt")

    return action


def in_ema(change):
    return lambda content: change(content["ema"])


COCO = [
    (
        missing("coco.pth"),
        r"no VQ-Diffusion model \(clip.pt is OpenAI's CLIP, map.pt is a code map, vqgan.pth is a VQGAN",
    ),
    (missing("vqgan.pth"), r"draws with 11 codes and needs one VQGAN.*There: a code map leads from 24 codes to 11"),
    (missing("map.pt"), r"There: .*vqgan.pth has 24 codes"),
    (missing("clip.pt"), r"no text encoder inside, and none lies beside it. Put OpenAI's ViT-B-32.pt"),
    (missing("bpe_simple_vocab_16e6.txt.gz"), r"no tokenizer in .*bpe_simple_vocab_16e6.txt.gz"),
    *((cut(name), rf"{name} is cut short") for name in ("coco.pth", "vqgan.pth", "map.pt", "clip.pt")),
    (cut("bpe_simple_vocab_16e6.txt.gz"), r"broken gzip file"),
    *(
        (replaced(name, HTML), rf"{name} is neither.*web page")
        for name in ("coco.pth", "vqgan.pth", "map.pt", "clip.pt")
    ),
    (saved("coco.pth", STABLE_DIFFUSION), r"coco.pth is a Stable Diffusion checkpoint"),
    (saved("coco.pth", GPT), r"coco.pth: transformer.pos_emb is missing"),
    (saved("coco.pth", {"lora_down.weight": torch.ones(2)}), r"coco.pth is nothing that is known here"),
    (saved("coco.pth", {}), r"coco.pth is nothing that is known here"),
    (saved("coco.pth", {"model": 7}), r"coco.pth is nothing that is known here"),
    (saved("coco.pth", {"x": Malice()}), r"coco.pth holds more than tensors and could run code"),
    (pickled("coco.pth", {"x": Malice()}), r"coco.pth holds more than tensors|coco.pth is cut short or damaged"),
    (
        malicious_archive,
        r"clip.pt holds more than tensors and could run code; it was not opened \(builtins.getattr\)",
    ),
    (
        saved("second.pth", tiny_originals.training_checkpoint(tiny_originals.TEXT)),
        r"several models \(coco.pth, second.pth",
    ),
    (pieces("coco.pth", "aa", "ab", "ac"), r"coco in 3 pieces, which must be joined first.*cat coco_\?\? > coco.pth"),
    (pieces("coco.pth", "aa", "ac"), r"coco in 2 pieces, of which coco_ab is missing"),
    (pieces("vqgan.pth", "aa", "ab"), r"vqgan in 2 pieces, which must be joined first.*cat vqgan_\?\? > vqgan.pth"),
    (map_with(lambda code_map: code_map[2].fill_(0)), r"leads from 24 codes to 10"),
    (map_with(lambda code_map: code_map[2].fill_(-1)), r"There: .*vqgan.pth has 24 codes"),
    (
        tensors("coco.pth", in_ema(resized("transformer.to_logits.1.bias", 12))),
        r"is \(12,\) torch.float32, expected \(11,\)",
    ),
    (
        tensors("coco.pth", in_ema(resized("transformer.content_emb.emb.weight", 13, 32))),
        r"draws with 12 codes and needs one VQGAN",
    ),
    (
        tensors(
            "coco.pth", in_ema(renamed("transformer.blocks.0.attn1.key.bias", "transformer.blocks.0.attn1.kei.bias"))
        ),
        r"unknown names: transformer.transformer.blocks.0.attn1.kei.bias",
    ),
    (
        tensors("coco.pth", in_ema(resized("log_cumprod_at", 4))),
        r"log_cumprod_at.* do not have 11 times",
    ),
    (
        tensors("coco.pth", in_ema(lambda ema: ema.update({"log_cumprod_ct": torch.zeros(11)}))),
        r"noise schedule makes no sense",
    ),
    (
        tensors("vqgan.pth", lambda content: content["state_dict"].pop("quant_conv.bias")),
        r"missing names: quant_conv.bias",
    ),
    (
        many(missing("coco.pth"), missing("map.pt"), missing("vqgan.pth"), missing("clip.pt")),
        r"no file in it holds tensors",
    ),
]
FFHQ = [
    (many(missing("ffhq.pth"), saved("more.ckpt", tiny_originals.two_stages())), r"several models \(more.ckpt, two"),
    (given("cond_stage_model.encoder.conv_in.bias", 2), r"draws an image from another one"),
    (given("permuter.forward_shuffle_idx", 2), r"does not draw row by row"),
    (given("transformer.pos_emb", 1, 33, 32), r"it has 33 positions"),
    (given("transformer.heads.weight", 24, 32), r"unknown names: transformer.heads.weight"),
    (given("transformer.head.weight", 9, 32), r"is \(9, 32\)"),
    (two_stages_with(lambda state: state.pop("transformer.ln_f.bias")), r"missing names: transformer.ln_f.bias"),
    (two_stages_with(lambda state: state.pop("first_stage_model.encoder.conv_in.bias")), r"encoder.conv_in.bias"),
    (missing("two_stages.pth"), r"draws with 24 codes and needs one VQGAN"),
]
ALL = [*(("diffusers", *c) for c in DIFFUSERS), *(("coco", *c) for c in COCO), *(("ffhq", *c) for c in FFHQ)]


@pytest.mark.parametrize(("layout", "action", "message"), ALL, ids=[f"{c[0]}-{i}" for i, c in enumerate(ALL)])
def test_every_broken_model_says_what_is_wrong_and_runs_nothing(layout, action, message, broken):
    folder = broken(layout, action)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        load(folder)
    assert RUN == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def test_a_piece_of_a_file_is_told_from_a_broken_file_and_pieces_of_a_joined_one_do_no_harm(broken):
    folder = broken("coco", pieces("coco.pth", "aa", "ab"))
    with pytest.raises(CheckpointError, match="coco in 2 pieces, which must be joined first"):
        load(folder / "coco_aa")
    whole = broken("ithq", lambda folder: None)
    (whole / "ithq_aa").write_bytes((whole / "ithq.pth").read_bytes()[:1000])
    load(whole)


def test_an_empty_place_or_none_says_what_was_expected(tmp_path):
    with pytest.raises(CheckpointError, match="no file in it holds tensors"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="nowhere is no folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="/dev/zero is no folder and no file"):
        load("/dev/zero")


def test_the_untouched_models_load(layouts):
    for folder in layouts.values():
        load(folder)


@pytest.mark.parametrize("tensor", [torch.tensor(3), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(4)])
def test_a_single_tensor_that_is_no_row_of_whole_numbers_is_no_code_map(tensor):
    assert detect({"map": tensor}) == UNKNOWN
    assert detect({"map": torch.arange(4)}) == CODE_MAP
