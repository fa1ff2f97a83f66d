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
    """All but the samples is there to be shown, and lies on the CPU."""

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

        samples = to_samples(state.x_BN.unflatten(1, grid)).to(runtime.intermediate_device())
        shown = (torch.stack(first).int(), drawn_at_BN, state.confidence_BN)
        return cls(samples, *(values_BN.unflatten(1, grid).cpu() for values_BN in shown))

    def to_latent(self, latent: Latent) -> Latent:
        """The LATENT that was drawn on, with what the run has made of it."""
        return latent | {"samples": self.samples, HISTORY: self}


def read_history(latent: Latent) -> History | None:
    """The run that this LATENT's tokens come from; None where a node has changed them since, or none has left one."""
    history, samples = latent.get(HISTORY), latent["samples"]
    unchanged = isinstance(history, History) and torch.equal(history.samples.to(samples.device), samples)
    return history if unchanged else None
