"""Steps: how each sampler takes the tokens of an image from time t to an earlier time s, with one network evaluation
at most. A sampler is such a function, and a line in `settings.SAMPLERS`; the loop around it is in `sampling`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .noise import Noise, gumbel
from .posterior import change_probability, divide, draw_posterior
from .predictor import Predict, Prediction
from .schedule import Schedule

MOST = 1 - 2**-24  # what is sure and drawn is told from what is known, in float32


class State(NamedTuple):
    """Tokens in the middle of a run, on the CPU."""

    x_BN: Tensor  # ids, int64; K is the mask
    confidence_BN: Tensor  # how likely the network found each token when it was drawn, 0..MOST: 0 masked, 1 known

    @classmethod
    def from_tokens(cls, x_BN: Tensor, mask_id: int) -> State:
        return cls(x_BN, (x_BN != mask_id).float())

    def scatter(self, where_BN: Tensor, x_M: Tensor, confidence_M: Tensor) -> State:
        """With other tokens, drawn by the run, at the M places where `where_BN` is true."""
        confidence_M = confidence_M.clamp(max=MOST)
        return State(self.x_BN.masked_scatter(where_BN, x_M), self.confidence_BN.masked_scatter(where_BN, confidence_M))

    def mask(self, where_BN: Tensor, mask_id: int) -> State:
        return State(self.x_BN.masked_fill(where_BN, mask_id), self.confidence_BN.masked_fill(where_BN, 0.0))

    def corrupt(self, x_BN: Tensor) -> State:
        """With the tokens of a noisier state: of those that differ, nothing is known any more."""
        return State(x_BN, self.confidence_BN.masked_fill(x_BN != self.x_BN, 0.0))


class Jump(NamedTuple):
    """From time t to an earlier time s, and what the law says of it before any token is drawn."""

    t: float
    s: float
    editable_BN: Tensor  # bool: where tokens may change
    gamma_t_BN: Tensor  # float64: how likely an editable token is masked at t, and at s; 0 where none may change
    gamma_s_BN: Tensor
    gamma_join_BN: Tensor  # float64: how likely it has been masked since it became editable, at the start of most runs


@dataclass(frozen=True)
class Run:
    """What the steps of a run share."""

    predict: Predict
    schedule: Schedule
    noise: Noise

    def uniform(self, x_BN: Tensor) -> Tensor:
        """A number in [0, 1) for every token, the same for an image whatever its batch."""
        return self.noise.uniform(x_BN.shape[1])


Step = Callable[[Run, State, Jump], State]  # the state at t -> that at s; tokens that are not editable stay
Score = Callable[[Prediction], Tensor]  # -> log of how much each drawn token wants to be uncovered, (M,)


def ancestral(run: Run, state: State, jump: Jump) -> State:
    """The reverse process itself, x_s ~ p(x_s | x_t), by an exact jump (Gu et al. 2022, eq. 11).

    Tokens flip their coins before the network is asked, because the chance of a change does not depend on it: the head,
    truncation and draw run at the few positions that need them.
    """
    x_BN, t, s = state.x_BN, jump.t, jump.s
    coin_BN, pick_BN = run.uniform(x_BN), run.uniform(x_BN)
    where_BN = jump.editable_BN & (coin_BN < change_probability(x_BN, s, t, run.schedule))
    if not where_BN.any():  # with more steps than tokens, many steps move none and need no network
        return state
    x0_M, log_p_M, _ = run.predict(x_BN, t, where_BN, pick_BN)
    x_M = draw_posterior(x_BN[where_BN], x0_M, s, t, run.schedule, coin_BN[where_BN])
    return state.scatter(where_BN, x_M, torch.where(x_M == x0_M, log_p_M.exp(), state.confidence_BN[where_BN]))


def uncover(
    run: Run,
    state: State,
    jump: Jump,
    *,
    score: Score,
    choice_temperature: Callable[[float], float] = lambda gamma: 1.0,
) -> State:
    """Uncovers as many tokens as leave the law's mean number masked (fewer tokens, Tang et al. 2022, 3.2; parallel
    decoding, Chang et al. 2022). What is visible stays.

    Which ones is drawn without replacement, with chances proportional to exp(score / choice temperature): the top of
    score + choice temperature * Gumbel noise.
    """
    x_BN, gamma = state.x_BN, run.schedule.bar(jump.s).gamma
    order_BN, pick_BN = run.uniform(x_BN), run.uniform(x_BN)
    masked_BN = jump.editable_BN & (x_BN == run.schedule.codebook_size)
    count_B1 = number_to_uncover(masked_BN, jump)
    if not (count_B1 > 0).any():
        return state
    prediction = run.predict(x_BN, jump.t, masked_BN, pick_BN)
    score_M = score(prediction).double() + choice_temperature(gamma) * gumbel(order_BN[masked_BN])
    chosen_BN = highest(order_BN.masked_scatter(masked_BN, score_M), masked_BN, count_B1)
    chosen_M = chosen_BN[masked_BN]
    return state.scatter(chosen_BN, prediction.x0_M[chosen_M], prediction.log_p_M[chosen_M].exp())


def number_to_uncover(masked_BN: Tensor, jump: Jump) -> Tensor:
    """How many of an image's masked tokens to uncover, so that the law's mean number is masked at s: (B, 1)."""
    # rounded twice, so that a half stays one however the sum was added up
    return masked_BN.sum(1, keepdim=True) - jump.gamma_s_BN.sum(1, keepdim=True).round(decimals=6).round()


def highest(score_BN: Tensor, among_BN: Tensor, count_B1: Tensor) -> Tensor:
    """Where the so many highest scores of each image lie among these tokens; of equal ones, the first: bool (B, N)."""
    score_BN = score_BN.masked_fill(~among_BN, float("-inf"))
    rank_BN = score_BN.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return among_BN & (rank_BN < count_B1)


def random_order(prediction: Prediction) -> Tensor:
    """Score of `uncover`: every token alike."""
    return torch.zeros_like(prediction.log_purity_M)


def purity(weight: float) -> Score:
    """Score of `uncover`: purity ** weight, where purity is max p (Tang et al. 2022, eq. 9). 0: `random_order`."""
    return lambda prediction: weight * prediction.log_purity_M


def confidence(prediction: Prediction) -> Tensor:
    """Score of `uncover`: the probability of what was drawn (Chang et al. 2022)."""
    return prediction.log_p_M


def remask(
    run: Run,
    state: State,
    jump: Jump,
    *,
    sigma: Callable[[Tensor], Tensor],
    by_confidence: bool,
) -> State:
    """Takes drawn tokens back now and then, so that the model can correct them, and draws the more anew: as many are
    masked as without (ReMDM, Wang et al. 2025). What the run found there, and so did not draw, stays.

    `sigma` makes the chance of being taken back out of the highest that the law allows. With `by_confidence`, tokens
    that were drawn with little of it have more of that chance and sure ones less, with the same mean.
    """
    x_BN, K = state.x_BN, run.schedule.codebook_size
    gamma_t_BN, gamma_s_BN = jump.gamma_t_BN, jump.gamma_s_BN
    drawn_t_BN = (jump.gamma_join_BN - gamma_t_BN).clamp(min=0)  # how likely each was masked at first and is not at t
    sigma_BN = sigma((gamma_s_BN / drawn_t_BN.clamp(min=1e-300)).clamp(max=1))
    coin_BN, pick_BN = run.uniform(x_BN), run.uniform(x_BN)
    masked_BN = jump.editable_BN & (x_BN == K)
    drawn_BN = jump.editable_BN & (x_BN != K) & (state.confidence_BN < 1)
    # gamma_s = gamma_t * (1 - uncover) + drawn_t * sigma, solved for the chance of a masked token
    uncover_BN = 1 - divide(gamma_s_BN - sigma_BN * drawn_t_BN, gamma_t_BN)
    if by_confidence:
        sigma_BN = sigma_by_confidence(sigma_BN, state.confidence_BN, drawn_BN)
    where_BN = masked_BN & (coin_BN < uncover_BN)
    if where_BN.any():
        x0_M, log_p_M, _ = run.predict(x_BN, jump.t, where_BN, pick_BN)
        state = state.scatter(where_BN, x0_M, log_p_M.exp())
    return state.mask(drawn_BN & (coin_BN < sigma_BN), K)


def sigma_by_confidence(sigma_BN: Tensor, confidence_BN: Tensor, drawn_BN: Tensor) -> Tensor:
    """sigma shared out among the drawn tokens by softmax(-confidence), with mean sigma (ReMDM, remasking by
    confidence; there the shares add up to sigma instead, which hardly remasks anything on a large grid).
    """
    share_BN = (-confidence_BN.double()).masked_fill(~drawn_BN, float("-inf")).softmax(1).nan_to_num()
    return (sigma_BN * drawn_BN.sum(1, keepdim=True) * share_BN).clamp(max=1)
