"""How a run came to its tokens: left by the sampler in its LATENT, read by the inspector."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vqdiffusion_core.diffusion.samplers import State
from ..vqdiffusion_core.diffusion.windows import Grid
from . import runtime
from .latents import Latent, to_samples

HISTORY = "vq_history"  # its key in a LATENT


@dataclass(frozen=True, eq=False)
class History:
    samples: Tensor  # (B, 1, h, w), what the run gave
    first_Shw: Tensor  # the first image's tokens before the run and after each step, int32
    drawn_at_Bhw: Tensor  # the step that drew each token, from 1; 0 where the run has kept it
    confidence_Bhw: Tensor  # how likely the network found each token then, 0..1; 1 where it was kept

    @classmethod
    def of(cls, states: Iterable[State], grid: Grid) -> History:
        """Of a run, which is brought to its end."""
        states = iter(states)
        state = next(states)
        first, drawn_at_BN = [state.x_BN[0]], torch.zeros_like(state.x_BN, dtype=torch.int32)
        for step, later in enumerate(states, 1):
            drawn_at_BN = torch.where(later.x_BN != state.x_BN, step, drawn_at_BN)
            first.append(later.x_BN[0])
            state = later

        def lay_out(values_BN: Tensor) -> Tensor:
            return values_BN.unflatten(1, grid).to(runtime.intermediate_device())

        first_SN = torch.stack(first).int()
        return cls(
            to_samples(lay_out(state.x_BN)), lay_out(first_SN), lay_out(drawn_at_BN), lay_out(state.confidence_BN)
        )

    def to_latent(self, latent: Latent) -> Latent:
        """The LATENT that was drawn on, with what the run has made of it."""
        return latent | {"samples": self.samples, HISTORY: self}


def read_history(latent: Latent) -> History | None:
    """The run that this LATENT's tokens come from; None where a node has changed them since, or none has left one."""
    history, samples = latent.get(HISTORY), latent["samples"]
    return history if isinstance(history, History) and torch.equal(history.samples, samples) else None
