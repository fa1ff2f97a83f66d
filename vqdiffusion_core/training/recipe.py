"""From images to a model: the parts of a run put together, for the built-in scenes and for a folder alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..checkpoints.read import read_tensors as read_weights
from ..checkpoints.vocabulary import Vocabulary, read_vocabulary, write_vocabulary
from ..diffusion.matrix_schedule import MATRIX_KERNELS, MOST_CODES
from ..diffusion.schedule import Schedule
from ..distributed import Processes
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..networks.inference import FastTransformer
from ..networks.specs import GPTSpec, TextSpec, TransformerSpec, VQGANSpec
from ..networks.text_encoder import TextEncoder, clip_text_model, clip_tokenizer, spelled_words
from ..networks.vqgan import VQGAN
from .autoregressive import AutoregressiveTraining, GPTNetworks
from .checkpoint import find_run
from .codec import CodecTraining
from .data import Source
from .decoder import DecoderTraining
from .diffusion import DiffusionTraining, Networks
from .examples import Examples, caption_lengths, load_or_encode
from .tokenizer import learn_vocabulary

NUM_TIMESTEPS = 100
MERGES = 1500  # of the tokenizer, at most: nearly every word of the built-in captions is one token
MAX_LENGTH = 77  # of a prompt in tokens: CLIP's
TEXT_WIDTH = 128
CODE_WIDTH = 16
GROUPS = 8  # of channels that are normalised together

KERNELS: dict[str, Callable[[int, int], Schedule]] = {
    "absorbing": Schedule.absorbing,
    "mask-and-replace": partial(Schedule.linear, gamma_end=0.9),  # the paper's; its releases hardly replace
    "uniform": Schedule.uniform,
}


@dataclass(frozen=True)
class Shape:
    """Size of a new transformer; the defaults are the pocket model's. Raises ValueError for one that cannot be."""

    layers: int = 6
    width: int = 192
    heads: int = 6

    def __post_init__(self):
        if min(self.layers, self.width, self.heads) < 1 or self.width % self.heads:
            raise ValueError(
                f"layers, width and heads are {self.layers}, {self.width} and {self.heads}; "
                "expected numbers above 0, the width a multiple of the heads."
            )


def codec_shape(channels: tuple[int, ...], codes: int, cells_alone: bool = False) -> VQGANSpec:
    """A codec with self-attention at its lowest resolution. Raises ValueError for channels that cannot be grouped."""
    if len(channels) < 2 or any(count < GROUPS or count % GROUPS for count in channels):
        raise ValueError(f"channels are {channels}; expected two numbers or more, each a multiple of {GROUPS}.")
    deepest = len(channels) - 1
    return VQGANSpec(channels, 1, (deepest,), channels[-1], CODE_WIDTH, codes, GROUPS, cells_alone=cells_alone)


def new_codec_training(
    spec: VQGANSpec, source: Source, processes: Processes, seed: int = 0, **settings: Any
) -> CodecTraining:
    torch.manual_seed(seed)
    return CodecTraining(VQGAN(spec), source, processes, seed=seed, **settings)


def codec_fine_tuning(
    codec: VQGAN, learn: Literal["all", "decoder"], source: Source, processes: Processes, seed: int = 0, **settings: Any
) -> CodecTraining | DecoderTraining:
    """Training of a codec that is good already, or of its decoder alone. Raises ValueError where that cannot be."""
    if learn == "decoder" and settings.pop("accumulate", 1) > 1:
        raise ValueError("A discriminator is weighed by a whole batch; for less memory take a smaller --batch.")
    torch.manual_seed(seed)  # the discriminator's start
    if learn == "decoder":
        return DecoderTraining(codec.float(), source, processes, seed=seed, **settings)
    if codec.spec.gumbel:
        raise ValueError(
            "This codec chooses its codes by Gumbel softmax, not the nearest; train it with --learn decoder."
        )
    return CodecTraining(codec.float(), source, processes, continuous_steps=None, seed=seed, **settings)


def load_codec(place: Path) -> VQGAN:
    """The codec of a run, or any that the checkpoints of others hold. Raises ValueError where there is none."""
    path = place / "checkpoint.pt" if place.is_dir() else place
    checkpoint = read_weights(path.resolve()) if path.name == "checkpoint.pt" and path.exists() else {}
    if "setup" not in checkpoint:
        return checkpoints.load_codec(place)
    if "codec" not in checkpoint["setup"]:
        raise ValueError(f"{place} is a run of a transformer; expected that of its codec, or any model with one.")
    codec = VQGAN(VQGANSpec(**checkpoint["setup"]["codec"]))
    codec.load_state_dict(checkpoint["training"]["model"])
    return codec.eval().requires_grad_(False)


def new_model(
    vqgan: VQGAN, source: Source, folder: Path, processes: Processes, shape: Shape, kernel: str, seed: int = 0
) -> VQDiffusion:
    """A model without training around a trained codec, with a vocabulary of the source's captions."""
    side, codes = tokens_a_side(source, vqgan), vqgan.spec.codebook_size
    text_encoder = new_text_encoder(source, folder, processes, "transformer", seed)
    spec = TransformerSpec(
        codes, (side, side), shape.layers, shape.width, shape.heads, NUM_TIMESTEPS, text_width=TEXT_WIDTH
    )
    transformer = FastTransformer(spec)
    init_weights(transformer)
    return VQDiffusion(folder.name, transformer, new_schedule(kernel, vqgan), vqgan, text_encoder)


def new_schedule(kernel: str, vqgan: VQGAN) -> Schedule:
    """Of one of KERNELS or MATRIX_KERNELS. Raises ValueError where the codebook is too large for a matrix."""
    codes = vqgan.spec.codebook_size
    if kernel in KERNELS:
        return KERNELS[kernel](NUM_TIMESTEPS, codes)
    if codes > MOST_CODES:
        raise ValueError(
            f"The kernel {kernel!r} is a matrix of all pairs of codes, and this codec has {codes} codes; expected "
            f"{MOST_CODES} at most. Choose {', '.join(KERNELS)}, or a smaller codec."
        )
    return MATRIX_KERNELS[kernel](NUM_TIMESTEPS, vqgan.quantize.embedding.weight.detach().cpu())


def new_autoregressive_model(
    vqgan: VQGAN, source: Source, folder: Path, processes: Processes, shape: Shape, seed: int = 0
) -> VQDiffusion:
    """As `new_model`, with the same text encoder and shape, to draw token after token."""
    side, codes = tokens_a_side(source, vqgan), vqgan.spec.codebook_size
    text_encoder = new_text_encoder(source, folder, processes, "gpt", seed)
    length = text_encoder.length
    spec = GPTSpec(codes, (side, side), shape.layers, shape.width, shape.heads, text_width=TEXT_WIDTH, prefix=length)
    gpt = GPT(spec)
    init_weights(gpt)
    return VQDiffusion(folder.name, gpt, Schedule.one_step(codes), vqgan, text_encoder)


def new_text_encoder(source: Source, folder: Path, processes: Processes, kind: str, seed: int) -> TextEncoder:
    """Without training, for the captions of a source, or for those that the run of this kind in `folder` has."""
    run = find_run(folder, kind)
    vocabulary = load_or_learn_vocabulary(source, folder / "tokenizer", processes)
    tokenizer = clip_tokenizer(vocabulary.ids, vocabulary.merges)
    if run:  # whatever the captions are now
        length = run["training"]["networks"]["null_1LD"].shape[1]
    else:
        length = min(max(caption_lengths(source.captions(), tokenizer)) + 2, MAX_LENGTH)
    text = TextSpec(len(vocabulary.ids), length, TEXT_WIDTH, layers=2, heads=4, mlp_width=4 * TEXT_WIDTH)
    torch.manual_seed(seed)
    return TextEncoder(clip_text_model(text), tokenizer, vocabulary.words)


def init_weights(transformer: FastTransformer | GPT) -> None:
    """Start weights as in the original, N(0, 0.02), except where text enters: its vectors have length 1, not sqrt(D),
    and at 0.02 the prompt would be a whisper that the network takes long to hear.
    """
    for name, parameter in transformer.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2 if name.endswith(("attn2.key.weight", "attn2.value.weight")) else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def tokens_a_side(source: Source, vqgan: VQGAN) -> int:
    cell = vqgan.spec.downscale
    if source.size % cell:
        raise ValueError(
            f"size is {source.size}; this codec's tokens are {cell} pixels wide: choose a multiple of that."
        )
    return source.size // cell


def load_or_learn_vocabulary(source: Source, folder: Path, processes: Processes) -> Vocabulary:
    """The run's vocabulary, learned once and kept: the order of equally frequent merges differs each time that one is
    learned.
    """
    if processes.is_main and not folder.exists():
        vocabulary = learn_vocabulary(source.captions(), MERGES)
        unfinished = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_vocabulary(vocabulary, MAX_LENGTH, unfinished)
        unfinished.rename(folder)
    processes.barrier()
    kept = read_vocabulary(folder)
    assert kept is not None
    return kept


def diffusion_training(
    model: VQDiffusion, source: Source, folder: Path, processes: Processes, new_data: bool = False, **settings: Any
) -> DiffusionTraining:
    """Training of a model, new or loaded. Raises ValueError where it does not read text. `new_data`: the source may be
    another one than when the run in `folder` began.
    """
    transformer, text_encoder = text_networks(model)
    examples = read_examples(model, text_encoder, source, folder, processes, new_data)
    if (known := text_encoder.known_words) is not None and settings.get("learn") != "null":
        text_encoder.known_words = known.union(*map(spelled_words, source.captions()))
    null_1LD = model.null()  # without a learned one, it begins as the empty prompt
    assert isinstance(null_1LD, Tensor)
    networks = Networks(transformer.float(), text_encoder.float(), null_1LD)
    return DiffusionTraining(networks, model.schedule, examples, model.vqgan, processes, **settings)


def text_networks(model: VQDiffusion) -> tuple[FastTransformer, TextEncoder]:
    """Raises ValueError for a model that is no diffusion model that reads text."""
    if model.text_encoder is None:
        raise ValueError(f"{model.name} does not draw from prompts; expected a model with a text encoder.")
    if not isinstance(model.transformer, FastTransformer):
        raise ValueError(f"{model.name} draws token after token; expected a diffusion model.")
    return model.transformer, model.text_encoder


def autoregressive_training(
    model: VQDiffusion, source: Source, folder: Path, processes: Processes, new_data: bool = False, **settings: Any
) -> AutoregressiveTraining:
    """Training of a new model that draws token after token."""
    gpt, text_encoder, null_1LD = model.transformer, model.text_encoder, model.null()
    assert isinstance(gpt, GPT) and text_encoder is not None and isinstance(null_1LD, Tensor)
    examples = read_examples(model, text_encoder, source, folder, processes, new_data)
    networks = GPTNetworks(gpt, text_encoder, null_1LD)
    return AutoregressiveTraining(networks, examples, model.vqgan, processes, **settings)


def read_examples(
    model: VQDiffusion, text_encoder: TextEncoder, source: Source, folder: Path, processes: Processes, new_data: bool
) -> Examples:
    side = tokens_a_side(source, model.vqgan)
    if model.transformer.spec.grid != (side, side):
        rows, columns = model.transformer.spec.grid
        raise ValueError(
            f"Images of {source.size} pixels are {side} x {side} tokens, but {model.name} draws {rows} x {columns}; "
            f"train it with --size {rows * model.vqgan.spec.downscale}."
        )
    vqgan = model.vqgan.to(processes.device).eval().requires_grad_(False)
    return load_or_encode(source, vqgan, text_encoder, folder, processes, new_data)
