"""Forward process and its reversal, for any jump in time (Gu et al. 2022, eq. 4-5 and 9-11).

A schedule of three numbers is answered for here, one of matrices by itself: nobody else need know which it is.
K codebook ids 0..K-1, the mask is id K. Shapes: x_BN int64 ids, p_x0_BNK = p(x_0 | x_t).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .matrix_schedule import MatrixSchedule
from .schedule import Kernel, Schedule


def q_sample(x_BN: Tensor, t: float, schedule: Schedule, coin_BN: Tensor, s: float = 0) -> Tensor:
    """Draw x_t ~ q(x_t | x_s) for any s < t, from clean tokens unless s is given.

    `coin_BN`, uniform in [0, 1), decides: its interval is laid out as [mask | a uniform id | stay].
    """
    if isinstance(schedule, MatrixSchedule):
        return schedule.q_sample(x_BN, t, coin_BN, s)
    K = schedule.codebook_size
    jump = schedule.jump(s, t)
    # masked with gamma, one of K ids with K * beta, else unchanged; the mask stays the mask
    replaced_below = jump.gamma + K * jump.beta
    id_BN = uniform_id(coin_BN, jump.gamma, replaced_below, K)
    visible_BN = torch.where(coin_BN < replaced_below, id_BN, x_BN)
    return torch.where((coin_BN < jump.gamma) | (x_BN == K), K, visible_BN)


def draw_prior(schedule: Schedule, coin_BN: Tensor) -> Tensor:
    """Draw x_T, which knows nothing of x_0: masked with gamma_bar, else one of K ids. A schedule that ends within 0.1 %
    of all masked is taken to end there, as the releases take it.
    """
    K = schedule.codebook_size
    gamma = schedule.bar(schedule.num_timesteps).gamma
    id_BN = uniform_id(coin_BN, gamma, 1.0, K)
    return torch.where(coin_BN < (1.0 if gamma > 0.999 else gamma), K, id_BN)


def q_posterior(
    p_x0_BNK: Tensor, x_BN: Tensor, s: float | np.ndarray, t: float | np.ndarray, schedule: Schedule
) -> Tensor:
    """The whole distribution p(x_s | x_t) over the K + 1 states, (B, N, K + 1), for any s < t (one each, or (B,)):

        p(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t)

    The readable law that `draw_posterior` samples without building it, and what training compares. `p_x0_BNK` is
    p(x_0 | x_t), normalised over K.
    """
    if isinstance(schedule, MatrixSchedule):
        return schedule.q_posterior(p_x0_BNK, x_BN, s, t)
    K = schedule.codebook_size
    kernels = schedule.jump(s, t), schedule.bar(s), schedule.bar(t)
    jump, at_s, at_t = (as_tensors(kernel, p_x0_BNK) for kernel in kernels)

    # x_t masked: q(x_s | x_t = m, x_0) = q(m | x_s) q(x_s | x_0) / q(m | x_0)
    unmask = divide(jump.gamma, at_t.gamma)
    stays_masked = divide(at_s.gamma, at_t.gamma).expand_as(p_x0_BNK[..., :1])
    from_mask = torch.cat([unmask * (at_s.alpha * p_x0_BNK + at_s.beta), stays_masked], -1)

    # x_t = j visible: q(x_s = k | x_t = j, x_0 = i) = q(j | x_s = k) q(x_s = k | x_0 = i) / q(j | x_0 = i)
    j_BN1 = x_BN.clamp(max=K - 1)[..., None]
    is_j = torch.zeros_like(p_x0_BNK).scatter_(-1, j_BN1, 1.0)
    ratio = divide(p_x0_BNK, at_t.beta + at_t.alpha * is_j)  # p(x_0 = i | x_t) / q(j | x_0 = i)
    to_j = jump.beta + jump.alpha * is_j  # q(j | x_s = k)
    visible = to_j * (at_s.alpha * ratio + at_s.beta * ratio.sum(-1, keepdim=True))
    visible = torch.where(at_t.beta > 0, visible, is_j)  # a kernel that never replaces: what is visible is clean
    from_visible = torch.cat([visible, torch.zeros_like(stays_masked)], -1)
    return torch.where((x_BN == K)[..., None], from_mask, from_visible)


def change_probability(x_BN: Tensor, s: float, t: float, schedule: Schedule) -> Tensor:
    """An upper bound, independent of the network, of the probability that a token changes between t and s.

    Only positions whose coin falls below it need a clean token x_0 (exact thinning): under the released schedule and
    100 steps that is 1 % of the masked ones, whatever the prediction. Under matrices it is all of them.
    """
    if isinstance(schedule, MatrixSchedule):
        return torch.ones_like(x_BN, dtype=torch.float64)
    jump, at_s, at_t = schedule.jump(s, t), schedule.bar(s), schedule.bar(t)
    masked = 1 - at_s.gamma / at_t.gamma if at_t.gamma > 0 else 1.0  # a mask where there is none is drawn at once
    visible = jump.beta * (1 - at_s.gamma) / at_t.beta if at_t.beta > 0 else 0.0
    return torch.where(x_BN == schedule.codebook_size, masked, visible).double()


def draw_posterior(x_M: Tensor, x0_M: Tensor, s: float, t: float, schedule: Schedule, coin_M: Tensor) -> Tensor:
    """Draw x_s ~ q(x_s | x_t, x_0) for clean tokens x_0 ~ p(x_0 | x_t): together a draw from `q_posterior`.

    Call it where `coin_M`, uniform in [0, 1), is below `change_probability`; elsewhere the token keeps its state. The
    interval of the coin is laid out as [take x_0 | take a uniform id | keep], so one number decides.
    """
    if isinstance(schedule, MatrixSchedule):
        return schedule.draw_posterior(x_M, x0_M, s, t, coin_M)
    K = schedule.codebook_size
    jump, at_s, at_t = schedule.jump(s, t), schedule.bar(s), schedule.bar(t)

    # q(x_s = k | x_t, x_0) = q(x_t | x_s = k) q(x_s = k | x_0) / q(x_t | x_0), where q(x_s = k | x_0) is beta_s for any
    # id k, and alpha_s more for k = x_0. What has no index below is of the jump from s to t.
    # x_t = mask:         x_0 by gamma alpha_s / gamma_t, a uniform id by K gamma beta_s / gamma_t, else the mask
    # x_t an id, not x_0: x_0 by beta alpha_s / beta_t, a uniform id by K beta beta_s / beta_t, else x_t
    # Both ways out together are the change probability: alpha_s + K beta_s = 1 - gamma_s.
    change_M = change_probability(x_M, s, t, schedule)
    to_x0 = at_s.alpha / (at_s.alpha + K * at_s.beta) if at_s.alpha + at_s.beta > 0 else 0.0
    # x_t = x_0:          a uniform id by K beta beta_s / (alpha_t + beta_t), else x_0
    change_x0 = K * jump.beta * at_s.beta / (at_t.alpha + at_t.beta) if at_t.alpha + at_t.beta > 0 else 0.0

    is_x0_M = x_M == x0_M
    x0_below_M = torch.where(is_x0_M, 0.0, change_M * to_x0)
    id_below_M = torch.where(is_x0_M, change_x0, change_M)
    id_M = uniform_id(coin_M, x0_below_M, id_below_M, K)
    return torch.where(coin_M < x0_below_M, x0_M, torch.where(coin_M < id_below_M, id_M, x_M))


def uniform_id(coin: Tensor, low: Tensor | float, high: Tensor | float, codebook_size: int) -> Tensor:
    """For a coin that fell in [low, high), one of the ids with equal chances, by where in it; elsewhere any."""
    place = ((coin - low) / (high - low)).clamp(0, 1).nan_to_num()
    return (place * codebook_size).long().clamp(max=codebook_size - 1)


def as_tensors(kernel: Kernel, like: Tensor) -> Kernel:
    """The kernel's numbers as tensors (1 or B, 1, 1) of the type and device of `like`."""
    return Kernel(*(torch.as_tensor(number).to(like).reshape(-1, 1, 1) for number in kernel))


def divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0: what cannot have happened gets no weight."""
    return torch.where(b > 0, a / b.clamp(min=torch.finfo(b.dtype).tiny), 0.0)
