"""The files that the authors published: a training checkpoint and, beside it, what it does not contain.

    checkpoint     transformer, noise schedule, learned null; often its VQGAN and text encoder as well
    VQGAN          of taming-transformers or of ITHQ, where the checkpoint has none
    code map       which codes of the VQGAN a model with a reduced codebook uses
    CLIP           OpenAI's ViT-B-32.pt or a transformers folder, where the checkpoint has none
    vocabulary     see vocabulary.py

They are told apart by the names in them, whatever they are called.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..diffusion.schedule import Schedule
from ..model import VQDiffusion
from ..networks.inference import FastTransformer
from ..networks.specs import TransformerSpec, VQGANSpec
from ..networks.text_encoder import TextEncoder
from . import key_maps
from .build import Dtypes, build, build_text_encoder, check_parts
from .detect import CLIP, CLIP_TRANSFORMERS, TAMING_GPT
from .errors import CheckpointError
from .original_codec import load_vqgan
from .original_files import File, choose_checkpoint, files_of, select_prefix
from .probe import codes_of, shape_of, text_spec, transformer_spec
from .releases import CLASSES, HEADS, IMAGE_SIDE, MIRROR
from .rename import Weights, rename
from .taming_layout import load_two_stages
from .vocabulary import vocabulary_for

BUFFER_NOISE = 1e-4  # in log space: their average over the training, taken in float32, wanders by this at most


def load_original(place: Path, dtypes: Dtypes, tokenizer: Path | None) -> VQDiffusion:
    """From a folder of files, or from a checkpoint with the folder that it lies in. Raises CheckpointError."""
    folder = place if place.is_dir() else place.parent
    files = files_of(place)
    checkpoint = choose_checkpoint(place, files)
    name = place.name if place.is_dir() else place.stem
    if checkpoint.kind == TAMING_GPT:
        return load_two_stages(checkpoint, name, dtypes)
    weights = with_null_class(rename(key_maps.TRANSFORMER_ORIGINAL, checkpoint.state, str(checkpoint.path)))
    vqgan = load_vqgan(checkpoint, files, codes_of(weights), dtypes)
    spec = transformer_spec(weights, HEADS, grid_of(weights, vqgan.spec))
    transformer = build(FastTransformer, spec, weights, dtypes.transformer)
    text = null_1LD = None
    if spec.condition == "text":
        text = load_text_encoder(checkpoint, files, [folder, *([tokenizer] if tokenizer else [])], dtypes)
        null_1LD = load_null(checkpoint)
    schedule = load_schedule(checkpoint, spec)
    model = VQDiffusion(name, transformer, schedule, vqgan, text, null_1LD)
    check_parts(model)
    return model


def with_null_class(weights: Weights) -> Weights:
    """Class tables without a trained null class get one: the mean of all classes, which the original computes when it
    is asked for class 1000.
    """
    tables = {name: table for name, table in weights.tensors.items() if name.endswith(".ln2.emb.weight")}
    means = {
        name: torch.cat([table, table.mean(0, keepdim=True)])
        for name, table in tables.items()
        if len(table) != CLASSES + 1
    }
    return replace(weights, tensors={**weights.tensors, **means})


def grid_of(transformer: Weights, vqgan: VQGANSpec) -> tuple[int, int] | None:
    """The tokens of an image. Models without text keep larger position tables than they use."""
    if "blocks.0.attn2.key.weight" in transformer.tensors:
        return None
    return IMAGE_SIDE // vqgan.downscale, IMAGE_SIDE // vqgan.downscale


def load_text_encoder(checkpoint: File, files: list[File], folders: list[Path], dtypes: Dtypes) -> TextEncoder:
    """The text encoder inside the checkpoint, which may have been averaged with it, else the one beside it."""
    if inside := select_prefix(key_maps.TEXT_PREFIX, checkpoint.state):
        weights = rename(key_maps.TEXT_OPENAI, inside, f"the text encoder in {checkpoint.path}")
    else:
        weights = text_beside(checkpoint, files)
    width = shape_of(weights, "embeddings.token_embedding.weight", 2)[1]
    spec = text_spec(weights, heads=width // 64, activation="quick_gelu")  # OpenAI's rule, for every size of CLIP
    return build_text_encoder(spec, weights, vocabulary_for(spec, folders), dtypes.others)


def text_beside(checkpoint: File, files: list[File]) -> Weights:
    tables = {CLIP: key_maps.TEXT_OPENAI, CLIP_TRANSFORMERS: key_maps.TEXT_TRANSFORMERS}
    for file in files:
        if file.kind in tables:
            return rename(tables[file.kind], file.state, str(file.path))
    raise CheckpointError(
        f"{checkpoint.path} has no text encoder inside, and none lies beside it. Put OpenAI's ViT-B-32.pt (also at "
        f"{MIRROR}) or a folder with openai/clip-vit-base-patch32 there."
    )


def load_null(checkpoint: File) -> Tensor | None:
    """The learned null embedding (1, L, D), float32 from float64; None where the model has none."""
    null_LD = checkpoint.state.get(key_maps.NULL_NAME)
    if null_LD is None:
        return None
    if null_LD.dim() != 2 or not null_LD.is_floating_point():
        raise CheckpointError(f"{checkpoint.path}: {key_maps.NULL_NAME} is {tuple(null_LD.shape)}, expected a table.")
    return null_LD.float()[None]


def load_schedule(checkpoint: File, spec: TransformerSpec) -> Schedule:
    """The schedule that the model was trained with, from its buffers: logarithms, float32, the clean state last.

    Where they are those of the usual schedule up to their own rounding, that one is taken, which is exact.
    """
    usual = Schedule.linear(spec.num_timesteps, spec.codebook_size)
    logs = [checkpoint.state[name].double() for name in key_maps.BARS if name in checkpoint.state]
    if not logs:
        return usual
    if [len(log) for log in logs] != [spec.num_timesteps + 1] * 3:
        raise CheckpointError(
            f"{checkpoint.path}: {', '.join(key_maps.BARS)} do not have {spec.num_timesteps + 1} times."
        )
    bars = [log.exp().roll(1).numpy() for log in logs]
    for bar, clean in zip(bars, (1.0, 0.0, 0.0), strict=True):
        bar[0] = clean if abs(bar[0] - clean) < BUFFER_NOISE else bar[0]  # logarithms have no 0
    same = (np.log(bar[1:]) - np.log(expected[1:]) for bar, expected in zip(bars, bars_of(usual), strict=True))
    if all(np.abs(difference).max() < BUFFER_NOISE for difference in same):
        return usual
    try:
        return Schedule(spec.codebook_size, *bars)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: the noise schedule makes no sense: {error}") from error


def bars_of(schedule: Schedule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar
