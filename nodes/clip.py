"""A text encoder as the CLIP that ComfyUI's own nodes know: CLIPTextEncode and its relatives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..vqdiffusion_core.text_encoder import TextEncoder
from . import conditioning, runtime

Tokens = dict[str, list[list[tuple[int, float]]]]  # the core's own form: per encoder, per prompt, (id, weight)

ENCODER = "vq_diffusion"  # its name in Tokens: no other model's "l" or "g" passes for it, nor this one for them


class Clip:
    def __init__(self, text_encoder: TextEncoder):
        self.patcher = runtime.manage(text_encoder, "text encoder")

    @property
    def cond_stage_model(self) -> TextEncoder:
        return self.patcher.model

    def tokenize(self, text: str, return_word_ids: bool = False, **options: Any) -> Tokens:
        return {ENCODER: [self.cond_stage_model.weigh(text)]}

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

    def embed(self, tokens: Tokens) -> Tensor:
        runtime.load(self.patcher)
        return self.cond_stage_model.embed_weighted(tokens[ENCODER]).to(runtime.intermediate_device())

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
