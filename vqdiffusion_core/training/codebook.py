"""A codebook kept by moving averages of the latents that choose its codes (van den Oord et al. 2017, A.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks.vqgan import Codebook

DECAY = 0.98
REVIVE_BELOW = 0.02  # a code used less than this, in latents a step, is moved to a latent at random
KMEANS_ROUNDS = 10


class CodebookAverages:
    """How many latents a step choose each code, and their sum, on the average of the last steps."""

    def __init__(self, codebook: Codebook):
        self.weight_KD = codebook.embedding.weight.requires_grad_(False)
        self.uses_K = torch.ones(len(self.weight_KD), device=self.weight_KD.device)
        self.sums_KD = self.weight_KD.clone()

    def used(self) -> int:
        return int((self.uses_K > REVIVE_BELOW).sum())

    @torch.no_grad()
    def update(self, latents_MD: Tensor, chosen_M: Tensor, generator: torch.Generator) -> None:
        """Move each code a step towards the latents that chose it."""
        uses_K = torch.bincount(chosen_M, minlength=len(self.uses_K)).float()
        sums_KD = torch.zeros_like(self.sums_KD).index_add_(0, chosen_M, latents_MD)
        self.uses_K.lerp_(uses_K, 1 - DECAY)
        self.sums_KD.lerp_(sums_KD, 1 - DECAY)
        dead_K = self.uses_K < REVIVE_BELOW
        if dead_K.any():
            self.uses_K[dead_K] = 0.5
            self.sums_KD[dead_K] = 0.5 * pick(latents_MD, int(dead_K.sum()), generator)
        self.weight_KD.copy_(self.sums_KD / self.uses_K.clamp(min=1e-5)[:, None])

    @torch.no_grad()
    def start(self, latents_MD: Tensor, generator: torch.Generator) -> None:
        """K-means over many latents, so that no code starts where nothing is."""
        centres_KD = pick(latents_MD, len(self.uses_K), generator)
        for _ in range(KMEANS_ROUNDS):
            nearest_M = torch.cdist(latents_MD, centres_KD).argmin(1)
            count_K = torch.bincount(nearest_M, minlength=len(centres_KD))
            total_KD = torch.zeros_like(centres_KD).index_add_(0, nearest_M, latents_MD)
            filled_K = count_K > 0
            centres_KD[filled_K] = total_KD[filled_K] / count_K[filled_K, None]
            centres_KD[~filled_K] = pick(latents_MD, int((~filled_K).sum()), generator)
        self.uses_K.fill_(1.0)
        self.sums_KD.copy_(centres_KD)
        self.weight_KD.copy_(centres_KD)


def pick(latents_MD: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Some of the latents, at random."""
    return latents_MD[torch.randint(len(latents_MD), (count,), generator=generator).to(latents_MD.device)]
