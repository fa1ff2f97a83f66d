"""What a VQ_DIFFUSION link carries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..vqdiffusion_core.diffusion.guidance import Condition
from ..vqdiffusion_core.diffusion.schedule import Schedule
from ..vqdiffusion_core.diffusion.settings import Settings
from ..vqdiffusion_core.model import VQDiffusion
from ..vqdiffusion_core.networks.specs import TransformerSpec
from ..vqdiffusion_core.networks.transformer import Transformer
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
    options: dict[str, Any] = field(default_factory=dict)  # settings beyond the sampler's own, from the options nodes

    @classmethod
    def of(cls, model: VQDiffusion) -> VQModel:
        return cls(
            model.name,
            runtime.manage(model.transformer.cache_adaln(), "transformer"),
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

    def null(self) -> Condition:
        """What guidance pushes away from where nothing negative is given."""
        if self.learned_null_1LD is not None:
            return self.learned_null_1LD
        if self.spec.condition == "class":
            return torch.tensor([self.spec.null_class])
        return self.clip.encode("") if self.clip else None

    def with_options(self, **options: Any) -> VQModel:
        """The same model, drawn with these settings of `settings.Settings`."""
        Settings(**(self.options | options))  # refuses here, in the node that was set, what has no meaning
        return replace(self, options=self.options | options)

    def get_ram_usage(self) -> int:
        return self.patcher.model_size()
