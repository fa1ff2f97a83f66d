"""Training of a codec's decoder alone, for sharper images of the same tokens, against a discriminator (Esser et al.
2021, 3.1).

Encoder and codebook stay, so every token grid and every transformer that draws them stay valid.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import ALONE, Processes
from ..networks.vqgan import VQGAN, norm
from .codec import ImageTraining, psnr
from .data import Source
from .log import Metrics
from .memory import Memory, attention_is_fused, bytes_of, convolution_bytes, optimizer_bytes
from .optimization import cosine_schedule, mixed_precision, update, update_average

ADVERSARIAL = 0.5  # of the discriminator's weight at the end, in parts of the reconstruction's pull on the last layer
RAMP = 0.3  # share of the run until it has that
CHANNELS = (32, 64, 128)  # of the discriminator's layers, each half as wide as the one before
EMA_DECAY = 0.995


class DecoderTraining(ImageTraining):
    """One run, from a codec that is good but soft. `batch` is that of all processes together."""

    def __init__(
        self,
        model: VQGAN,
        source: Source,
        processes: Processes = ALONE,
        *,
        batch: int = 16,
        learning_rate: float = 3e-4,
        mixed: bool = True,
        seed: int = 0,
    ):
        super().__init__(model, source, processes, batch, seed)
        self.learning_rate = learning_rate
        self.mixed = mixed
        model.eval().requires_grad_(False)
        self.averaged = Renderer(model)
        self.renderer = deepcopy(self.averaged).requires_grad_(True)
        self.discriminator = Discriminator().to(processes.device)
        learners = self.renderer, self.discriminator
        self.weights, self.judging = ([*part.parameters()] for part in learners)
        self.optimizers = [torch.optim.AdamW(part.parameters(), betas=(0.5, 0.9), weight_decay=0) for part in learners]
        self.render, self.judge = map(processes.distribute, learners)

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "learn": "decoder", "learning_rate": self.learning_rate, "mixed": self.mixed}

    def memory(self, accumulate: int, checkpoint_activations: bool) -> Memory:
        """What the run takes of its device."""
        spec, side = self.model.spec, self.source.size
        grid = (side // spec.downscale,) * 2
        with torch.device("meta"):
            renderer, judge = Renderer(VQGAN(spec)), Discriminator()
            codes, image = torch.empty(1, spec.code_dim, *grid), torch.empty(1, 3, side, side)
        how = self.mixed, attention_is_fused(self.processes.device)
        kept = convolution_bytes(renderer, lambda: renderer(codes), *how)
        kept += convolution_bytes(judge, lambda: judge(image), *how)
        learned = bytes_of([*self.weights, *self.judging])
        return Memory(
            weights=bytes_of(self.model.parameters()) + learned,
            averages=0,  # which are the model's own weights
            optimizers=sum(map(optimizer_bytes, self.optimizers)),
            gradients=learned * (2 if self.processes.count > 1 else 1),  # on their way to the others
            activations=self.batch // self.processes.count * kept,
        )

    def step(self, step: int, progress: float, batch: Tensor) -> Metrics:
        image = batch.to(self.processes.device)
        drawing, judging = self.optimizers
        learning_rate = self.learning_rate * cosine_schedule(progress)
        codes = self.model.quantize.lookup(
            self.model.encode(image)
        )  # not in fewer bits: they are to be those of drawing
        with mixed_precision(self.processes.device, self.mixed):
            drawn = self.render(codes).float()
            fooled = -self.discriminator(drawn).float().mean()
        reconstruction = (drawn - image).abs().mean() + (drawn - image).square().mean()
        weight = ADVERSARIAL * min(progress / RAMP, 1) * self.balance(reconstruction, fooled)
        self.renderer.zero_grad()
        (reconstruction + weight * fooled).backward()
        update(self.weights, [drawing], learning_rate)
        self.average(step)

        with mixed_precision(self.processes.device, self.mixed):
            true, made = (self.judge(shown).float() for shown in (image, drawn.detach()))
        told_apart = 0.5 * (F.relu(1 - true).mean() + F.relu(1 + made).mean())
        self.discriminator.zero_grad()  # also of what it said to the drawing
        told_apart.backward()
        update(self.judging, [judging], learning_rate)
        return {
            "loss": reconstruction.item(),
            "psnr": psnr(drawn.detach(), image),
            "discriminator": told_apart.item(),
        }

    def balance(self, reconstruction: Tensor, fooled: Tensor) -> Tensor:
        """How much stronger the reconstruction pulls at the last layer than the discriminator (Esser et al. 2021,
        eq. 7).
        """
        last = self.renderer.decoder.conv_out.weight
        pulls = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (reconstruction, fooled))
        ours, theirs = (self.processes.all_gather(pull[None]).mean(0).norm() for pull in pulls)
        return (ours / (theirs + 1e-4)).clamp(max=1e4).detach()

    def average(self, step: int) -> None:
        """The codec draws with the average of the last steps."""
        update_average([*self.averaged.parameters()], [*self.renderer.parameters()], step, EMA_DECAY)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "renderer": self.renderer.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "renderer" not in state:
            raise ValueError("it learns the whole codec")
        self.model.load_state_dict(state["model"])
        self.renderer.load_state_dict(state["renderer"])
        self.discriminator.load_state_dict(state["discriminator"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)


class Renderer(nn.Module):
    """What of a codec draws: codes (B, D, h, w) -> image."""

    def __init__(self, model: VQGAN):
        super().__init__()
        self.post_quant_conv = model.post_quant_conv
        self.decoder = model.decoder

    def forward(self, codes_BDhw: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(codes_BDhw))


class Discriminator(nn.Sequential):
    """Image (B, 3, H, W) -> for each of many overlapping patches, how true it looks (Isola et al. 2017)."""

    def __init__(self):
        layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(CHANNELS):
            layers += [nn.Conv2d(before, after, 4, 2, 1), norm(after, 8), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(CHANNELS[-1], 1, 3, padding=1))
