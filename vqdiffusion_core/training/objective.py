"""The papers' training loss: the exact variational bound and the auxiliary term (Gu et al. 2022, eq. 6 and 12)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusion.posterior import q_posterior
from ..diffusion.schedule import Schedule

AUXILIARY_WEIGHT = 5e-4  # the text releases; ImageNet and FFHQ were trained with 1e-3


def loss_terms(
    logits_MK: Tensor,
    x0: Tensor,
    xt_M: Tensor,
    t_M: np.ndarray,
    schedule: Schedule,
    auxiliary_weight: float = AUXILIARY_WEIGHT,
) -> tuple[Tensor, Tensor]:
    """(bound_M, auxiliary_M), in nats, of M tokens at whole times `t_M` in 1..T; of x_0 the tokens are known, (M,), or
    their probabilities, (M, K).

    bound: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), which at t = 1 is -log p(x_0 | x_1).
    auxiliary: -log p(x_0 | x_t), weighted 2 - (t - 1) / T, so that early, harder times do not drown the late ones.
    """
    miss_M = F.cross_entropy(logits_MK.float(), x0, reduction="none")  # -log p(x_0 | x_t)
    weight_M = torch.from_numpy(2 - (t_M - 1) / schedule.num_timesteps).to(miss_M)
    if replaces(schedule):
        bound_M = divergence(logits_MK.float().softmax(-1), x0, xt_M, t_M, schedule)
    else:  # a mask becomes x_0 or stays, so that both posteriors have one chance each in common
        chance_M = torch.from_numpy(1 - schedule.bar(t_M - 1).gamma / schedule.bar(t_M).gamma).to(miss_M)
        bound_M = torch.where(xt_M == schedule.codebook_size, chance_M * miss_M, 0.0)
    return bound_M, auxiliary_weight * weight_M * miss_M


def divergence(p_x0_MK: Tensor, x0: Tensor, xt_M: Tensor, t_M: np.ndarray, schedule: Schedule) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) of each token, for any kernel."""
    truth_MK = x0 if x0.ndim == 2 else torch.zeros_like(p_x0_MK).scatter_(-1, x0[:, None], 1.0)
    q = q_posterior(truth_MK[:, None], xt_M[:, None], t_M - 1, t_M, schedule)
    p = q_posterior(p_x0_MK[:, None], xt_M[:, None], t_M - 1, t_M, schedule)
    tiny = torch.finfo(p.dtype).tiny
    return (q * (q.clamp(min=tiny).log() - p.clamp(min=tiny).log())).sum((1, 2))


def replaces(schedule: Schedule) -> bool:
    """Whether a token can become another one than the mask."""
    return bool(schedule.beta_bar.any())


def loss_mask(xt_BN: Tensor, schedule: Schedule) -> Tensor:
    """Where the prediction matters, bool (B, N): everywhere, but for a kernel that never replaces a token, under which
    what is visible is clean.
    """
    return torch.ones_like(xt_BN, dtype=torch.bool) if replaces(schedule) else xt_BN == schedule.codebook_size


class TimeSampler:
    """Draws t in proportion to the root of the mean square of its loss, once every t has been seen more than ten times;
    uniform before that. Dividing a loss by `probability` keeps the bound's expectation.

    `blank_share` of the draws are T instead, where all is masked, each weighed as any other, so that this is no longer
    the bound: what the first tokens decide for all, as which of two colours is above, hardly weighs in that.
    """

    def __init__(self, num_timesteps: int, blank_share: float = 0.0):
        self.blank_share = blank_share
        self.mean_square = torch.zeros(num_timesteps, dtype=torch.float64)
        self.seen = torch.zeros(num_timesteps, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """p(t) for t = 1..T."""
        if self.seen.min() <= 10:
            return torch.full_like(self.mean_square, 1 / len(self.mean_square))
        weight = self.mean_square.sqrt() + 1e-4
        weight[0] = weight[1]  # t = 1 is a log-likelihood, not a KL: its size says nothing of its use
        return weight / weight.sum()

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(t_B, p(t_B))."""
        p = self.probabilities()
        index_B = torch.multinomial(p, count, replacement=True, generator=generator)
        if self.blank_share:
            index_B[torch.rand(count, generator=generator) < self.blank_share] = len(p) - 1
        return index_B + 1, p[index_B]

    def update(self, t_B: Tensor, loss_B: Tensor) -> None:
        for i, square in zip((t_B - 1).tolist(), loss_B.double().square().tolist(), strict=True):
            self.mean_square[i] += 0.1 * (square - self.mean_square[i])
            self.seen[i] += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean_square": self.mean_square, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.mean_square.copy_(state["mean_square"])
        self.seen.copy_(state["seen"])


class CodeCosts:
    """What each code has cost of late where it was to be predicted, in parts of what all cost on average."""

    def __init__(self, codebook_size: int):
        self.mean_K = torch.ones(codebook_size)

    def update(self, cost_2K: Tensor) -> None:
        """By how often each code was asked for in a step, and the sum of what that cost."""
        count_K, sum_K = cost_2K
        now_K = sum_K / count_K.clamp(min=1) * (count_K.sum() / sum_K.sum().clamp(min=1e-30))
        self.mean_K.lerp_(now_K, 1 - 0.98**count_K)
