"""A model, or a codec alone -> the diffusers layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion.matrix_schedule import MatrixSchedule
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..networks.inference import FastTransformer
from ..networks.specs import TextSpec
from ..networks.text_encoder import TextEncoder
from ..networks.vqgan import VQGAN
from . import key_maps
from .diffusers_config import (
    AUTOREGRESSIVE_PIPELINE,
    GPT_CLASS,
    INDEX,
    LIBRARY,
    NULL,
    PIPELINE,
    RATES,
    gpt_config,
    schedule_config,
    text_config,
    transformer_config,
    vqgan_config,
)
from .diffusers_files import STEMS
from .errors import CheckpointError
from .rename import rename_back
from .vocabulary import vocabulary_of, write_json, write_vocabulary
from .write import write_safetensors

OnBytes = Callable[[int], None]  # called with the size of each tensor written; may raise to stop


def write_folder(model: VQDiffusion, folder: Path, dtype: torch.dtype | None, on_bytes: OnBytes) -> None:
    """Write a model into an empty folder; `dtype` is that of the files, None: as the weights are.

    Raises CheckpointError for a model that was made ready for drawing, which lacks the weights that it needs no more.
    """
    transformer, text = model.transformer, model.text_encoder
    if isinstance(transformer, FastTransformer) and transformer.is_prepared:
        raise CheckpointError(f"{model.name} was made ready for drawing (tabulated); load it anew to save it.")
    write_index(model, folder)
    write = partial(write_part, dtype=dtype, on_bytes=on_bytes)
    write_codec(model.vqgan, folder / "vqvae", dtype, on_bytes)
    if isinstance(transformer, GPT):
        write(folder / "transformer", gpt_config(transformer.spec), transformer.state_dict())
    else:
        state = rename_back(key_maps.TRANSFORMER_DIFFUSERS, transformer.state_dict())
        write(folder / "transformer", transformer_config(transformer.spec), state)
        (folder / "scheduler").mkdir()
        write_json(schedule_config(model.schedule), folder / "scheduler" / "scheduler_config.json")
        if isinstance(model.schedule, MatrixSchedule):  # exact, whatever the type of the weights
            rates = {RATES: model.schedule.rates_KK}
            write_safetensors(rates, folder / "scheduler" / f"{STEMS[0]}.safetensors", torch.float32, on_bytes)
    if text:
        write(folder / "text_encoder", text_encoder_config(text), text_state(text), stem="model")
        write_vocabulary(vocabulary_of(text), text.length, folder / "tokenizer")
        write(folder / NULL, null_config(model.learned_null_1LD), null_state(model.learned_null_1LD))


def write_index(model: VQDiffusion, folder: Path) -> None:
    autoregressive = isinstance(model.transformer, GPT)
    left_out = {"scheduler"} if autoregressive else set[str]()
    left_out |= set() if model.text_encoder else {"text_encoder", "tokenizer", NULL}
    listing = {part: [None, None] if part in left_out else library for part, library in LIBRARY.items()}
    if autoregressive:
        listing["transformer"] = ["taming", GPT_CLASS]
    write_json({"_class_name": AUTOREGRESSIVE_PIPELINE if autoregressive else PIPELINE, **listing}, folder / INDEX)


def write_codec(vqgan: VQGAN, folder: Path, dtype: torch.dtype | None, on_bytes: OnBytes) -> None:
    """Write a VQGAN alone, as the vqvae/ of a model."""
    write_part(folder, vqgan_config(vqgan.spec), vqgan_state(vqgan), dtype, on_bytes)


def vqgan_state(vqgan: VQGAN) -> dict[str, Tensor]:
    """Under diffusers' names, and with the linear layers that its attention has where ours has 1x1 convolutions."""
    state = rename_back(key_maps.vqgan_diffusers(len(vqgan.spec.level_channels)), vqgan.state_dict())
    pointwise = {name for name, tensor in state.items() if ".attentions." in name and tensor.dim() == 4}
    return {name: tensor[:, :, 0, 0] if name in pointwise else tensor for name, tensor in state.items()}


def text_state(text: TextEncoder) -> dict[str, Tensor]:
    tower = getattr(text.model, "text_model", text.model)  # transformers 4 has one module more
    return rename_back(key_maps.TEXT_TRANSFORMERS, tower.state_dict())


def text_encoder_config(text: TextEncoder) -> dict[str, Any]:
    config = {key: getattr(text.model.config, key) for key in text_config(TextSpec(0, 0, 0, 0, 0, 0))}
    config |= {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "pad_token_id": 0}
    return config | {"bos_token_id": text.tokenizer.bos_token_id, "eos_token_id": text.tokenizer.eos_token_id}


def null_state(null_1LD: Tensor | None) -> dict[str, Tensor]:
    return {} if null_1LD is None else {"embeddings": null_1LD[0]}


def null_config(null_1LD: Tensor | None) -> dict[str, Any]:
    length, width = (None, None) if null_1LD is None else null_1LD.shape[1:]
    return {"_class_name": LIBRARY[NULL][1], "learnable": null_1LD is not None, "hidden_size": width, "length": length}


def write_part(
    folder: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    dtype: torch.dtype | None,
    on_bytes: OnBytes,
    stem: str = STEMS[0],
) -> None:
    folder.mkdir(exist_ok=True)
    write_json(dict(config), folder / "config.json")
    write_safetensors(state, folder / f"{stem}.safetensors", dtype, on_bytes)
