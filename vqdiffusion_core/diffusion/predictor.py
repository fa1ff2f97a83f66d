"""What a sampler draws from: a denoiser's log p(x_0 | x_t), through logits processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from .logits import LogitsProcessor, apply_purity_prior

# (x_BN, t, where_BN) -> log p(x_0 | x_t) at the M positions where `where_BN` is true, in order: (M, K), float32.
Denoise = Callable[[Tensor, float, Tensor], Tensor]


class Prediction(NamedTuple):
    """What is drawn from at M positions."""

    log_p_MK: Tensor
    log_purity_M: Tensor  # the highest log p of each, before the purity prior

    def to(self, device: torch.device) -> Prediction:
        return Prediction(self.log_p_MK.to(device), self.log_purity_M.to(device))


Predict = Callable[[Tensor, float, Tensor], Prediction]  # arguments as those of Denoise


@dataclass(frozen=True)
class Predictor:
    """A denoiser whose log p goes through the processors, in this order, and then through the purity prior.

    It works on the network's device; a sampler may do so on another.
    """

    denoise: Denoise
    processors: Sequence[LogitsProcessor]
    purity_prior: float
    device: torch.device

    def __call__(self, x_BN: Tensor, t: float, where_BN: Tensor) -> Prediction:
        predict = self.predict_with_prior if self.purity_prior else self.predict
        return predict(x_BN.to(self.device), t, where_BN.to(self.device)).to(x_BN.device)

    def predict(self, x_BN: Tensor, t: float, where_BN: Tensor) -> Prediction:
        log_p_MK = reduce(lambda log_p, process: process(log_p), self.processors, self.denoise(x_BN, t, where_BN))
        return Prediction(log_p_MK, log_p_MK.amax(-1))

    def predict_with_prior(self, x_BN: Tensor, t: float, where_BN: Tensor) -> Prediction:
        """Purity counts in parts of the highest in the image (Tang et al. 2022), so all of it is looked at."""
        log_p_MK, log_purity_M = self.predict(x_BN, t, torch.ones_like(where_BN))
        log_purity_BN = log_purity_M.view_as(where_BN)
        purity_BN = (log_purity_BN - log_purity_BN.amax(1, keepdim=True)).exp()
        log_p_MK = apply_purity_prior(log_p_MK[where_BN.flatten()], purity_BN[where_BN], self.purity_prior)
        return Prediction(log_p_MK, log_purity_BN[where_BN])
