"""Which conditions speak at a token and a time, and how loudly: guidance (Tang et al. 2022, section 3.1), as weights.

A denoiser adds up weight * log p(x_0 | x_t, condition) over its branches and normalises. Classifier-free guidance,
log p_null + g * (log p_cond - log p_null), is the two weights g and 1 - g. Being normalised, the sum leaves the rate at
which tokens are unmasked as it was trained, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Condition = Tensor | None  # text vectors (1 or B, L, D), class ids (1 or B,), or None: as the transformer's spec says
Weight = Callable[[float], float | Tensor]  # time t -> one weight, or one a token (N,)


@dataclass(frozen=True)
class Branch:
    """A condition, and its weight by time."""

    condition: Condition
    weight: Weight


def guided(condition: Condition, null: Condition, scale: float) -> list[Branch]:
    """Classifier-free guidance: `scale` 1 is the plain conditional prediction (one pass of the network), 0 the
    unconditional one; the papers use 3 to 5 for text.
    """
    if abs(scale - 1) < 1e-3:  # the original's switch
        return [Branch(condition, lambda t: 1.0)]
    return [Branch(condition, lambda t: scale), Branch(null, lambda t: 1 - scale)]
