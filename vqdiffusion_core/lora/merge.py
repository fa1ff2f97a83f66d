"""LoRAs added to the weights of a model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..model import VQDiffusion
from .lora import Lora, adaptable

Weighed = tuple[Lora, float]  # with its strength; a negative one takes away what was taught


def apply_loras(model: VQDiffusion, loras: Sequence[Weighed]) -> VQDiffusion:
    """The model itself, its weights changed by any number of LoRAs; at strength 0 to the bit as they were. Before
    `prepare_for_inference` or after it. Raises CheckpointError for a LoRA of a model of another shape, ValueError for a
    strength that is no number, before anything is changed.
    """
    for lora, strength in loras:
        lora.check_fit(model)
        if not math.isfinite(strength):
            raise ValueError(f"The strength of {lora.name} is {strength}; expected a number such as 0.8.")
    heard = [(lora, strength) for lora, strength in loras if strength]
    layers, deltas = dict(adaptable(model.transformer)), defaultdict[str, list[Tensor]](list)
    for lora, strength in heard:
        for name, (A_ri, B_or) in lora.pairs.items():
            deltas[name].append(strength * B_or @ A_ri)
    for name, of_layer in deltas.items():
        add(layers[name], sum(of_layer, torch.zeros(())))
    for lora, strength in heard:
        if model.text_encoder and lora.tokens:
            add_to_tokens(model.text_encoder.model.get_input_embeddings(), lora, strength)
        if model.learned_null_1LD is not None and lora.null_1LD is not None:
            null_1LD = model.learned_null_1LD
            model.learned_null_1LD = (null_1LD.float() + strength * lora.null_1LD.to(null_1LD.device)).to(null_1LD)
    return model


def add(layer: nn.Linear | nn.Embedding, delta: Tensor) -> None:
    """In place of the old weight, which may be shared or mapped from a file."""
    weight = layer.weight.detach()
    changed = (weight.float() + delta.to(weight.device)).to(weight.dtype)
    layer.weight = nn.Parameter(changed, requires_grad=layer.weight.requires_grad)


def add_to_tokens(embedding: nn.Module, lora: Lora, strength: float) -> None:
    assert isinstance(embedding, nn.Embedding)
    delta = torch.zeros(embedding.weight.shape)
    for i, vector_D in lora.tokens.items():
        delta[i] = strength * vector_D
    add(embedding, delta)
