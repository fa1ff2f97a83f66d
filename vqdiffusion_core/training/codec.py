"""Training of a VQGAN codec: reconstruction with a codebook kept by moving averages (van den Oord et al. 2017, A.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..vqgan import VQGAN
from .loop import cosine

COMMITMENT = 0.25  # weight of the pull of latents towards their codes
CODE_DECAY = 0.98
REVIVE_BELOW = 0.02  # a code used less than this, in latents a step, is moved to a latent at random


class CodecTraining:
    """One run: continuous latents for a while, then a codebook started by k-means and kept by moving averages.

    `pictures(generator, count)` gives a batch of pictures (count, 3, H, W) in -1..1.
    """

    def __init__(
        self,
        model: VQGAN,
        pictures: Callable[[torch.Generator, int], Tensor],
        *,
        batch: int = 16,
        learning_rate: float = 1e-3,
        continuous_steps: int = 400,
        seed: int = 0,
    ):
        self.model = model.train()
        self.pictures = pictures
        self.batch = batch
        self.learning_rate = learning_rate
        self.continuous_steps = continuous_steps
        self.seed = seed
        model.quantize.embedding.weight.requires_grad_(False)
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, betas=(0.9, 0.99), weight_decay=1e-4)
        self.code_uses = torch.ones(model.spec.codebook_size)
        self.code_sums = model.quantize.embedding.weight.clone()

    def step(self, step: int, progress: float) -> dict[str, float]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * cosine(progress)
        image = self.pictures(generator, self.batch).contiguous(memory_format=torch.channels_last)
        if step == self.continuous_steps:
            self.start_codebook(generator)

        quantised = step >= self.continuous_steps
        with torch.autocast("cpu", torch.bfloat16):
            latents = self.model.latents(image).float()
            codes = self.quantise(latents, generator) if quantised else latents
            straight_through = latents + (codes - latents).detach()
            drawn = self.model.render(straight_through).float()
        error = drawn - image
        commitment = F.mse_loss(latents, codes.detach())
        loss = error.abs().mean() + error.square().mean() + COMMITMENT * commitment

        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return {
            "loss": loss.item(),
            "psnr": psnr(drawn.detach(), image),
            "used_codes": float((self.code_uses > REVIVE_BELOW).sum()) if quantised else 0.0,
        }

    @torch.no_grad()
    def quantise(self, latents_BDhw: Tensor, generator: torch.Generator) -> Tensor:
        """Nearest codes of the latents; moves the codebook a step towards the latents that chose it."""
        book = self.model.quantize
        tokens = book.nearest(latents_BDhw)
        codes = book.lookup(tokens)
        flat_MD = latents_BDhw.permute(0, 2, 3, 1).reshape(-1, latents_BDhw.shape[1])
        chosen = tokens.flatten()
        uses = torch.bincount(chosen, minlength=len(self.code_uses)).float()
        sums = torch.zeros_like(self.code_sums).index_add_(0, chosen, flat_MD)
        self.code_uses.lerp_(uses, 1 - CODE_DECAY)
        self.code_sums.lerp_(sums, 1 - CODE_DECAY)
        dead = self.code_uses < REVIVE_BELOW
        if dead.any():
            picks = torch.randint(len(flat_MD), (int(dead.sum()),), generator=generator)
            self.code_uses[dead] = 0.5
            self.code_sums[dead] = 0.5 * flat_MD[picks]
        book.embedding.weight.copy_(self.code_sums / self.code_uses.clamp(min=1e-5)[:, None])
        return codes

    @torch.no_grad()
    def start_codebook(self, generator: torch.Generator) -> None:
        """K-means over the latents of many pictures, so that no code starts where nothing is."""
        latents = [self.model.latents(self.pictures(generator, self.batch)) for _ in range(16)]
        flat_MD = torch.cat([z.permute(0, 2, 3, 1).flatten(0, 2) for z in latents])
        centres = flat_MD[torch.randperm(len(flat_MD), generator=generator)[: len(self.code_uses)]].clone()
        for _ in range(10):
            nearest = torch.cdist(flat_MD, centres).argmin(1)
            count = torch.bincount(nearest, minlength=len(centres))
            total = torch.zeros_like(centres).index_add_(0, nearest, flat_MD)
            filled = count > 0
            centres[filled] = total[filled] / count[filled, None]
            empty = int((~filled).sum())
            centres[~filled] = flat_MD[torch.randint(len(flat_MD), (empty,), generator=generator)]
        self.code_uses.fill_(1.0)
        self.code_sums.copy_(centres)
        self.model.quantize.embedding.weight.copy_(centres)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "code_uses": self.code_uses,
            "code_sums": self.code_sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.code_uses.copy_(state["code_uses"])
        self.code_sums.copy_(state["code_sums"])


def psnr(drawn: Tensor, image: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1..1."""
    return float(-10 * torch.log10((drawn.clamp(-1, 1) - image).square().mean() / 4))
