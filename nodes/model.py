"""What a VQ_DIFFUSION link carries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..vqdiffusion_core.diffusion.guidance import Condition
from ..vqdiffusion_core.diffusion.settings import Settings
from ..vqdiffusion_core.model import VQDiffusion
from ..vqdiffusion_core.networks.specs import PriorSpec
from . import runtime
from .clip import Clip
from .vae import Vae


@dataclass(eq=False)
class ManagedModel:
    """A model whose networks ComfyUI manages: it says when each is loaded, and on which device."""

    model: VQDiffusion
    patcher: runtime.Patcher  # of the transformer; named so because the host's cache finds models by this name
    clip: Clip | None  # None where the model reads no text
    vae: Vae
    folder: Path  # of its files
    options: dict[str, Any] = field(default_factory=dict)  # settings beyond the sampler's own, from the options nodes

    @classmethod
    def of(cls, model: VQDiffusion, folder: Path) -> ManagedModel:
        return cls(
            model,
            runtime.manage(model.prepare_for_inference().transformer, "transformer"),
            Clip(model.text_encoder) if model.text_encoder else None,
            Vae(model.vqgan),
            folder,
        )

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def spec(self) -> PriorSpec:
        return self.model.transformer.spec

    @property
    def cell(self) -> int:
        """Pixels along each side of a token."""
        return self.vae.downscale_ratio

    def null(self) -> Condition:
        """The model's own, for which the host loads the text encoder where it is needed."""
        return self.model.null(self.clip and self.clip.encode)

    def with_options(self, **options: Any) -> ManagedModel:
        """The same model, drawn with these settings of `settings.Settings`."""
        Settings(**(self.options | options))  # refuses here, in the node that was set, what has no meaning
        return replace(self, options=self.options | options)

    def get_ram_usage(self) -> int:
        return self.patcher.model_size()
