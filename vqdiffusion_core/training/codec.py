"""Training of a VQGAN codec: reconstruction with a codebook kept by moving averages (van den Oord et al. 2017, A.1)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..distributed import ALONE, Workers
from ..networks.vqgan import VQGAN
from .data import Source, to_grid, to_tensor
from .loop import clip, cosine, precision

COMMITMENT = 0.25  # weight of the pull of latents towards their codes
CODE_DECAY = 0.98
REVIVE_BELOW = 0.02  # a code used less than this, in latents a step, is moved to a latent at random
CODEBOOK_BATCHES = 16  # whose latents the codebook is started from
SHEET = 8  # images


class CodecTraining:
    """One run: continuous latents for a while, then a codebook started by k-means and kept by moving averages.

    `batch` is that of all workers together. `continuous_steps` None: the model has a good codebook, go on with it.
    """

    def __init__(
        self,
        model: VQGAN,
        source: Source,
        workers: Workers = ALONE,
        *,
        batch: int = 16,
        learning_rate: float = 1e-3,
        continuous_steps: int | None = 400,
        mixed: bool = True,
        seed: int = 0,
    ):
        self.model = model.to(workers.device).train()
        self.source = source
        self.workers = workers
        self.batch = batch
        self.learning_rate = learning_rate
        self.continuous_steps = continuous_steps
        self.mixed = mixed
        self.seed = seed
        model.quantize.embedding.weight.requires_grad_(False)
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, betas=(0.9, 0.99), weight_decay=1e-4)
        self.code_uses = torch.ones(model.spec.codebook_size, device=workers.device)
        self.code_sums = model.quantize.embedding.weight.clone()
        self.reconstruct = workers.together(Reconstruction(model))

    @property
    def setup(self) -> dict[str, Any]:
        names = ("batch", "learning_rate", "continuous_steps", "mixed", "seed")
        return {
            "codec": asdict(self.model.spec),
            "size": self.source.size,
            **{name: getattr(self, name) for name in names},
        }

    def step(self, step: int, progress: float) -> dict[str, float]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * cosine(progress)
        image = self.images(generator)
        if step == self.continuous_steps:
            self.start_codebook(generator)

        quantised = self.continuous_steps is None or step >= self.continuous_steps
        with precision(self.workers.device, self.mixed):
            quantise = (lambda latents: self.quantise(latents, generator)) if quantised else Tensor.detach
            drawn, latents, codes = self.reconstruct(image, quantise)
        error = drawn - image
        commitment = F.mse_loss(latents, codes)
        loss = error.abs().mean() + error.square().mean() + COMMITMENT * commitment

        self.optimizer.zero_grad()
        loss.backward()
        clip(self.weights)
        self.optimizer.step()
        return {
            "loss": loss.item(),
            "psnr": psnr(drawn.detach(), image),
            "used_codes": float((self.code_uses > REVIVE_BELOW).sum()) if quantised else 0.0,
        }

    def images(self, generator: torch.Generator) -> Tensor:
        """This worker's images of the next batch, (B, 3, H, W) in -1..1. Each follows from one drawn number."""
        tickets_B = self.workers.share(torch.randint(2**62, (self.batch,), generator=generator))
        images = [to_tensor(self.source.image(random.Random(ticket))) for ticket in tickets_B.tolist()]
        return torch.stack(images).to(self.workers.device)

    @torch.no_grad()
    def quantise(self, latents_BDhw: Tensor, generator: torch.Generator) -> Tensor:
        """Nearest codes of the latents; moves the codebook a step towards all workers' latents that chose it."""
        book = self.model.quantize
        tokens_Bhw = book.nearest(latents_BDhw)
        codes = book.lookup(tokens_Bhw)
        flat_MD, chosen_M = self.flat(latents_BDhw), self.workers.gather(tokens_Bhw).flatten()
        uses = torch.bincount(chosen_M, minlength=len(self.code_uses)).float()
        sums = torch.zeros_like(self.code_sums).index_add_(0, chosen_M, flat_MD)
        self.code_uses.lerp_(uses, 1 - CODE_DECAY)
        self.code_sums.lerp_(sums, 1 - CODE_DECAY)
        dead = self.code_uses < REVIVE_BELOW
        if dead.any():
            picks = torch.randint(len(flat_MD), (int(dead.sum()),), generator=generator)
            self.code_uses[dead] = 0.5
            self.code_sums[dead] = 0.5 * flat_MD[picks.to(flat_MD.device)]
        book.embedding.weight.copy_(self.code_sums / self.code_uses.clamp(min=1e-5)[:, None])
        return codes

    @torch.no_grad()
    def start_codebook(self, generator: torch.Generator) -> None:
        """K-means over the latents of many images, so that no code starts where nothing is."""
        flat_MD = torch.cat([self.flat(self.model.latents(self.images(generator))) for _ in range(CODEBOOK_BATCHES)])

        def some(count: int) -> Tensor:
            return flat_MD[torch.randint(len(flat_MD), (count,), generator=generator).to(flat_MD.device)]

        centres = some(len(self.code_uses))
        for _ in range(10):
            nearest = torch.cdist(flat_MD, centres).argmin(1)
            count = torch.bincount(nearest, minlength=len(centres))
            total = torch.zeros_like(centres).index_add_(0, nearest, flat_MD)
            filled = count > 0
            centres[filled] = total[filled] / count[filled, None]
            centres[~filled] = some(int((~filled).sum()))
        self.code_uses.fill_(1.0)
        self.code_sums.copy_(centres)
        self.model.quantize.embedding.weight.copy_(centres)

    def flat(self, latents_BDhw: Tensor) -> Tensor:
        """The latents of all workers' images, (images * h * w, D), in the order of the batch."""
        return self.workers.gather(latents_BDhw.float()).permute(0, 2, 3, 1).flatten(0, 2)

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Images, and below them their reconstructions."""
        images = [to_tensor(self.source.image(random.Random(i))) for i in range(SHEET)]
        image = torch.stack(images).to(self.workers.device)
        return to_grid([image, self.model.decode(self.model.encode(image))])

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


class Reconstruction(nn.Module):
    """An image's way through the codec as one call, as DistributedDataParallel wants it."""

    def __init__(self, model: VQGAN):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, quantise: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """What was drawn, the latents, and the codes that took their place; gradients pass the codes by."""
        latents = self.model.latents(image).float()
        codes = quantise(latents)
        return self.model.render(latents + (codes - latents).detach()).float(), latents, codes


def psnr(drawn: Tensor, image: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in -1..1."""
    return float(-10 * torch.log10((drawn.clamp(-1, 1) - image).square().mean() / 4))
