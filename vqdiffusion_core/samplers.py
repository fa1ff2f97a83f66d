"""Samplers: generators that draw the tokens of a picture from a denoiser, one network evaluation a step at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Predict
from .noise import Noise, categorical
from .posterior import draw_chance, draw_posterior
from .schedule import Schedule


def ancestral(
    predict: Predict,
    x_BN: Tensor,
    schedule: Schedule,
    times: Sequence[float],
    noise: Noise,
    free_BN: Tensor,
) -> Iterator[Tensor]:
    """The reverse process itself, by exact jumps between any falling list of times that ends at 0.

    `x_BN` is the state at `times[0]`; only tokens where `free_BN` is true are ever changed. Yields the state after
    every jump. Tokens flip their coins before the network is asked, because the chance of a change does not depend on
    it: the head, truncation and draw run at the few positions that need them.
    """
    for t, s in pairwise(times):
        coin_BN, pick_BN = (noise.uniform(x_BN.shape[1], device=x_BN.device) for _ in range(2))
        where_BN = free_BN & (coin_BN < draw_chance(x_BN, s, t, schedule))
        if where_BN.any():  # with more steps than tokens, many steps move none and need no network
            x0_M = categorical(predict(x_BN, t, where_BN), pick_BN[where_BN])
            drawn_M = draw_posterior(x_BN[where_BN], x0_M, s, t, schedule, coin_BN[where_BN])
            x_BN = x_BN.masked_scatter(where_BN, drawn_M)
        yield x_BN
