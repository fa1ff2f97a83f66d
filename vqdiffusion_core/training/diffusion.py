"""Training of the transformer, its text encoder and the learned null (Gu et al. 2022; Tang et al. 2022, 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..posterior import q_sample
from ..schedule import Schedule
from ..text_encoder import TextEncoder
from ..transformer import Transformer
from .loop import cosine
from .objective import TimeSampler, loss_terms

NULL_SHARE = 0.1  # captions replaced by the learned null, so that guidance has something to push away from
EMA_DECAY = 0.999


class Networks(nn.Module):
    """What is trained together."""

    def __init__(self, transformer: Transformer, text_encoder: TextEncoder):
        super().__init__()
        self.transformer = transformer
        self.text_encoder = text_encoder
        vectors = torch.randn(1, text_encoder.length, text_encoder.width)
        self.null_1LD = nn.Parameter(nn.functional.normalize(vectors, dim=-1))

    def forward(self, x_BN: Tensor, index_B: Tensor, ids_BL: Tensor, drop_B: Tensor) -> Tensor:
        text_BLD = self.text_encoder.embed(ids_BL)
        text_BLD = torch.where(drop_B[:, None, None], self.null_1LD, text_BLD)
        return self.transformer(x_BN, index_B, self.transformer.remember(text_BLD))


class DiffusionTraining:
    """One run. `examples(generator, count)` gives clean tokens (count, N) and caption ids (count, L)."""

    def __init__(
        self,
        networks: Networks,
        schedule: Schedule,
        examples: Callable[[torch.Generator, int], tuple[Tensor, Tensor]],
        *,
        batch: int = 32,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ):
        self.networks = networks.train()
        self.ema = deepcopy(networks).eval().requires_grad_(False)
        self.schedule = schedule
        self.examples = examples
        self.batch = batch
        self.learning_rate = learning_rate
        self.seed = seed
        self.times = TimeSampler(schedule.num_timesteps)
        self.optimizer = torch.optim.AdamW(networks.parameters(), betas=(0.9, 0.96), weight_decay=0.01)

    def step(self, step: int, progress: float) -> dict[str, float]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * cosine(progress)
        x0_BN, ids_BL = self.examples(generator, self.batch)
        t_B, p_B = self.times.sample(self.batch, generator)
        coin_BN = torch.rand(x0_BN.shape, generator=generator, dtype=torch.float64)
        xt_BN = torch.stack(
            [q_sample(x0, t, self.schedule, coin) for x0, t, coin in zip(x0_BN, t_B, coin_BN, strict=True)]
        )
        drop_B = torch.rand(self.batch, generator=generator) < NULL_SHARE

        # On a CPU the backward pass of fused attention takes half of a step; with the plain one, steps are 1.6 times as
        # fast.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            logits_BNK = self.networks(xt_BN, torch.from_numpy(t_B) - 1, ids_BL, drop_B)
        bound_B, auxiliary_B = loss_terms(logits_BNK, x0_BN, xt_BN, t_B, self.schedule)
        loss = ((bound_B + auxiliary_B) / p_B).mean().float()

        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimizer.step()
        self.times.update(t_B, bound_B.detach())
        self.update_ema(step)
        return {"loss": loss.item(), "bound": (bound_B / p_B).mean().item(), "gradient": norm.item()}

    @torch.no_grad()
    def update_ema(self, step: int) -> None:
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        for mean, weight in zip(self.ema.parameters(), self.networks.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": self.networks.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "times": self.times.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.networks.load_state_dict(state["networks"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.times.load_state_dict(state["times"])


def initialise(transformer: Transformer) -> None:
    """Start weights as in the original, N(0, 0.02), except where text enters: its vectors have length 1, not sqrt(D),
    and at 0.02 the prompt would be a whisper that the network takes long to hear.
    """
    for name, parameter in transformer.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2 if name.endswith(("attn2.key.weight", "attn2.value.weight")) else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
