"""LoRAs added to the weights of a model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..model import VQDiffusion
from ..networks.inference import FastTransformer
from ..networks.text_encoder import TextEncoder, spelled_words
from .lora import Lora

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
    deltas = defaultdict[str, list[Tensor]](list)
    for lora, strength in heard:
        for name, (A_ri, B_or) in lora.pairs.items():
            deltas[name].append(strength * B_or @ A_ri)
    for name, of_layer in deltas.items():
        assert isinstance(model.transformer, FastTransformer)  # no other has such layers
        weight, rows = model.transformer.place_of(f"{name}.weight")
        layer = model.transformer.get_submodule(weight.rpartition(".")[0])
        add(layer, sum(of_layer, torch.zeros(())), rows)
    for lora, strength in heard:
        if text := model.text_encoder:
            learn_words(text, lora)
            if lora.tokens:
                add_to_tokens(text.model.get_input_embeddings(), lora, strength)
        if model.learned_null_1LD is not None and lora.null_1LD is not None:
            null_1LD = model.learned_null_1LD
            model.learned_null_1LD = (null_1LD.float() + strength * lora.null_1LD.to(null_1LD.device)).to(null_1LD)
    return model


def add(layer: nn.Module, delta: Tensor, rows: slice = slice(None)) -> None:
    """To some rows of a layer's weight, in place of the old one, which may be shared or mapped from a file."""
    old = cast(nn.Parameter, layer.weight)
    changed = old.detach().clone()
    changed[rows] = (changed[rows].float() + delta.to(changed.device)).to(changed.dtype)
    layer.weight = nn.Parameter(changed, requires_grad=old.requires_grad)


def learn_words(text: TextEncoder, lora: Lora) -> None:
    """What a LoRA has taught is no unknown word."""
    if text.known_words is not None:
        text.known_words = text.known_words.union(*map(spelled_words, lora.about.words))


def add_to_tokens(embedding: nn.Module, lora: Lora, strength: float) -> None:
    delta = torch.zeros(cast(Tensor, embedding.weight).shape)
    for i, vector_D in lora.tokens.items():
        delta[i] = strength * vector_D
    add(embedding, delta)
