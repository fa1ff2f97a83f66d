"""Training of a transformer that draws token after token (Esser et al. 2021, 3.2), its text encoder and the learned
null: what a diffusion model of the same shape is measured against.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..diffusion.guidance import cfg
from ..diffusion.sampling import sample
from ..diffusion.schedule import Schedule
from ..diffusion.settings import AUTOREGRESSIVE, Settings
from ..distributed import ALONE, Processes
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..networks.kernels import keep_freed_memory
from ..networks.text_encoder import TextEncoder
from ..networks.vqgan import VQGAN
from .data import to_grid
from .diffusion import EMA_DECAY, GRID_IMAGES, NULL_SHARE
from .examples import Examples
from .log import Metrics
from .optimization import choose_optimizers, cosine_schedule, mixed_precision, split, step_generator, update


class GPTNetworks(nn.Module):
    """What is trained together."""

    def __init__(self, gpt: GPT, text_encoder: TextEncoder, null_1LD: Tensor):
        super().__init__()
        keep_freed_memory()
        self.gpt = gpt
        self.text_encoder = text_encoder
        self.null_1LD = nn.Parameter(null_1LD.detach().float().clone())

    def forward(self, x_BN: Tensor, ids_BL: Tensor, drop_B: Tensor) -> Tensor:
        """Logits (B, N, K) of each token; captions whose `drop_B` is true are replaced by the null."""
        text_BLD = self.text_encoder.embed(ids_BL)
        return self.gpt(x_BN, torch.where(drop_B[:, None, None], self.null_1LD, text_BLD))


class Batch(NamedTuple):
    """This process's examples."""

    x_BN: Tensor
    ids_BL: Tensor  # captions
    drop_B: Tensor  # whether the null takes the caption's place

    def split(self, count: int) -> list[Batch]:
        """In so many parts of equal size, but for the last; fewer where there are fewer rows."""
        return [Batch(*part) for part in zip(*(split(rows, count) for rows in self), strict=True)]


class AutoregressiveTraining:
    """One run, with the options of `DiffusionTraining` that have a meaning here."""

    def __init__(
        self,
        networks: GPTNetworks,
        examples: Examples,
        vqgan: VQGAN,
        processes: Processes = ALONE,
        *,
        batch: int = 32,
        learning_rate: float = 1e-3,
        mixed: bool = True,
        compiled: bool = False,
        accumulate: int = 1,
        seed: int = 0,
    ):
        self.networks = networks.to(processes.device).train().requires_grad_(True)
        self.ema = deepcopy(networks).eval().requires_grad_(False)
        self.examples = examples
        self.vqgan = vqgan
        self.processes = processes
        self.batch = batch
        self.learning_rate = learning_rate
        self.mixed = mixed
        self.accumulate = accumulate
        self.seed = seed
        self.weights = [*networks.parameters()]
        self.optimizers = choose_optimizers(networks, [networks.gpt.blocks, networks.text_encoder])
        for block in networks.gpt.blocks if compiled else ():
            block.compile()
        self.predict = processes.distribute(self.networks)

    @property
    def config(self) -> dict[str, Any]:
        return {
            "gpt": asdict(self.networks.gpt.spec),
            "tokens of codec": self.examples.codec,
            "optimizers": [type(optimizer).__name__ for optimizer in self.optimizers],
            **{name: getattr(self, name) for name in ("batch", "learning_rate", "mixed", "seed")},
        }

    def batches(self, steps: range) -> Iterator[Batch]:
        return map(self.draw_batch, steps)

    def draw_batch(self, step: int) -> Batch:
        generator, shard = step_generator(self.seed, step), self.processes.shard
        tickets_B = torch.randint(2**62, (self.batch,), generator=generator)
        drop_B = torch.rand(self.batch, generator=generator) < NULL_SHARE
        drawn = [self.examples.draw(ticket) for ticket in shard(tickets_B).tolist()]
        x_BN, ids_BL = (torch.stack(column) for column in zip(*drawn, strict=True))
        return Batch(x_BN, ids_BL, shard(drop_B))

    def step(self, step: int, progress: float, batch: Batch) -> Metrics:
        self.networks.zero_grad()
        parts = self.processes.accumulate(self.predict, batch.split(self.accumulate))
        loss_B = torch.cat([self.backward(part, len(batch.drop_B)) for part in parts])
        norm = update(self.weights, self.optimizers, self.learning_rate * cosine_schedule(progress))
        average = get_ema_multi_avg_fn(min(EMA_DECAY, (1 + step) / (10 + step)))
        average([*self.ema.parameters()], [*self.networks.parameters()], step)
        return {"loss": loss_B.mean().item(), "gradient": norm}

    def backward(self, part: Batch, count: int) -> Tensor:
        """Add to the gradient what a part of `count` rows has to say; -log p of a token, the mean of each image."""
        x_BN, ids_BL, drop_B = (tensor.to(self.processes.device) for tensor in part)
        with mixed_precision(self.processes.device, self.mixed):
            logits_BNK = self.predict(x_BN, ids_BL, drop_B)
        loss_BN = F.cross_entropy(logits_BNK.float().transpose(1, 2), x_BN, reduction="none")
        (loss_BN.mean(1).sum() / count).backward()
        return loss_BN.detach().mean(1)

    def model(self, name: str) -> VQDiffusion:
        """What has been learned so far, with the averaged weights."""
        gpt, text_encoder, null_1LD = self.ema.gpt, self.ema.text_encoder, self.ema.null_1LD.detach()
        return VQDiffusion(name, gpt, Schedule.one_step(gpt.spec.codebook_size), self.vqgan, text_encoder, null_1LD)

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Images of the training as their tokens show them, and below them what is drawn from their captions."""
        model, device = self.model(""), self.processes.device
        settings, grid = Settings(sampler=AUTOREGRESSIVE), model.transformer.spec.grid
        drawn = [self.examples.draw(ticket) for ticket in range(GRID_IMAGES)]
        tokens_BN, ids_BL = (torch.stack(column).to(device) for column in zip(*drawn, strict=True))
        guidance = cfg(self.ema.text_encoder.embed(ids_BL), self.ema.null_1LD, settings.guidance)
        canvas_BN = torch.full_like(tokens_BN, model.transformer.spec.mask_id)
        *_, sampled = sample(model.transformer, model.schedule, guidance, canvas_BN, None, settings, range(GRID_IMAGES))
        return to_grid(self.vqgan.decode(x_BN.unflatten(1, grid)) for x_BN in (tokens_BN, sampled.x_BN.to(device)))

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": self.networks.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.networks.load_state_dict(state["networks"])
        self.ema.load_state_dict(state["ema"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
