"""What a LoRA is, and whether it is one of this model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from ..checkpoints.errors import CheckpointError, shortlist
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..networks.inference import FastTransformer
from ..notices import notify

ATTENTION = ("query", "key", "value", "proj")
HASHED_ROWS = 64  # of a table, for a fingerprint


@dataclass(frozen=True)
class About:
    """Where a LoRA comes from: what its file says beside the numbers."""

    rank: int
    words: tuple[str, ...] = ()  # that it taught
    base: str = ""  # name of the model that it was taught on
    shape: str = ""  # of that, in words
    weights: str = ""  # `weights_mark` of that
    recipe: Mapping[str, Any] = field(default_factory=dict)  # how it was taught


@dataclass(frozen=True)
class Lora:
    """What is added to a model at strength 1, in float32."""

    name: str
    pairs: Mapping[str, tuple[Tensor, Tensor]]  # of a linear layer of the transformer: A (rank, in) and B (out, rank)
    about: About
    tokens: Mapping[int, Tensor] = field(default_factory=dict)  # of the text encoder's token vectors, by id: (D,)
    null_1LD: Tensor | None = None  # of the learned null

    def check_fit(self, model: VQDiffusion) -> None:
        """Raise CheckpointError where this is of a model of another shape; say so where it is of another model of this
        one's shape, such as one that was fine-tuned, with which it may do well.
        """
        if wrong := [*self.misfits(model)]:
            source = f"It was taught on {self.about.base}: {self.about.shape}. " if self.about.base else ""
            raise CheckpointError(
                f"{self.name} is a LoRA of another model than {model.name}: {shortlist(wrong)}. {source}"
                f"{model.name} is: {shape_of(model)}."
            )
        if self.about.weights and self.about.weights != weights_mark(model.transformer):
            notify(
                f"{self.name} was taught on another model, {self.about.base}, of the same shape as {model.name}: it is "
                "used, and may show less of what it learned."
            )

    def misfits(self, model: VQDiffusion) -> Iterator[str]:
        """What of this has no place in the model, in words."""
        shapes = adaptable(model.transformer)
        for name, (A_ri, B_or) in self.pairs.items():
            shape = B_or.shape[0], A_ri.shape[1]
            if name not in shapes:
                yield f"there is no layer {name}"
            elif shapes[name] != shape:
                yield f"{name} is {shapes[name]}, not {shape}"
        text, null_1LD = model.text_encoder, model.learned_null_1LD
        for i, vector_D in self.tokens.items():
            if text is None or i >= text.model.config.vocab_size or len(vector_D) != text.width:
                yield f"there is no token {i} with a vector of {len(vector_D)} numbers"
        if self.null_1LD is not None and (null_1LD is None or null_1LD.shape != self.null_1LD.shape):
            yield f"there is no learned null of {tuple(self.null_1LD.shape[1:])}"


def adaptable(transformer: FastTransformer | GPT) -> dict[str, tuple[int, int]]:
    """The linear layers that LoRAs may change, by their published names, with the shapes of their weights, (out, in):
    those of attention and of MLPs; none of a GPT.
    """
    if isinstance(transformer, GPT):
        return {}
    spec, shapes = transformer.spec, dict[str, tuple[int, int]]()
    W, inner = spec.width, spec.mlp_ratio * spec.width
    for block in (f"blocks.{i}" for i in range(spec.layers)):
        shapes |= {f"{block}.attn1.{layer}": (W, W) for layer in ATTENTION}
        if spec.condition == "text":
            sources = {"key": spec.text_width, "value": spec.text_width}
            shapes |= {f"{block}.attn2.{layer}": (W, sources.get(layer, W)) for layer in ATTENTION}
        if spec.mlp == "linear":
            shapes |= {f"{block}.mlp.0": (inner, W), f"{block}.mlp.2": (W, inner)}
    return shapes


def shape_of(model: VQDiffusion) -> str:
    """What a LoRA depends on, in words."""
    spec, text = model.transformer.spec, model.text_encoder
    reads = f"texts of {text.length} x {text.width}" if text else spec.condition
    rows, columns = spec.grid
    return f"{spec.layers} layers x {spec.width}, {columns} x {rows} tokens of {spec.codebook_size} codes, {reads}"


def weights_mark(transformer: FastTransformer | GPT) -> str:
    """Tells a model from another of its shape, whatever its number type: by the signs of some weights that no LoRA
    changes, which rounding keeps and further training does not.
    """
    if isinstance(transformer, GPT):
        return ""
    digest = hashlib.sha256()
    for layer in (transformer.content_emb.emb, transformer.to_logits[1]):
        signs = torch.signbit(cast(Tensor, layer.weight).detach()[:HASHED_ROWS].float()).cpu()
        digest.update(signs.numpy().tobytes())
    return digest.hexdigest()[:16]
