"""A LoRA's file: safetensors with PEFT's names (github.com/huggingface/peft), and in its header where it comes from.

`base_model.model.transformer.<layer>.lora_A.weight` and `.lora_B.weight`, for the rest
`base_model.model.text_encoder.tokens.<id>` and `base_model.model.null`.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..checkpoints.errors import CheckpointError, escape, shortlist
from ..checkpoints.read.safetensors_file import read_metadata, read_safetensors
from ..checkpoints.write import write_safetensors
from ..files.atomic import atomic_write
from .lora import About, Lora

T = TypeVar("T")

PREFIX = "base_model.model."
PAIR = re.compile(r"base_model\.model\.transformer\.(?P<layer>[\w.]+)\.lora_(?P<half>[AB])\.weight")
TOKEN = re.compile(r"base_model\.model\.text_encoder\.tokens\.(?P<id>\d{1,7})")
NULL = "base_model.model.null"


def write_lora(lora: Lora, path: Path) -> None:
    """The same LoRA gives the same bytes, and the file is whole or not there. Raises OSError."""
    metadata = {
        "format": "pt",
        "base_model": lora.about.base,
        "base_model_shape": lora.about.shape,
        "base_model_weights": lora.about.weights,
        "rank": str(lora.about.rank),
        "lora_alpha": str(lora.about.rank),  # which is in B already
        "words": json.dumps(lora.about.words),
        "recipe": json.dumps(lora.about.recipe),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        write_safetensors(to_tensors(lora), part, torch.float32, lambda size: None, metadata)


def to_tensors(lora: Lora) -> dict[str, Tensor]:
    """All numbers, by PEFT's names."""
    tensors = {f"{PREFIX}text_encoder.tokens.{i}": vector_D for i, vector_D in lora.tokens.items()}
    for layer, pair in lora.pairs.items():
        tensors |= {
            f"{PREFIX}transformer.{layer}.lora_{half}.weight": each for half, each in zip("AB", pair, strict=True)
        }
    return tensors if lora.null_1LD is None else tensors | {NULL: lora.null_1LD[0]}


def read_lora(path: str | os.PathLike[str]) -> Lora:
    """A LoRA from its file, whose names must be those above. Raises CheckpointError."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; expected a LoRA's file.")
    return from_tensors(path.name, read_safetensors(path), read_metadata(path))


def from_tensors(name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Lora:
    """The inverse of `to_tensors`, also of what PEFT wrote. Raises CheckpointError for any other content."""
    halves: dict[str, dict[str, Tensor]] = {}
    tokens: dict[int, Tensor] = {}
    null_1LD, unknown = None, []
    for key, tensor in tensors.items():
        pair, token = PAIR.fullmatch(key), TOKEN.fullmatch(key)
        if pair and tensor.ndim == 2:
            halves.setdefault(pair["layer"], {})[pair["half"]] = tensor.float()
        elif token and tensor.ndim == 1:
            tokens[int(token["id"])] = tensor.float()
        elif key == NULL and tensor.ndim == 2:
            null_1LD = tensor.float()[None]
        else:
            unknown.append(f"{key:.100}")
    single = [layer for layer, each in halves.items() if len(each) < 2 or len(each["A"]) != each["B"].shape[1]]
    if unknown or single or not (halves or tokens or null_1LD is not None):
        found = f"unknown names: {shortlist(unknown)}. " if unknown else ""
        found += f"A and B do not belong together: {shortlist(single)}. " if single else ""
        raise CheckpointError(
            f"{name} is no LoRA of a VQ-Diffusion model: {found or 'it holds no tensors. '}Expected names such as "
            f"{PREFIX}transformer.blocks.0.attn1.query.lora_A.weight, as `vqdiffusion train lora` writes them."
        )
    rank = max((len(each["A"]) for each in halves.values()), default=0)
    about, alpha = read_about(metadata, rank), number(metadata.get("lora_alpha"), rank)
    pairs = {layer: (each["A"], each["B"] * (alpha / rank)) for layer, each in halves.items()}
    return Lora(name, pairs, about, tokens, null_1LD)


def read_about(metadata: Mapping[str, str], rank: int) -> About:
    """What the header says, as far as it can be read: a stranger's words, which nothing depends on but messages."""
    base, shape, weights = (escape(metadata.get(f"base_model{part}", ""))[:200] for part in ("", "_shape", "_weights"))
    words: list[Any] = parse(metadata.get("words"), [])
    recipe: dict[str, Any] = parse(metadata.get("recipe"), {})
    taught = tuple(escape(word)[:100] for word in words if isinstance(word, str))
    return About(rank, taught, base, shape, weights, recipe)


def parse(text: str | None, otherwise: T) -> T:
    """JSON of the type of `otherwise`, which is given where there is none."""
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError):
        return otherwise
    return content if isinstance(content, type(otherwise)) else otherwise


def number(text: str | None, otherwise: float) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return otherwise
    return value if math.isfinite(value) else otherwise
