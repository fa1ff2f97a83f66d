"""A loaded VQ-Diffusion model: the parts that together turn a prompt into an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .diffusion.guidance import Condition
from .diffusion.schedule import Schedule
from .networks.classes import class_number
from .networks.gpt import GPT
from .networks.inference import FastTransformer
from .networks.text_encoder import TextEncoder
from .networks.vqgan import VQGAN


@dataclass
class VQDiffusion:
    name: str
    transformer: FastTransformer | GPT
    schedule: Schedule  # of a GPT, which has none: one step in which all is masked, and then drawn
    vqgan: VQGAN
    text_encoder: TextEncoder | None = None  # None: the model draws classes, or without any condition
    learned_null_1LD: Tensor | None = None  # used as it is; None: the encoded empty prompt stands in for it

    def prepare_for_inference(self, device: torch.device | str = "cpu") -> VQDiffusion:
        """Made ready for drawing on a device: smaller and faster, and no longer to be trained or saved."""
        if isinstance(self.transformer, FastTransformer):
            self.transformer.prepare_for_inference()
        for part in (self.transformer, self.vqgan, self.text_encoder):
            if part is not None:
                part.to(device)
        return self

    def encode(self, prompt: str) -> Condition:
        """What the transformer reads of a prompt: text vectors (1, L, D), of the transformer's number type; of a class,
        by name or number, its id (1,); None where it draws without any. Raises ValueError where it cannot draw that.
        """
        if self.text_encoder is not None:
            return self.text_encoder.encode([prompt]).to(self.device, self.dtype)
        spec = self.transformer.spec
        if spec.condition == "class":
            return torch.tensor([class_number(prompt, spec.class_rows)], device=self.device)
        if prompt:
            raise ValueError(f"{self.name} draws without a prompt, of what it was trained on alone; give it none.")
        return None

    def null(self, encode: Callable[[str], Condition] | None = None) -> Condition:
        """What guidance pushes away from where nothing negative is given: the null class or the learned null embedding,
        else the empty prompt, by `encode` where another than this model holds its text encoder.
        """
        if self.transformer.spec.condition == "class":
            return torch.tensor([self.transformer.spec.null_class], device=self.device)
        if self.learned_null_1LD is not None:
            return self.learned_null_1LD.to(self.device, self.dtype)
        return (encode or self.encode)("")

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return next(self.transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The transformer's number type."""
        return next(self.transformer.parameters()).dtype
