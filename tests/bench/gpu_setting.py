"""Where, how long and at what size the parts of `./dev gpu` run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vqdiffusion_core.networks.specs import TransformerSpec, VQGANSpec

from . import clock, models


@dataclass(frozen=True)
class Setting:
    device: torch.device
    dry: bool
    out: Path
    deadline: float  # of time.monotonic

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    @property
    def on_card(self) -> bool:
        return self.device.type == "cuda"

    def spec(self, spec: TransformerSpec) -> TransformerSpec:
        return replace(spec, layers=2, width=32, heads=2, grid=(4, 4), codebook_size=50) if self.dry else spec

    def codec_spec(self, spec: VQGANSpec = models.ITHQ_VQGAN) -> VQGANSpec:
        return VQGANSpec((8, 8), 1, (), 8, 4, codebook_size=16, norm_groups=4) if self.dry else spec

    def times(self, call: Callable[[], object]) -> clock.Times:
        call()
        return clock.paired({"": call}, rounds=1 if self.dry else 30)[""]
