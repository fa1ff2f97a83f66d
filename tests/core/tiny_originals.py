"""Models of a few thousand weights in the layouts that the authors published theirs in.

Every weight follows from its name, so that others can build the same model: the golden numbers beside this file were
made with the original classes. The functions also make models of other shapes, with other numbers (`fill`).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pack.vqdiffusion_core.networks.gpt import GPT
from pack.vqdiffusion_core.networks.specs import GPTSpec, TextSpec, TransformerSpec, VQGANSpec
from pack.vqdiffusion_core.networks.transformer import Transformer
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from torch import Tensor

Fill = Callable[[str, tuple[int, ...]], Tensor]  # the numbers of a tensor, from its name and shape

K, FULL_K, T = 11, 24, 10
F8 = VQGANSpec((32, 32, 64, 64), 1, (3,), latent_channels=16, code_dim=8, codebook_size=K)
GUMBEL_F8 = replace(F8, codebook_size=FULL_K, gumbel=True, code_dim=16)
F16 = VQGANSpec((32, 32, 32, 32, 64), 1, (4,), latent_channels=16, code_dim=16, codebook_size=FULL_K)
TEXT = TransformerSpec(K, (4, 4), layers=2, width=32, heads=16, num_timesteps=T, text_width=128)
CLASS = TransformerSpec(
    K,
    (16, 16),
    layers=2,
    width=32,
    heads=16,
    num_timesteps=T,
    condition="class",
    class_rows=5,
    mlp="conv",
    position_grid=(32, 32),
)
UNCONDITIONAL = replace(CLASS, condition="none", codebook_size=FULL_K)
TOKEN_BY_TOKEN = GPTSpec(FULL_K, (4, 4), layers=2, width=32, heads=16, condition="none")
CLIP = TextSpec(vocabulary=516, length=9, width=TEXT.text_width, layers=2, heads=2, mlp_width=4 * TEXT.text_width)
CODE_MAP = torch.tensor([0, 0, 1, 0, 2, 3, 0, 4, 0, 0, 5, 6, 0, 7, 0, 0, 8, 0, 9, 0, 10, 0, 0, 0])
KEPT = [0, 2, 4, 5, 7, 10, 11, 13, 16, 18, 20]


def value(name: str, shape: tuple[int, ...], gain: float | None = None) -> Tensor:
    """Numbers in -gain..gain that follow from the name, the same on every machine; norm weights lie around 1."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    mixed = (index + np.uint64(zlib.crc32(name.encode()))) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    uniform = (mixed >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    if gain is None:
        gain = (
            0.1
            if len(shape) == 1 or name.startswith("clip.")
            else float(np.sqrt(3 / np.prod(shape[1:])))
            if len(shape) != 2
            else 0.5
        )
    centre = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
    return torch.from_numpy((centre + gain * uniform).astype(np.float32)).reshape(shape)


def filled(shapes: dict[str, tuple[int, ...]], fill: Fill) -> dict[str, Tensor]:
    return {name: fill(name, shape) for name, shape in shapes.items()}


def shapes_of(module: torch.nn.Module, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


# The parts, under the authors' names


def transformer_state(spec: TransformerSpec, fill: Fill = value) -> dict[str, Tensor]:
    """`DiffusionTransformer`'s state: the network, the schedule's buffers, what the training kept."""
    with torch.device("meta"):
        shapes = shapes_of(Transformer(spec), "transformer.")
    if spec.condition != "text":
        shapes = {name.replace(".attn1.", ".attn."): shape for name, shape in shapes.items()}
    mask = torch.ones(spec.num_tokens, spec.num_tokens).tril()[None, None]
    masks = {f"transformer.blocks.{i}.attn2.mask": mask.clone() for i in range(spec.layers)}
    history = {"Lt_history": torch.zeros(spec.num_timesteps), "Lt_count": torch.zeros(spec.num_timesteps)}
    state = filled(shapes, fill) | buffers(spec.codebook_size, spec.num_timesteps) | history
    return state | (masks if spec.condition == "text" else {})


def buffers(codes: int, steps: int = T, gamma_end: float = 0.99999) -> dict[str, Tensor]:
    """The schedule as the original stores it: logarithms in float32, cumulative ones with the clean state last."""
    alpha_bar = np.append(np.linspace(0.99999, 0.000009, steps), 1.0)
    gamma_bar = np.append(np.linspace(0.000009, gamma_end, steps), 0.0)
    beta_bar = (1 - alpha_bar - gamma_bar) / codes
    with np.errstate(divide="ignore"):
        logs = {"log_cumprod_at": alpha_bar, "log_cumprod_bt": beta_bar, "log_cumprod_ct": gamma_bar}
        logs = {name: torch.from_numpy(np.log(bar)).float() for name, bar in logs.items()}
    single = ("log_at", "log_bt", "log_ct", "log_1_min_ct")
    return logs | {name: torch.zeros(steps) for name in single} | {"log_1_min_cumprod_ct": torch.zeros(steps + 1)}


def clip_state(spec: TextSpec = CLIP, fill: Fill = value) -> dict[str, Tensor]:
    """The text tower of OpenAI's CLIP as the checkpoints hold it: float16."""
    width = spec.width
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (spec.vocabulary, width),
        "positional_embedding": (spec.length, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, width),
    }
    for i in range(spec.layers):
        block = f"transformer.resblocks.{i}."
        shapes |= {block + f"ln_{j}.{part}": (width,) for j in (1, 2) for part in ("weight", "bias")}
        shapes |= {block + "attn.in_proj_weight": (3 * width, width), block + "attn.in_proj_bias": (3 * width,)}
        for layer, (out, into) in {
            "attn.out_proj": (width, width),
            "mlp.c_fc": (spec.mlp_width, width),
            "mlp.c_proj": (width, spec.mlp_width),
        }.items():
            shapes |= {f"{block}{layer}.weight": (out, into), f"{block}{layer}.bias": (out,)}
    return {name: fill(f"clip.{name}", shape).half() for name, shape in shapes.items()}


def vqgan_state(spec: VQGANSpec, averaged: bool = False, fill: Fill = value) -> dict[str, Tensor]:
    """A VQGAN as its own file has it. The codebook of ITHQ's is a moving average, a buffer; that of a Gumbel codec is
    called `embed`.
    """
    with torch.device("meta"):
        state = filled(shapes_of(VQGAN(spec)), fill)
    codebook = state.pop("quantize.embedding.weight")
    if spec.gumbel:
        return state | {"quantize.embed.weight": codebook}
    if averaged:
        return state | {
            "quantize.embedding": codebook,
            "quantize.cluster_size": torch.ones(spec.codebook_size),
            "quantize.embedding_avg": codebook.clone(),
        }
    return state | {"quantize.embedding.weight": codebook}


def gpt_state(spec: GPTSpec = TOKEN_BY_TOKEN, fill: Fill = value) -> dict[str, Tensor]:
    """taming-transformers' GPT: its positions have a batch of one, and every layer its causal mask."""
    with torch.device("meta"):
        state = filled(shapes_of(GPT(spec)), fill)
    mask = torch.ones(spec.positions, spec.positions).tril()[None, None]
    masks = {f"blocks.{i}.attn.mask": mask.clone() for i in range(spec.layers)}
    return state | {"pos_emb": state.pop("pos_emb.weight")[None]} | masks


# The files


def training_checkpoint(
    spec: TransformerSpec,
    *,
    vqgan: VQGANSpec | None = None,
    clip: TextSpec | None = None,
    learned_null: bool = False,
    fill: Fill = value,
) -> dict:
    """What the authors' trainer saved: `ema`, the averaged weights, are the good ones; the last ones are others."""
    ema, last = (diffusion_state(spec, clip, learned_null, numbers) for numbers in (fill, another(fill)))
    model = {f"transformer.{name}": tensor for name, tensor in last.items()}
    if vqgan:
        model |= content_codec(vqgan, fill)
    trained = {name: tuple(ema[name].shape) for name in ema if name.startswith("transformer.") and "mask" not in name}
    moments = {
        i: {"step": 7, "exp_avg": fill(f"mean {name}", shape), "exp_avg_sq": fill(f"square {name}", shape)}
        for i, (name, shape) in enumerate(trained.items())
    }
    return {
        "last_epoch": 3,
        "last_iter": 99,
        "model": model,
        "ema": ema,
        "clip_grad_norm": {"last_epoch": 3},
        "optimizer_and_scheduler": {"none": {"optimizer": {"module": {"state": moments, "param_groups": []}}}},
    }


def another(fill: Fill) -> Fill:
    """Other numbers for the same names."""
    return lambda name, shape: fill(f"last {name}", shape)


def diffusion_state(spec: TransformerSpec, clip: TextSpec | None, learned_null: bool, fill: Fill) -> dict[str, Tensor]:
    state = transformer_state(spec, fill)
    if clip:
        state |= {f"condition_emb.{name}": tensor for name, tensor in clip_state(clip, fill).items()}
    if learned_null:
        state["empty_text_embed"] = fill("null", ((clip or CLIP).length, spec.text_width)).double()
    return state


def content_codec(spec: VQGANSpec, fill: Fill) -> dict[str, Tensor]:
    """The VQGAN inside ITHQ's training checkpoint, in an encoding and a decoding half that share the codebook."""
    halves = {}
    for name, tensor in vqgan_state(spec, averaged=True, fill=fill).items():
        part = name.split(".")[0]
        if part != "quantize":
            halves[f"content_codec.{'dec' if part in ('decoder', 'post_quant_conv') else 'enc'}.{name}"] = tensor
        else:
            halves |= {f"content_codec.{half}.{name}": tensor for half in ("enc", "dec")}
    return halves


def vocabulary_words() -> list[str]:
    """OpenAI's vocabulary with two merges."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in [*visible, *range(256, 256 + 256 - len(visible))]]
    return [*letters, *(letter + "</w>" for letter in letters), "re", "red</w>", "<|startoftext|>", "<|endoftext|>"]


def write_vocabulary(folder: Path) -> None:
    text = '"bpe_simple_vocab_16e6.txt#version: 0.2\nr e\nre d</w>\n'
    (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(text.encode()))


def ithq_folder(folder: Path) -> Path:
    """Everything in the checkpoint but the vocabulary."""
    torch.save(training_checkpoint(TEXT, vqgan=F8, clip=CLIP, learned_null=True), folder / "ithq.pth")
    write_vocabulary(folder)
    return folder


def coco_folder(folder: Path) -> Path:
    """Gumbel VQGAN, code map and CLIP beside the checkpoint."""
    torch.save(training_checkpoint(TEXT), folder / "coco.pth")
    torch.save({"state_dict": vqgan_state(GUMBEL_F8) | {"loss.logvar": torch.ones(())}}, folder / "vqgan.pth")
    torch.save(CODE_MAP, folder / "map.pt")
    torch.save(clip_state() | {"visual.proj": torch.ones(2, 2)}, folder / "clip.pt")
    write_vocabulary(folder)
    return folder


def imagenet_folder(folder: Path, class_rows: int = CLASS.class_rows) -> Path:
    torch.save(training_checkpoint(replace(CLASS, class_rows=class_rows)), folder / "imagenet.pth")
    torch.save({"state_dict": vqgan_state(F16)}, folder / "vqgan.pth")
    torch.save(CODE_MAP, folder / "map.pt")
    return folder


def two_stages(gpt: GPTSpec = TOKEN_BY_TOKEN, vqgan: VQGANSpec = F16) -> dict:
    """What Lightning saved of a Net2NetTransformer."""
    first = {f"first_stage_model.{name}": tensor for name, tensor in vqgan_state(vqgan).items()}
    second = {f"transformer.{name}": tensor for name, tensor in gpt_state(gpt).items()}
    moments = {i: {"step": 7, "exp_avg": torch.zeros(tensor.shape)} for i, tensor in enumerate(second.values())}
    return {
        "epoch": 3,
        "global_step": 99,
        "pytorch-lightning_version": "1.0.8",
        "state_dict": {**second, **first, "first_stage_model.loss.discriminator.main.0.weight": torch.ones(2)},
        "optimizer_states": [{"state": moments, "param_groups": []}],
        "lr_schedulers": [],
    }


def two_stages_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(two_stages(), folder / "last.ckpt")
    return folder


def ffhq_folder(folder: Path) -> Path:
    """The VQGAN comes inside taming's two-stage model."""
    torch.save(training_checkpoint(UNCONDITIONAL), folder / "ffhq.pth")
    torch.save(two_stages(), folder / "two_stages.pth")
    return folder
