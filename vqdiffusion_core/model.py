"""A loaded VQ-Diffusion model: the parts that together turn a prompt into a picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .schedule import Schedule
from .text_encoder import TextEncoder
from .transformer import Transformer
from .vqgan import VQGAN


@dataclass
class VQDiffusion:
    name: str
    transformer: Transformer
    schedule: Schedule
    vqgan: VQGAN
    text_encoder: TextEncoder | None = None  # None: the model is conditioned on a class, or on nothing
    learned_null_1LD: Tensor | None = None  # used as it is; None: the encoded empty prompt stands in for it

    def encode(self, prompt: str) -> Tensor:
        """Text vectors (1, L, D) of a prompt. Raises ValueError where the model reads no text."""
        if self.text_encoder is None:
            raise ValueError(f"{self.name} has no text encoder: it does not draw from prompts.")
        return self.text_encoder.encode([prompt])

    def null(self, negative: str | None = None) -> Tensor:
        """The condition that guidance pushes away from: the negative prompt, else the learned null embedding, else the
        empty prompt. (1, L, D)
        """
        if negative is None and self.learned_null_1LD is not None:
            return self.learned_null_1LD
        return self.encode(negative or "")
