"""Kernels that are matrices: a token moves to codes that are like it (Austin et al. 2021, appendix A.2.3 and A.2.4).

The chain jumps between codes at symmetric rates R, so that q(x_t | x_s) = exp((m_t - m_s) R) for any s < t: its bars
and jumps have the eigenvectors of R in common, compose, and end in the uniform distribution. All is float64, since a
posterior divides by chances that may be small. A step draws on the CPU: a clean token comes home from the device as
ever, and q(x_s | x_t, x_0) is a product of two rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .noise import categorical
from .schedule import Schedule

MOST_CODES = 1024  # the eigenvectors of more take minutes
NEIGHBOURS = 10  # of the embedding kernel, in each direction
BETA = 0.02  # of the discretised Gaussian, the paper's highest
UNIFORM = 0.01  # part of all jumps that goes to any code, or codes that have no neighbours would never be left
ROUNDING = 1e-13  # below, a chance is none


@dataclass(frozen=True, eq=False)
class MatrixSchedule(Schedule):
    """Its three bars are those of the uniform kernel under which a token is as likely to stay, on the mean."""

    rates_KK: Tensor  # R: symmetric, what leaves a code on the diagonal
    mixing: np.ndarray  # m_t for t = 0..T, from 0 up
    eigenvalues_K: Tensor
    eigenvectors_KK: Tensor

    @classmethod
    def of(cls, rates_KK: Tensor, mixing: np.ndarray) -> MatrixSchedule:
        """Of rates between different codes, (K, K). Raises ValueError for what are none."""
        K = len(rates_KK)
        rates_KK = rates_KK.double().clone().fill_diagonal_(0)
        if rates_KK.shape != (K, K) or not 2 <= K <= MOST_CODES:
            raise ValueError(f"rates are {tuple(rates_KK.shape)}; expected K x K of 2 to {MOST_CODES} codes.")
        if not (rates_KK.isfinite().all() and (rates_KK >= 0).all() and torch.equal(rates_KK, rates_KK.T)):
            raise ValueError("rates are not symmetric numbers of 0 or more.")
        if mixing[0] != 0 or not np.isfinite(mixing).all() or (np.diff(mixing) <= 0).any():
            raise ValueError("mixing does not rise from 0.")
        rates_KK -= torch.diag(rates_KK.sum(1))
        eigenvalues_K, eigenvectors_KK = torch.linalg.eigh(rates_KK)
        trace = np.exp(np.multiply.outer(mixing, eigenvalues_K.clamp(max=0).numpy())).sum(1)
        alpha_bar = ((trace - 1) / (K - 1)).clip(0, 1)
        return cls(
            K, alpha_bar, (1 - alpha_bar) / K, np.zeros(len(mixing)), rates_KK, mixing, eigenvalues_K, eigenvectors_KK
        )

    @classmethod
    def gaussian(cls, num_timesteps: int, codebook_KD: Tensor) -> MatrixSchedule:
        """Jumps of a discretised Gaussian along the codes, in the order of their first principal component."""
        K = len(codebook_KD)
        centred_KD = codebook_KD.double() - codebook_KD.double().mean(0)
        rank_K = (centred_KD @ torch.linalg.eigh(centred_KD.T @ centred_KD).eigenvectors[:, -1]).argsort().argsort()
        apart_KK = (rank_K[:, None] - rank_K).double()
        return cls.spread((-4 * apart_KK**2 / (max(K - 1, 1) ** 2 * BETA)).exp(), num_timesteps)

    @classmethod
    def embedding(cls, num_timesteps: int, codebook_KD: Tensor) -> MatrixSchedule:
        """Jumps between codes of which one is among the nearest neighbours of the other."""
        K = len(codebook_KD)
        apart_KK = torch.cdist(codebook_KD.double(), codebook_KD.double()).fill_diagonal_(math.inf)
        nearest_Kn = apart_KK.argsort(dim=1, stable=True)[:, : min(NEIGHBOURS, K - 1)]
        near_KK = torch.zeros(K, K, dtype=torch.float64).scatter_(1, nearest_Kn, 1.0)
        return cls.spread(near_KK + near_KK.T, num_timesteps)

    @classmethod
    def spread(cls, rates_KK: Tensor, num_timesteps: int) -> MatrixSchedule:
        """With one jump a unit of m, on the mean, and m_t such that what x_t tells of x_0 falls evenly to nothing."""
        K = len(rates_KK)
        rates_KK = rates_KK.clone().fill_diagonal_(0)
        rates_KK = (1 - UNIFORM) * rates_KK / rates_KK.sum(1).mean() + UNIFORM / K
        trial = cls.of(rates_KK.float(), np.array([0.0, 1.0]))  # float32 is what a model's folder keeps
        mixing = np.geomspace(1e-4, 10 / UNIFORM, 40)
        told = np.array([trial.information(m) for m in mixing])
        wanted = np.linspace(1, 0, num_timesteps + 1)[1:].clip(min=1e-4)
        return cls.of(rates_KK.float(), np.array([0.0, *np.exp(np.interp(-wanted, -told, np.log(mixing)))]))

    @property
    def summary(self) -> dict[str, float]:
        return super().summary | {"mixing": round(float(self.mixing[self.num_timesteps // 2]), 3)}

    def information(self, mixing: float) -> float:
        """I(x_t; x_0) of uniform x_0, in parts of its entropy: 1 at first, 0 at the end."""
        rows_KK = self.diffuse(self.eigenvectors_KK, torch.full((self.codebook_size,), mixing, dtype=torch.float64))
        return 1 + float(torch.special.xlogy(rows_KK, rows_KK).sum(1).mean()) / math.log(self.codebook_size)

    def mixing_at(self, t: float | np.ndarray, like: Tensor) -> Tensor:
        """m_t for times that are one, or one each for the first dimension of `like`: (M,) for its M elements."""
        m = torch.as_tensor(np.interp(t, np.arange(len(self.mixing)), self.mixing), device=like.device)
        return m.reshape(-1, *[1] * (like.dim() - 1)).expand(like.shape).flatten()

    def diffuse(self, spectral_MK: Tensor, mixing_M: Tensor) -> Tensor:
        """exp(m R) of rows that are given by their parts of the eigenvectors: (M, K)."""
        values_K, vectors_KK = (each.to(spectral_MK.device) for each in (self.eigenvalues_K, self.eigenvectors_KK))
        rows_MK = (spectral_MK * (mixing_M[:, None] * values_K).exp()) @ vectors_KK.T
        return torch.where(rows_MK > ROUNDING, rows_MK, 0.0)

    def rows(self, x_M: Tensor, mixing_M: Tensor) -> Tensor:
        """q(. | x) after so much mixing, and as well q(x | .), since rates are symmetric: (M, K)."""
        return self.diffuse(self.eigenvectors_KK.to(x_M.device)[x_M], mixing_M)

    # The law, as `posterior` has it for three numbers. A kernel that masks nothing leaves masked tokens masked.

    def q_sample(self, x_BN: Tensor, t: float, coin_BN: Tensor, s: float) -> Tensor:
        K = self.codebook_size
        rows_MK = self.rows(x_BN.clamp(max=K - 1).flatten(), self.mixing_at(t, x_BN) - self.mixing_at(s, x_BN))
        drawn_BN = categorical(rows_MK.log(), coin_BN.flatten()).view_as(x_BN)
        return torch.where(x_BN == K, K, drawn_BN)

    def q_posterior(self, p_x0_BNK: Tensor, x_BN: Tensor, s: float | np.ndarray, t: float | np.ndarray) -> Tensor:
        m_s, m_t = self.mixing_at(s, x_BN), self.mixing_at(t, x_BN)
        vectors_KK = self.eigenvectors_KK.to(p_x0_BNK.device)
        p_MK, x_M = p_x0_BNK.double().flatten(0, 1), x_BN.flatten()
        masked_M1 = (x_M == self.codebook_size)[:, None]
        j_M = x_M.clamp(max=self.codebook_size - 1)
        # q(x_s = k | x_t = j, x_0 = i) = q(j | x_s = k) q(x_s = k | i) / q(j | i); of a masked j nothing follows
        from_i_MK = self.rows(j_M, m_t)
        ratio_MK = torch.where(masked_M1, p_MK, torch.where(from_i_MK > 0, p_MK / from_i_MK.clamp(min=1e-300), 0.0))
        to_j_MK = torch.where(masked_M1, 1.0, self.rows(j_M, m_t - m_s))
        posterior_MK = to_j_MK * self.diffuse(ratio_MK @ vectors_KK, m_s)
        posterior_MK = torch.cat([posterior_MK, torch.zeros_like(posterior_MK[:, :1])], 1)
        return posterior_MK.view(*x_BN.shape, -1).to(p_x0_BNK.dtype)

    def draw_posterior(self, x_M: Tensor, x0_M: Tensor, s: float, t: float, coin_M: Tensor) -> Tensor:
        m_s, m_t = self.mixing_at(s, x_M), self.mixing_at(t, x_M)
        to_j_MK = self.rows(x_M.clamp(max=self.codebook_size - 1), m_t - m_s)
        to_j_MK = torch.where((x_M == self.codebook_size)[:, None], 1.0, to_j_MK)
        return categorical((to_j_MK * self.rows(x0_M, m_s)).log(), coin_M)


# How a new model's tokens move, by T and its codebook (K, D)
MATRIX_KERNELS: dict[str, Callable[[int, Tensor], MatrixSchedule]] = {
    "gaussian": MatrixSchedule.gaussian,
    "embedding": MatrixSchedule.embedding,
}
