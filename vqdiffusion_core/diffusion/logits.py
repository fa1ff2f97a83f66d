"""Logits processors: temperature, top-k, truncation and purity prior of the papers, before the draw.

All take log p(x_0 | x_t) of shape (M, K) and give it back with the ruled out ids at -inf.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

LogitsProcessor = Callable[[Tensor], Tensor]  # log p (M, K) -> log p (M, K)

COLDEST = 1e-6  # below, log p / temperature no longer fits into float32, and the likeliest id is all that is left
LIKELY = 512  # ids among which the kept ones nearly always are


def apply_temperature(log_p_MK: Tensor, temperature: float) -> Tensor:
    """p ** (1 / temperature), normalised: below 1 the likely becomes likelier; 0 leaves the likeliest id alone."""
    if temperature < COLDEST:
        return apply_top_k(log_p_MK, 1)
    if temperature == 1:
        return log_p_MK
    return ((log_p_MK - log_p_MK.amax(-1, keepdim=True)) / temperature).log_softmax(-1)


def apply_top_k(log_p_MK: Tensor, count: int) -> Tensor:
    """The `count` likeliest ids; of equal ones, the first. 0 keeps all."""
    if not 0 < count < log_p_MK.shape[-1]:
        return log_p_MK
    order = log_p_MK.argsort(dim=-1, descending=True, stable=True)
    return log_p_MK.scatter(-1, order[..., count:], float("-inf"))


def apply_truncation(log_p_MK: Tensor, rate: float) -> Tensor:
    """Keep the likeliest ids until their probability reaches `rate` (0..1), the one that crosses it included (Gu et al.
    2022, section 4.3). rate 0 keeps the likeliest id alone; 1 keeps all. The result is not normalised again.
    """
    if rate >= 1:
        return log_p_MK
    p_MK = log_p_MK.exp()
    falling_MS = likeliest(p_MK, rate)
    count_M1 = (falling_MS.cumsum(-1) - falling_MS < rate).sum(-1, keepdim=True).clamp(min=1)
    last_M1 = falling_MS.gather(-1, count_M1 - 1)
    above_MK, equal_MK = p_MK > last_M1, p_MK == last_M1
    of_equal_M1 = count_M1 - above_MK.sum(-1, keepdim=True)  # of ids as likely as the last, the first so many are kept
    kept_MK = above_MK | (equal_MK & (equal_MK.cumsum(-1) <= of_equal_M1))
    return log_p_MK.masked_fill(~kept_MK, float("-inf"))


def apply_purity_prior(log_p_MK: Tensor, purity_M: Tensor, weight: float) -> Tensor:
    """p ** (1 + weight * purity), normalised: a sure token becomes surer (purity prior, Tang et al. 2022, eq. 11)."""
    return ((1 + weight * purity_M[:, None]) * log_p_MK).log_softmax(-1)


def likeliest(p_MK: Tensor, rate: float) -> Tensor:
    """The highest probabilities of each row, falling, as many as it takes to reach `rate` in every row."""
    if p_MK.device.type == "cpu":  # whose sort is slow; a GPU's is not, and waiting for an answer would hold it up
        highest_MS = p_MK.topk(min(LIKELY, p_MK.shape[-1]))[0]
        if (highest_MS.cumsum(-1)[..., -1] >= rate).all():
            return highest_MS
    return p_MK.sort(dim=-1, descending=True)[0]
