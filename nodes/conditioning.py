"""CONDITIONING [[vectors, {...}], ...] <-> what a transformer is conditioned on: text vectors, or a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..vqdiffusion_core.guidance import Condition
from ..vqdiffusion_core.specs import TransformerSpec

Conditioning = list[list[Any]]

CLASS_LABEL = "vq_class"  # the key that says that a conditioning's (1, 1, 1) tensor is a class label
WHOLE = {"mask": None, "area": None, "start_percent": 0.0, "end_percent": 1.0}  # a prompt for all tokens and all steps


class ConditioningError(ValueError):
    """A conditioning that a model cannot use: what came, what was expected, what to do next."""


def of_text(text_BLD: Tensor, extra: Mapping[str, Any] | None = None) -> Conditioning:
    return [[text_BLD, dict(extra or {})]]


def of_class(label: int) -> Conditioning:
    # In the tensor too, where a node that calculates with vectors shows that it has been there.
    return [[torch.full((1, 1, 1), float(label)), {CLASS_LABEL: label}]]


def read(conditioning: Conditioning, socket: str, spec: TransformerSpec, batch: int) -> Condition:
    """The condition in a CONDITIONING that came in at `socket`, for a model and a batch."""
    if spec.condition == "none":
        return None
    vectors, about = read_part(conditioning, socket)
    if spec.condition == "class":
        return read_class(vectors, about, socket, spec)
    return read_text(vectors, about, socket, spec, batch)


def read_part(conditioning: Conditioning, socket: str) -> tuple[Tensor, dict[str, Any]]:
    if len(conditioning) != 1:
        raise ConditioningError(
            f"{socket} has {len(conditioning)} prompts; this version of the sampler takes one. Instead of Conditioning "
            "Combine, use Average or Concat, or put both into one text."
        )
    vectors, about = conditioning[0]
    bound = [key for key, whole in WHOLE.items() if key in about and (whole is None or about[key] != whole)]
    if bound:
        raise ConditioningError(
            f"{socket} is bound to a part of the picture or of the run ({', '.join(bound)}); this version of the "
            "sampler takes a prompt for the whole. Take the Conditioning (Set ...) node out."
        )
    return vectors, about


def read_text(vectors: Tensor, about: dict[str, Any], socket: str, spec: TransformerSpec, batch: int) -> Tensor:
    if CLASS_LABEL in about:
        raise ConditioningError(
            f"{socket} is a class label, and this model reads text. Use CLIP Text Encode or VQ-Diffusion Text Encode "
            "with the CLIP of this model's loader."
        )
    if vectors.ndim != 3 or vectors.shape[2] != spec.text_width:
        raise ConditioningError(
            f"{socket} has text vectors of shape {tuple(vectors.shape)}; this model reads (1, any, {spec.text_width}). "
            "They come from another model's text encoder: encode the prompt with the CLIP of this model's loader."
        )
    if len(vectors) not in (1, batch):
        raise ConditioningError(
            f"{socket} has {len(vectors)} texts for {batch} pictures; expected 1, or one a picture. Set the batch size "
            f"of the latent to {len(vectors)}."
        )
    return vectors


def read_class(vectors: Tensor, about: dict[str, Any], socket: str, spec: TransformerSpec) -> Tensor:
    if CLASS_LABEL not in about:
        raise ConditioningError(f"{socket} is text, and this model draws classes. Use VQ-Diffusion Class Encode.")
    label = about[CLASS_LABEL]
    if vectors.numel() != 1 or vectors.item() != label:
        raise ConditioningError(
            f"{socket} was class {label} until a node calculated with it, and classes have no in-between. Connect "
            "VQ-Diffusion Class Encode directly."
        )
    if not 0 <= label < spec.class_rows:
        raise ConditioningError(
            f"{socket} is class {label}; this model has 0 to {spec.class_rows - 1}. Encode the class with this model."
        )
    return torch.tensor([label])
