"""A text encoder as the CLIP that ComfyUI's own nodes know: CLIPTextEncode and its relatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..vqdiffusion_core.networks.text_encoder import TextEncoder
from ..vqdiffusion_core.notices import notify
from . import conditioning, runtime
from .host_types import describe

ENCODER = "l"  # the host's name for one CLIP encoder alone, which other packs look for
USE = "Use CLIP Text Encode (Prompt) or VQ-Diffusion Text Encode."


class TextEncodeError(ValueError):
    """What a node asks of this text encoder and it does not have, or what cannot be a prompt of it."""


class Tokens(dict[str, list[list[tuple[Any, ...]]]]):
    """The core's own form: per encoder, per prompt, (id, weight), or (id, weight, word) where words are counted."""

    def __missing__(self, encoder: str) -> Any:
        raise TextEncodeError(
            f"This node encodes text for a model that has a text encoder {encoder!r}; VQ-Diffusion has one CLIP alone, "
            f"{ENCODER!r}. {USE}"
        )


class Clip:
    def __init__(self, text_encoder: TextEncoder):
        self.patcher = runtime.manage(text_encoder, "text encoder")

    @property
    def cond_stage_model(self) -> TextEncoder:
        return self.patcher.model

    @runtime.with_notices
    def tokenize(self, text: str, return_word_ids: bool = False, **options: Any) -> Tokens:
        """One prompt; `return_word_ids` adds which word of it a token belongs to, from 1, or 0 for none."""
        if not isinstance(text, str):
            raise TextEncodeError(
                f"text is {describe(text)}; expected a prompt. The node that writes it has given something else: "
                "connect one that gives a STRING."
            )
        if unread := [name for name, value in options.items() if is_given(value)]:
            notify(f"{', '.join(unread)} not read: VQ-Diffusion's text encoder reads text alone.")
        tokens = self.cond_stage_model.weigh(text)
        return Tokens({ENCODER: [[tuple(token) if return_word_ids else token[:2] for token in tokens]]})

    def encode_from_tokens(self, tokens: Tokens, return_pooled: bool = False, return_dict: bool = False) -> Any:
        """Text vectors (1, L, D); these models have no pooled output, so None where one is asked for."""
        text_BLD = self.embed(tokens)
        if return_dict:
            return {"cond": text_BLD, "pooled_output": None}
        return (text_BLD, None) if return_pooled else text_BLD

    def encode_from_tokens_scheduled(
        self, tokens: Tokens, unprojected: bool = False, add_dict: dict[str, Any] | None = None, show_pbar: bool = True
    ) -> conditioning.Conditioning:
        return conditioning.of_text(self.embed(tokens), add_dict)

    def encode(self, text: str) -> Tensor:
        return self.embed(self.tokenize(text))

    @runtime.usual_defaults()
    def embed(self, tokens: Tokens) -> Tensor:
        """Text vectors (1, L, D); prompts of several pieces follow one another, as in the core."""
        pieces = read_pieces(tokens, self.cond_stage_model)
        text_BLD = self.cond_stage_model.embed_weighted(pieces, runtime.load(self.patcher))
        return text_BLD.flatten(0, 1)[None].to(runtime.intermediate_device())

    def clone(self) -> Clip:
        """A copy that shares the weights, for nodes that change an option of it."""
        copy = object.__new__(Clip)
        copy.patcher = self.patcher.clone()
        return copy

    def clip_layer(self, layer: int) -> None:
        """CLIPSetLastLayer: -1, the last, is the only layer that VQ-Diffusion's transformers have learned to read."""
        if layer != -1:
            raise ValueError(
                f"stop_at_clip_layer is {layer}; VQ-Diffusion reads the last layer of its text encoder alone. "
                "Set it to -1 or take CLIP Set Last Layer out."
            )

    def load_model(self) -> runtime.Patcher:
        runtime.load(self.patcher)
        return self.patcher

    def get_sd(self) -> dict[str, Tensor]:
        return self.cond_stage_model.state_dict()

    def get_ram_usage(self) -> int:
        return self.patcher.model_size()


def is_given(value: Any) -> bool:
    """Whether an option holds anything to read: words, images; not a number or a switch."""
    return torch.is_tensor(value) or (isinstance(value, str | list | tuple | dict) and len(value) > 0)


def read_pieces(tokens: dict[str, list[list[tuple[Any, ...]]]], encoder: TextEncoder) -> list[list[tuple[Any, ...]]]:
    """The pieces of a prompt that `Clip.tokenize` has read; other nodes may have weighted or joined them."""
    if others := sorted(tokens.keys() - {ENCODER}):
        raise TextEncodeError(
            f"These tokens are for other models' text encoders, {', '.join(others)}; VQ-Diffusion has one CLIP alone, "
            f"{ENCODER!r}. {USE}"
        )
    pieces = tokens[ENCODER]
    vocabulary = encoder.model.config.vocab_size
    for piece in pieces:
        if len(piece) != encoder.length or not all(isinstance(i, int) and 0 <= i < vocabulary for i, *_ in piece):
            raise TextEncodeError(
                f"A prompt has come back from a node as {len(piece)} tokens that this text encoder did not make; "
                f"expected {encoder.length} ids below {vocabulary}. {USE}"
            )
    if not pieces:
        raise TextEncodeError(f"A node has taken all tokens out of a prompt; expected {encoder.length}. {USE}")
    return pieces
