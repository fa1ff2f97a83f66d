"""From images to a model: the parts of a run put together, for the built-in scenes and for a folder alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import checkpoints
from ..checkpoints.read import read_tensors as read_weights
from ..checkpoints.vocabulary import Vocabulary, read_vocabulary, write_vocabulary
from ..diffusion.schedule import Schedule
from ..distributed import Workers
from ..model import VQDiffusion
from ..networks.specs import TextSpec, TransformerSpec, VQGANSpec
from ..networks.text_encoder import TextEncoder, clean, clip_text_model, clip_tokenizer
from ..networks.transformer import Transformer
from ..networks.vqgan import VQGAN
from ..notices import notify
from .changes import settle
from .codec import CodecTraining
from .data import Source
from .diffusion import DiffusionTraining, Examples, Networks, encode, fingerprint, initialise
from .loop import begun, read_tensors, write_tensors
from .tokenizer import learn_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

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


def codec_shape(channels: tuple[int, ...], codes: int) -> VQGANSpec:
    """A codec with self-attention at its lowest resolution. Raises ValueError for channels that cannot be grouped."""
    if len(channels) < 2 or any(count < GROUPS or count % GROUPS for count in channels):
        raise ValueError(f"channels are {channels}; expected two numbers or more, each a multiple of {GROUPS}.")
    return VQGANSpec(channels, 1, (len(channels) - 1,), channels[-1], CODE_WIDTH, codes, GROUPS)


def new_codec_training(
    spec: VQGANSpec, source: Source, workers: Workers, seed: int = 0, **settings: Any
) -> CodecTraining:
    torch.manual_seed(seed)
    return CodecTraining(VQGAN(spec), source, workers, seed=seed, **settings)


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
    vqgan: VQGAN, source: Source, folder: Path, workers: Workers, shape: Shape, kernel: str, seed: int = 0
) -> VQDiffusion:
    """A model without training around a trained codec, with a vocabulary of the source's captions."""
    side, codes = tokens_a_side(source, vqgan), vqgan.spec.codebook_size
    run = begun(folder, "transformer")
    vocabulary = own_vocabulary(source, folder / "tokenizer", workers)
    tokenizer = clip_tokenizer(vocabulary.ids, vocabulary.merges)
    if run:  # whatever the captions are now
        length = run["training"]["networks"]["null_1LD"].shape[1]
    else:
        length = min(max(caption_lengths(source, tokenizer)) + 2, MAX_LENGTH)
    text = TextSpec(len(vocabulary.ids), length, TEXT_WIDTH, layers=2, heads=4, mlp_width=4 * TEXT_WIDTH)
    torch.manual_seed(seed)
    text_encoder = TextEncoder(clip_text_model(text), tokenizer)
    spec = TransformerSpec(
        codes, (side, side), shape.layers, shape.width, shape.heads, NUM_TIMESTEPS, text_width=TEXT_WIDTH
    )
    transformer = Transformer(spec)
    initialise(transformer)
    return VQDiffusion(folder.name, transformer, KERNELS[kernel](NUM_TIMESTEPS, codes), vqgan, text_encoder)


def tokens_a_side(source: Source, vqgan: VQGAN) -> int:
    cell = vqgan.spec.downscale
    if source.size % cell:
        raise ValueError(
            f"size is {source.size}; this codec's tokens are {cell} pixels wide: choose a multiple of that."
        )
    return source.size // cell


def own_vocabulary(source: Source, folder: Path, workers: Workers) -> Vocabulary:
    """The run's vocabulary, learned once and kept: the order of equally frequent merges differs each time that one is
    learned.
    """
    if workers.is_main and not folder.exists():
        vocabulary = learn_vocabulary(source.captions(), MERGES)
        unfinished = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_vocabulary(vocabulary, MAX_LENGTH, unfinished)
        unfinished.rename(folder)
    workers.wait()
    kept = read_vocabulary(folder)
    assert kept is not None
    return kept


def diffusion_training(
    model: VQDiffusion, source: Source, folder: Path, workers: Workers, new_data: bool = False, **settings: Any
) -> DiffusionTraining:
    """Training of a model, new or loaded. Raises ValueError where it does not read text. `new_data`: the source may be
    another one than when the run in `folder` began.
    """
    if model.text_encoder is None:
        raise ValueError(f"{model.name} does not draw from prompts; expected a model with a text encoder.")
    side = tokens_a_side(source, model.vqgan)
    if model.transformer.spec.grid != (side, side):
        rows, columns = model.transformer.spec.grid
        raise ValueError(
            f"Images of {source.size} pixels are {side} x {side} tokens, but {model.name} draws {rows} x {columns}; "
            f"train it with --size {rows * model.vqgan.spec.downscale}."
        )
    vqgan = model.vqgan.to(workers.device).eval().requires_grad_(False)
    examples = own_examples(source, vqgan, model.text_encoder, folder, workers, new_data)
    null_1LD = model.null()  # without a learned one, it begins as the empty prompt
    assert isinstance(null_1LD, Tensor)
    networks = Networks(model.transformer.float(), model.text_encoder.float(), null_1LD)
    return DiffusionTraining(networks, model.schedule, examples, vqgan, workers, **settings)


def own_examples(
    source: Source, vqgan: VQGAN, text_encoder: TextEncoder, folder: Path, workers: Workers, new_data: bool
) -> Examples:
    """The run's images as tokens, encoded once by all workers and kept. Raises ValueError where the source is no longer
    what was encoded, unless the run is to go on with `new_data`.
    """
    path, codec = folder / "examples.pt", fingerprint(vqgan)
    kept = Examples(**read_tensors(path)) if path.exists() else None
    if kept and kept.codec != codec:
        raise ValueError(f"{path} holds tokens of another codec; give the run another folder, or delete that file.")
    data = settle(source, folder, new_data, workers)
    stale = kept is None or kept.length != text_encoder.length or (kept.data != data if kept.data else new_data)
    if kept and not workers.max(workers.is_main and stale):
        return kept
    every = encode(source, vqgan, text_encoder, workers)
    if workers.is_main:
        tokens, ids = zip(*every, strict=True)
        write_tensors(asdict(Examples(torch.cat(tokens), list(ids), codec, data)), path)
        tell_cut(source, text_encoder)
    workers.wait()
    return Examples(**read_tensors(path))


def tell_cut(source: Source, text_encoder: TextEncoder) -> None:
    most = text_encoder.length - 2
    if cut := sum(count > most for count in caption_lengths(source, text_encoder.tokenizer)):
        notify(f"Captions with more than the {most} tokens that the model reads: {cut}. Their ends are left out.")


def caption_lengths(source: Source, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Of each different caption, in tokens."""
    return [len(tokenizer(clean(caption), add_special_tokens=False)["input_ids"]) for caption in set(source.captions())]
