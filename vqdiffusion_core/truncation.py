"""Truncation of the clean-token distribution: only the likeliest ids may be drawn (Gu et al. 2022, section 4.3)."""

from __future__ import annotations

from torch import Tensor


def truncate(log_p_MK: Tensor, rate: float) -> Tensor:
    """Keep the likeliest ids until their probability reaches `rate` (0..1), the one that crosses it included; the rest
    gets -inf. rate 0 keeps the likeliest id alone; 1 keeps all. log_p is normalised; the result is not, again.
    """
    if rate >= 1:
        return log_p_MK
    sorted_p, order = log_p_MK.exp().sort(dim=-1, descending=True, stable=True)
    mass_before = sorted_p.cumsum(-1) - sorted_p
    rejected = mass_before >= rate
    rejected[..., 0] = False
    return log_p_MK.masked_fill(rejected.scatter(-1, order, rejected), float("-inf"))
