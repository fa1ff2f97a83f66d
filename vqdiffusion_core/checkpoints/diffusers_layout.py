"""A folder that diffusers' VQDiffusionPipeline is published in, in every form that it has been written in. What that
layout has no word for is added to it:

- model_index.json: `codec_of`, the folder beside the model whose vqvae/ is its own too
- vqvae/: `quantize.proj` (Gumbel codecs); `junk_code` and `cells_alone` in config.json (see VQGANSpec)
- transformer/: `norm3.emb`, `norm3.linear` (class conditioning, the null class last); no `norm2`, `attn2` (no text);
  `ff.conv1`, `ff.conv2` (convolutional MLP); `sample_size` is the token grid, which the position tables may exceed
- transformer/ of an autoregressive model: a GPT under the names of taming-transformers, and no scheduler/
- scheduler/: for kernels that are matrices `mixing`, T + 1 numbers, and a file of weights with `rates`, K x K
- scheduler/: `alpha_bar`, `beta_bar`, `gamma_bar`, T + 1 numbers each, where straight lines do not give them
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ..diffusion.schedule import Schedule
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..networks.inference import FastTransformer
from ..networks.text_encoder import TextEncoder
from ..networks.vqgan import VQGAN
from . import key_maps
from .build import Dtypes, build, build_text_encoder, check_parts
from .diffusers_config import (
    AUTOREGRESSIVE_PIPELINE,
    CODEC_OF,
    GPT_CLASS,
    INDEX,
    MIXING,
    NULL,
    PIPELINE,
    RATES,
    compare,
    gpt_config,
    grid_of,
    matrix_schedule_of,
    read_count,
    schedule_of,
    text_config,
    transformer_config,
    vqgan_config,
)
from .diffusers_files import is_plain, read_weights
from .errors import CheckpointError
from .probe import gpt_spec, text_spec, transformer_spec, vqgan_spec
from .read.text import read_json
from .rename import Weights, rename
from .vocabulary import vocabulary_for


def load_folder(folder: Path, dtypes: Dtypes, tokenizer: Path | None) -> VQDiffusion:
    """`tokenizer`: where else to look for one. Raises CheckpointError."""
    check_index(folder)
    transformer = load_transformer(folder / "transformer", dtypes)
    vqgan = load_vqgan(codec_folder(folder), dtypes)
    schedule = load_schedule(folder / "scheduler" / "scheduler_config.json", transformer)
    text = null_1LD = None
    if transformer.spec.condition == "text":
        text = load_text_encoder(folder, dtypes, [folder / "tokenizer", *([tokenizer] if tokenizer else [])])
        null_1LD = load_null(folder / NULL)
    model = VQDiffusion(folder.name, transformer, schedule, vqgan, text, null_1LD)
    check_parts(model)
    return model


def check_index(folder: Path) -> None:
    """Raise CheckpointError for a pipeline of another kind. Without an index, the parts speak for themselves."""
    if (folder / INDEX).exists() and (name := read_json(folder / INDEX).get("_class_name")) not in (
        PIPELINE,
        AUTOREGRESSIVE_PIPELINE,
    ):
        raise CheckpointError(f"{folder} holds a {name}; expected a {PIPELINE}.")


def codec_folder(folder: Path) -> Path:
    """The vqvae/ of a model, its own or that of the model beside it which its index names."""
    shared = read_json(folder / INDEX).get(CODEC_OF) if (folder / INDEX).exists() else None
    if shared is None:
        return folder / "vqvae"
    if not is_plain(shared):
        raise CheckpointError(f"{folder / INDEX}: {CODEC_OF} is {shared!r:.100}; expected a folder beside {folder}.")
    return folder.parent / shared / "vqvae"


def load_schedule(file: Path, transformer: FastTransformer | GPT) -> Schedule:
    if isinstance(transformer, GPT):
        return Schedule.one_step(transformer.spec.codebook_size)
    config = read_json(file)
    if MIXING not in config:
        return schedule_of(config, transformer.spec, file)
    state, source = read_weights(file.parent)
    if list(state) != [RATES] or state[RATES].dim() != 2:
        raise CheckpointError(f"{source}: expected one table of floats, {RATES}; it has {', '.join(state)[:200]}.")
    return matrix_schedule_of(config, state[RATES], transformer.spec, file)


def load_transformer(folder: Path, dtypes: Dtypes) -> FastTransformer | GPT:
    config, file = read_json(folder / "config.json"), folder / "config.json"
    state, source = read_weights(folder, dtypes.transformer)
    if config.get("_class_name") == GPT_CLASS:
        return load_gpt(rename(key_maps.GPT_OURS, state, source), config, file, dtypes)
    weights = rename(key_maps.TRANSFORMER_DIFFUSERS, state, source)
    spec = transformer_spec(weights, read_count(config, "num_attention_heads", 16, file), grid_of(config, file))
    compare(config, transformer_config(spec), file)
    return build(FastTransformer, spec, weights, dtypes.transformer)


def load_gpt(weights: Weights, config: dict[str, Any], file: Path, dtypes: Dtypes) -> GPT:
    grid = grid_of(config, file)
    if grid is None:
        raise CheckpointError(f"{file} has no sample_size; expected the token rows and columns.")
    condition = "class" if config.get("condition") == "class" else "none"
    class_rows = read_count(config, "class_rows", 1, file) if condition == "class" else 1001
    spec = gpt_spec(weights, read_count(config, "n_head", 16, file), grid, condition, class_rows)
    compare(config, gpt_config(spec), file)
    return build(GPT, spec, weights, dtypes.transformer)


def load_vqgan(folder: Path, dtypes: Dtypes) -> VQGAN:
    config, file = read_json(folder / "config.json"), folder / "config.json"
    state, source = read_weights(folder)
    levels = len({name.split(".")[2] for name in state if name.startswith("encoder.down_blocks.")})
    weights = rename(key_maps.vqgan_diffusers(levels), state, source)
    groups, flags = read_count(config, "norm_num_groups", 32, file), ("junk_code", "cells_alone")
    spec = vqgan_spec(weights, groups, **{flag: config.get(flag) is True for flag in flags})
    compare(config, vqgan_config(spec), file)
    return build(VQGAN, spec, weights, dtypes.others)


def load_text_encoder(folder: Path, dtypes: Dtypes, tokenizers: list[Path]) -> TextEncoder:
    config, file = read_json(folder / "text_encoder" / "config.json"), folder / "text_encoder" / "config.json"
    state, source = read_weights(folder / "text_encoder")
    weights = rename(key_maps.TEXT_TRANSFORMERS, state, source)
    activation = config.get("hidden_act", "quick_gelu")
    spec = text_spec(weights, read_count(config, "num_attention_heads", 8, file), activation)
    compare(config, text_config(spec), file)
    return build_text_encoder(spec, weights, vocabulary_for(spec, tokenizers), dtypes.others)


def load_null(folder: Path) -> Tensor | None:
    """The learned null embedding (1, L, D), float32; None where there is none, as in early copies of the release."""
    if not folder.is_dir() or read_json(folder / "config.json").get("learnable") is False:
        return None
    state, source = read_weights(folder)
    if list(state) != ["embeddings"] or state["embeddings"].dim() != 2 or not state["embeddings"].is_floating_point():
        raise CheckpointError(f"{source}: expected one table of floats, embeddings; it has {', '.join(state)[:200]}.")
    return state["embeddings"].float()[None]
