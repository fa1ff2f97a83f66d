"""What a VQ_DIFFUSION link carries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..vqdiffusion_core import preview
from ..vqdiffusion_core.guidance import Condition
from ..vqdiffusion_core.model import VQDiffusion
from ..vqdiffusion_core.schedule import Schedule
from ..vqdiffusion_core.specs import TransformerSpec
from ..vqdiffusion_core.transformer import Transformer
from . import runtime
from .clip import Clip
from .vae import Vae


@dataclass(eq=False)
class VQModel:
    """A loaded model, each of its networks in the host's hands."""

    name: str
    patcher: runtime.Patcher  # of the transformer; named so because the host's cache finds models by this name
    schedule: Schedule
    learned_null_1LD: Tensor | None
    clip: Clip | None  # None where the model reads no text
    vae: Vae

    @classmethod
    def of(cls, model: VQDiffusion) -> VQModel:
        return cls(
            model.name,
            runtime.manage(model.transformer, "transformer"),
            model.schedule,
            model.learned_null_1LD,
            Clip(model.text_encoder) if model.text_encoder else None,
            Vae(model.vqgan),
        )

    @property
    def transformer(self) -> Transformer:
        return self.patcher.model

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.content_emb.emb.weight.dtype

    @property
    def spec(self) -> TransformerSpec:
        return self.transformer.spec

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of this model's pictures."""
        rows, columns = self.spec.grid
        return rows * self.vae.downscale_ratio, columns * self.vae.downscale_ratio

    def null(self) -> Condition:
        """What guidance pushes away from where nothing negative is given."""
        if self.learned_null_1LD is not None:
            return self.learned_null_1LD
        if self.spec.condition == "class":
            return torch.tensor([self.spec.null_class])
        return self.clip.encode("") if self.clip else None

    @cached_property
    def palette(self) -> Tensor:
        """A colour for each codebook entry, for previews; worked out when the first one is wanted."""
        self.vae.load((1, 1, 2 * preview.PAGE, 2 * preview.PAGE), cell=self.vae.upscale_ratio)
        return preview.palette(self.vae.first_stage_model)

    def get_ram_usage(self) -> int:
        return self.patcher.model_size()
