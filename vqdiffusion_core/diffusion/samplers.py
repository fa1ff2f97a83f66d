"""Samplers: generators that draw the tokens of an image from a denoiser, one network evaluation a step at most.

Each goes from time to time along a falling list that ends at 0, whatever its spacing, and changes a token only where
`drawn_BN`, how likely each token is masked in parts of gamma_bar, is above 0 (see `Region`). The state at the first
time comes in, the state after every step is yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .denoiser import Prediction, Shaped
from .inpainting import Region
from .noise import Noise, categorical, gumbel
from .posterior import change_probability, divide, draw_posterior
from .schedule import Schedule


class State(NamedTuple):
    """Tokens in the middle of a run."""

    x_BN: Tensor  # ids, int64; K is the mask
    confidence_BN: Tensor  # how likely the network found each token when it was drawn, 0..1: 0 masked, 1 known

    @classmethod
    def of(cls, x_BN: Tensor, mask_id: int) -> State:
        return cls(x_BN, (x_BN != mask_id).float())

    def drawn(self, where_BN: Tensor, x_M: Tensor, confidence_M: Tensor) -> State:
        """With other tokens at the M places where `where_BN` is true."""
        return State(self.x_BN.masked_scatter(where_BN, x_M), self.confidence_BN.masked_scatter(where_BN, confidence_M))

    def noisy(self, x_BN: Tensor) -> State:
        """With the tokens of a noisier state: of those that differ, nothing is known any more."""
        return State(x_BN, self.confidence_BN.masked_fill(x_BN != self.x_BN, 0.0))

    def masked(self, where_BN: Tensor, mask_id: int) -> State:
        return State(self.x_BN.masked_fill(where_BN, mask_id), self.confidence_BN.masked_fill(where_BN, 0.0))

    def to(self, device: torch.device) -> State:
        return State(self.x_BN.to(device), self.confidence_BN.to(device))


Sampler = Callable[[Shaped, State, Schedule, Sequence[float], Noise, Tensor], Iterator[State]]
Score = Callable[[Prediction, Tensor], Tensor]  # and drawn ids (M,) -> log of how much each wants to be uncovered


def ancestral(
    predict: Shaped, state: State, schedule: Schedule, times: Sequence[float], noise: Noise, drawn_BN: Tensor
) -> Iterator[State]:
    """The reverse process itself, by exact jumps (Gu et al. 2022, eq. 11).

    Tokens flip their coins before the network is asked, because the chance of a change does not depend on it: the head,
    truncation and draw run at the few positions that need them.
    """
    for t, s in pairwise(times):
        x_BN = state.x_BN
        coin_BN, pick_BN = (noise.uniform(x_BN.shape[1], device=x_BN.device) for _ in range(2))
        where_BN = (drawn_BN > 0) & (coin_BN < change_probability(x_BN, s, t, schedule))
        if where_BN.any():  # with more steps than tokens, many steps move none and need no network
            x0_M, p_M = draw(predict(x_BN, t, where_BN).log_p_MK, pick_BN[where_BN])
            x_M = draw_posterior(x_BN[where_BN], x0_M, s, t, schedule, coin_BN[where_BN])
            kept_M = state.confidence_BN[where_BN]
            state = state.drawn(where_BN, x_M, torch.where(x_M == x0_M, p_M, kept_M))
        yield state


def counted(
    predict: Shaped,
    state: State,
    schedule: Schedule,
    times: Sequence[float],
    noise: Noise,
    drawn_BN: Tensor,
    *,
    score: Score,
    luck: Callable[[float], float] = lambda gamma: 1.0,
) -> Iterator[State]:
    """Uncovers so many tokens in each step that as many stay masked as the law has on average, without its variance
    (fewer tokens, Tang et al. 2022, 3.2; parallel decoding, Chang et al. 2022).

    Which ones is drawn without replacement, with chances proportional to exp(score / luck): the top of score + luck *
    Gumbel noise. What is visible stays.
    """
    K = schedule.codebook_size
    for t, s in pairwise(times):
        x_BN, gamma = state.x_BN, schedule.bar(s).gamma
        order_BN, pick_BN = (noise.uniform(x_BN.shape[1], device=x_BN.device) for _ in range(2))
        masked_BN = (drawn_BN > 0) & (x_BN == K)
        stay_B1 = (drawn_BN.sum(1, keepdim=True) * gamma).round()
        count_B1 = masked_BN.sum(1, keepdim=True) - stay_B1
        if (count_B1 > 0).any():
            prediction = predict(x_BN, t, masked_BN)
            x0_M, p_M = draw(prediction.log_p_MK, pick_BN[masked_BN])
            score_M = score(prediction, x0_M).double() + luck(gamma) * gumbel(order_BN[masked_BN])
            score_BN = torch.full_like(order_BN, float("-inf")).masked_scatter(masked_BN, score_M)
            rank_BN = score_BN.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
            chosen_BN = masked_BN & (rank_BN < count_B1)
            chosen_M = chosen_BN[masked_BN]
            state = state.drawn(chosen_BN, x0_M[chosen_M], p_M[chosen_M])
        yield state


def by_chance(prediction: Prediction, x0_M: Tensor) -> Tensor:
    """Score of `counted`: every token alike."""
    return torch.zeros_like(prediction.log_purity_M)


def by_purity(weight: float) -> Score:
    """Score of `counted`: purity ** weight, with purity = max p (Tang et al. 2022, eq. 9). Weight 0 is `by_chance`."""
    return lambda prediction, x0_M: weight * prediction.log_purity_M


def by_confidence(prediction: Prediction, x0_M: Tensor) -> Tensor:
    """Score of `counted`: the probability of what was drawn (Chang et al. 2022)."""
    return prediction.log_p_MK.gather(-1, x0_M[:, None])[:, 0]


def remasking(
    predict: Shaped,
    state: State,
    schedule: Schedule,
    times: Sequence[float],
    noise: Noise,
    drawn_BN: Tensor,
    *,
    chance: Callable[[Tensor], Tensor],
    doubt: bool,
) -> Iterator[State]:
    """Takes drawn tokens back now and then, so that the model can correct them (ReMDM, Wang et al. 2025), and draws the
    more anew, so that as many are masked as without.

    `chance` makes the chance sigma of being taken back out of the highest that the law allows. With `doubt`, tokens
    that were drawn with little confidence have more of it and sure ones less, with the same mean.
    """
    K = schedule.codebook_size
    for t, s in pairwise(times):
        x_BN = state.x_BN
        gamma_t_BN, gamma_s_BN = (drawn_BN.double() * schedule.bar(time).gamma for time in (t, s))
        sigma_BN = chance((gamma_s_BN / (1 - gamma_t_BN).clamp(min=1e-300)).clamp(max=1))
        coin_BN, pick_BN = (noise.uniform(x_BN.shape[1], device=x_BN.device) for _ in range(2))
        masked_BN = (drawn_BN > 0) & (x_BN == K)
        visible_BN = (drawn_BN > 0) & ~masked_BN
        # gamma_s = gamma_t * (1 - uncover) + (1 - gamma_t) * sigma, solved for the chance of a masked token
        uncover_BN = 1 - divide(gamma_s_BN - sigma_BN * (1 - gamma_t_BN), gamma_t_BN)
        sigma_BN = doubtful(sigma_BN, state.confidence_BN, visible_BN) if doubt else sigma_BN
        where_BN = masked_BN & (coin_BN < uncover_BN)
        if where_BN.any():
            state = state.drawn(where_BN, *draw(predict(x_BN, t, where_BN).log_p_MK, pick_BN[where_BN]))
        state = state.masked(visible_BN & (coin_BN < sigma_BN), K)
        yield state


def doubtful(sigma_BN: Tensor, confidence_BN: Tensor, visible_BN: Tensor) -> Tensor:
    """sigma shared out among the visible tokens by softmax(-confidence), with mean sigma (ReMDM, remasking by
    confidence; there the shares add up to sigma instead, which hardly remasks anything on a large grid).
    """
    share_BN = (-confidence_BN.double()).masked_fill(~visible_BN, float("-inf")).softmax(1).nan_to_num()
    return (sigma_BN * visible_BN.sum(1, keepdim=True) * share_BN).clamp(max=1)


def draw(log_p_MK: Tensor, uniform_M: Tensor) -> tuple[Tensor, Tensor]:
    """An id from each distribution, and its probability."""
    x0_M = categorical(log_p_MK, uniform_M)
    return x0_M, log_p_MK.gather(-1, x0_M[:, None])[:, 0].exp()


def edited(sampler: Sampler, region: Region, rounds: Sequence[int]) -> Sampler:
    """`sampler`, jump by jump, with two things that an edit may need between jumps: tokens of a soft region join when
    their time has come, and jump i is taken back and done again until it was done rounds[i] times (the corrector of
    Campbell et al. 2022; RePaint's resampling, Lugmayr et al. 2022).
    """

    def run(
        predict: Shaped, state: State, schedule: Schedule, times: Sequence[float], noise: Noise, drawn_BN: Tensor
    ) -> Iterator[State]:
        for (t, s), count in zip(pairwise(times), rounds, strict=True):
            state = state.noisy(region.released(state.x_BN, t, drawn_BN > 0, noise))
            drawn_BN = region.drawn_BN(t).to(drawn_BN.device)
            for left in reversed(range(count)):
                (state,) = sampler(predict, state, schedule, [t, s], noise, drawn_BN)
                yield state
                if left:
                    state = state.noisy(region.taken_back(state.x_BN, s, t, noise))

    return run
