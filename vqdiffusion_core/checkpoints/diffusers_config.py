"""What the config files of the diffusers layout say about the parts: the same words are compared and written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..diffusion.matrix_schedule import MatrixSchedule
from ..diffusion.schedule import Schedule
from ..networks.specs import GPTSpec, TextSpec, TransformerSpec, VQGANSpec
from .errors import CheckpointError

NULL = "learned_classifier_free_sampling_embeddings"
INDEX = "model_index.json"
PIPELINE = "VQDiffusionPipeline"
AUTOREGRESSIVE_PIPELINE = "AutoregressivePipeline"  # ours: diffusers has none
GPT_CLASS = "GPT"
LIBRARY = {
    "vqvae": ["diffusers", "VQModel"],
    "transformer": ["diffusers", "Transformer2DModel"],
    "scheduler": ["diffusers", "VQDiffusionScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    NULL: ["diffusers", "LearnedClassifierFreeSamplingEmbeddings"],
}
SCHEDULE_ENDS = {
    "alpha_start": "alpha_cum_start",
    "alpha_end": "alpha_cum_end",
    "gamma_start": "gamma_cum_start",
    "gamma_end": "gamma_cum_end",
}
MIXING, RATES = "mixing", "rates"  # of a kernel that is a matrix
CODEC_OF = "codec_of"  # of an index: whose codec the model shares
NOT_COMPARED = ("_class_name", "norm_type")  # 2022's files have another norm_type for the same network


def vqgan_config(spec: VQGANSpec) -> dict[str, Any]:
    levels = range(len(spec.level_channels))
    attention = ["Attn" if level in spec.attention_levels else "" for level in levels]
    return {
        "_class_name": "VQModel",
        "act_fn": "silu",
        "block_out_channels": list(spec.level_channels),
        "down_block_types": [f"{kind}DownEncoderBlock2D" for kind in attention],
        "in_channels": 3,
        "latent_channels": spec.latent_channels,
        "layers_per_block": spec.res_blocks,
        "norm_num_groups": spec.norm_groups,
        "num_vq_embeddings": spec.codebook_size,
        "out_channels": 3,
        "up_block_types": [f"{kind}UpDecoderBlock2D" for kind in reversed(attention)],
        "vq_embed_dim": spec.code_dim,
        **({"junk_code": True} if spec.junk_code else {}),
        **({"cells_alone": True} if spec.cells_alone else {}),
    }


def transformer_config(spec: TransformerSpec) -> dict[str, Any]:
    rows, columns = spec.grid
    return {
        "_class_name": "Transformer2DModel",
        "activation_fn": "geglu-approximate",  # diffusers' name for this GELU, which has no gate
        "attention_bias": True,
        "attention_head_dim": spec.width // spec.heads,
        "cross_attention_dim": spec.text_width if spec.condition == "text" else None,
        "norm_type": "ada_norm",
        "num_attention_heads": spec.heads,
        "num_embeds_ada_norm": spec.num_timesteps,
        "num_layers": spec.layers,
        "num_vector_embeds": spec.codebook_size + 1,
        "sample_size": rows if rows == columns else [rows, columns],
    }


def gpt_config(spec: GPTSpec) -> dict[str, Any]:
    """In the words of taming-transformers' configurations, and what they say elsewhere."""
    return {
        "_class_name": GPT_CLASS,
        "block_size": spec.positions,
        "class_rows": spec.class_rows if spec.condition == "class" else None,
        "condition": spec.condition,
        "n_embd": spec.width,
        "n_head": spec.heads,
        "n_layer": spec.layers,
        "sample_size": list(spec.grid),
        "vocab_size": spec.codebook_size,
    }


def text_config(spec: TextSpec) -> dict[str, Any]:
    return {
        "hidden_act": spec.activation,
        "hidden_size": spec.width,
        "intermediate_size": spec.mlp_width,
        "max_position_embeddings": spec.length,
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "vocab_size": spec.vocabulary,
    }


def schedule_config(schedule: Schedule) -> dict[str, Any]:
    alpha, beta, gamma = schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar
    ends = {"alpha_start": alpha[1], "alpha_end": alpha[-1], "gamma_start": gamma[1], "gamma_end": gamma[-1]}
    ends = {name: float(value) for name, value in ends.items()}
    lines = Schedule.linear(schedule.num_timesteps, schedule.codebook_size, **ends)
    straight = all(map(np.array_equal, (alpha, beta, gamma), (lines.alpha_bar, lines.beta_bar, lines.gamma_bar)))
    bars = {"alpha_bar": alpha.tolist(), "beta_bar": beta.tolist(), "gamma_bar": gamma.tolist()}
    if isinstance(schedule, MatrixSchedule):
        more = {MIXING: schedule.mixing.tolist()}
    else:
        more = {} if straight else bars
    return {
        "_class_name": "VQDiffusionScheduler",
        "num_train_timesteps": schedule.num_timesteps,
        "num_vec_classes": schedule.codebook_size + 1,
        **{SCHEDULE_ENDS[name]: value for name, value in ends.items()},
        **more,
    }


def schedule_of(config: Mapping[str, Any], spec: TransformerSpec, file: Path) -> Schedule:
    """Raises CheckpointError where the config is of another model or makes no sense."""
    steps, entries = spec.num_timesteps, spec.codebook_size
    compare(config, {"num_train_timesteps": steps, "num_vec_classes": entries + 1}, file)
    try:
        if "alpha_bar" in config:
            bars = (np.array(config[f"{name}_bar"], dtype=float) for name in ("alpha", "beta", "gamma"))
            return Schedule(entries, *bars)
        ends = {ours: float(config[theirs]) for ours, theirs in SCHEDULE_ENDS.items() if theirs in config}
        return Schedule.linear(steps, entries, **ends)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file}: the noise schedule makes no sense: {error}") from error


def matrix_schedule_of(
    config: Mapping[str, Any], rates_KK: Tensor, spec: TransformerSpec, file: Path
) -> MatrixSchedule:
    """Raises CheckpointError where the config or the rates are of another model or make no sense."""
    compare(config, {"num_train_timesteps": spec.num_timesteps, "num_vec_classes": spec.codebook_size + 1}, file)
    try:
        return MatrixSchedule.of(rates_KK, np.array(config[MIXING], dtype=float))
    except (TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{file}: the noise schedule makes no sense: {error}") from error


def compare(config: Mapping[str, Any], told: Mapping[str, Any], file: Path) -> None:
    """Raise CheckpointError where a config says otherwise than the weights, or than what these networks are."""
    wrong = [
        f"{key} is {config[key]!r}, by the weights {value!r}"
        for key, value in told.items()
        if key in config and config[key] != value and key not in NOT_COMPARED
    ]
    if wrong:
        raise CheckpointError(f"{file} does not belong to the weights beside it: {'; '.join(wrong)}.")


def read_count(config: Mapping[str, Any], key: str, default: int, file: Path) -> int:
    value = config.get(key, default)
    if type(value) is not int or not 1 <= value <= 65536:
        raise CheckpointError(f"{file}: {key} is {value!r}; expected a whole number above 0.")
    return value


def grid_of(config: Mapping[str, Any], file: Path) -> tuple[int, int] | None:
    """The token rows and columns; None where the config does not say."""
    size = config.get("sample_size")
    if size is None:
        return None
    rows, columns = size if isinstance(size, list) and len(size) == 2 else (size, size)
    row_count, column_count = (read_count({"sample_size": side}, "sample_size", 1, file) for side in (rows, columns))
    return row_count, column_count
