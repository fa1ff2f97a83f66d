"""Training of a transformer that draws token after token (Esser et al. 2021, 3.2), its text encoder and the learned
null: what a diffusion model of the same shape is measured against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion.schedule import Schedule
from ..diffusion.settings import AUTOREGRESSIVE, Settings
from ..distributed import ALONE, Processes
from ..model import VQDiffusion
from ..networks.gpt import GPT
from ..networks.kernels import keep_freed_memory
from ..networks.text_encoder import TextEncoder
from ..networks.vqgan import VQGAN
from .examples import Examples
from .log import Metrics
from .memory import attention_is_fused, causal_activation_bytes
from .optimization import mixed_precision, split_each, step_generator
from .tokens import NULL_SHARE, TokenTraining


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


class AutoregressiveTraining(TokenTraining[GPTNetworks]):
    sheet_settings = Settings(sampler=AUTOREGRESSIVE)

    def __init__(
        self, networks: GPTNetworks, examples: Examples, vqgan: VQGAN, processes: Processes = ALONE, **settings: Any
    ):
        networks.requires_grad_(True)
        blocks, text_encoder = networks.gpt.blocks, networks.text_encoder
        super().__init__(networks, blocks, text_encoder, examples, vqgan, processes, **settings)

    @property
    def config(self) -> dict[str, Any]:
        return {"gpt": asdict(self.networks.gpt.spec), **super().config}

    def image_bytes(self, checkpoint_activations: bool) -> float:
        fused = attention_is_fused(self.processes.device)
        return causal_activation_bytes(self.networks.gpt, self.networks.text_encoder, self.mixed, fused)

    def batches(self, steps: range) -> Iterator[Batch]:
        return map(self.draw_batch, steps)

    def draw_batch(self, step: int) -> Batch:
        generator = step_generator(self.seed, step)
        x_BN, ids_BL = self.draw_examples(step, generator)
        drop_B = torch.rand(self.batch, generator=generator) < NULL_SHARE
        return Batch(x_BN, ids_BL, self.processes.shard(drop_B))

    def step(self, step: int, progress: float, batch: Batch) -> Metrics:
        self.networks.zero_grad()
        parts = [Batch(*part) for part in split_each(batch, self.accumulate)]
        said = [self.backward(part, len(batch.drop_B)) for part in self.processes.accumulate(self.predict, parts)]
        norm, loss_B = self.update(step, progress), torch.cat(said)
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
        gpt, text_encoder, null_1LD = self.ema.gpt, self.ema.text_encoder, self.ema.null_1LD.detach()
        return VQDiffusion(name, gpt, Schedule.one_step(gpt.spec.codebook_size), self.vqgan, text_encoder, null_1LD)
