"""Training of a VQGAN codec: reconstruction through the nearest codes (van den Oord et al. 2017)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..distributed import ALONE, Processes
from ..networks.vqgan import VQGAN
from .codebook import CodebookAverages
from .data import RandomImages, Source, load_batches, to_grid, to_tensor
from .log import Metrics
from .memory import Memory, attention_is_fused, bytes_of, convolution_bytes, optimizer_bytes
from .optimization import cosine_schedule, mixed_precision, split, step_generator, update

COMMITMENT = 0.25  # weight of the pull of latents towards their codes
CODEBOOK_BATCHES = 16  # whose latents the codebook is started from
GRID_IMAGES = 8

Quantise = Callable[[Tensor], Tensor]  # latents -> codes
Chosen = tuple[Tensor, Tensor]  # latents (B, D, h, w), and the ids (B, h, w) of their codes


class ImageTraining:
    """What all training of a codec shares: batches of images that follow from the number of a step, and sheets."""

    mixed: bool
    saves_by: tuple[str, ...] = ()
    accumulate = 1
    checkpoint_activations = False

    def __init__(self, model: VQGAN, source: Source, processes: Processes, batch: int, seed: int):
        self.model = model.to(processes.device)
        self.source = source
        self.processes = processes
        self.batch = batch
        self.seed = seed

    @property
    def config(self) -> dict[str, Any]:
        codec = asdict(self.model.spec)
        if not self.model.spec.cells_alone:
            del codec["cells_alone"]  # runs of earlier versions, which go on, do not say so
        return {
            "codec": codec,
            "size": self.source.size,
            "batch": self.batch,
            "seed": self.seed,
        }

    def batches(self, steps: range) -> Iterator[Tensor]:
        return self.load(self.draw_tickets(step_generator(self.seed, step)) for step in steps)

    def load(self, tickets: Iterable[Tensor]) -> Iterator[Tensor]:
        """For the tickets of each whole batch, this process's images (B, 3, H, W)."""
        mine = (self.processes.shard(tickets_B).tolist() for tickets_B in tickets)
        return iter(load_batches(RandomImages(self.source), mine, self.processes))

    def draw_tickets(self, generator: torch.Generator) -> Tensor:
        """Numbers from which the images of a whole batch follow."""
        return torch.randint(2**62, (self.batch,), generator=generator)

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Images, and below them their reconstructions."""
        images = [to_tensor(self.source.random_image(random.Random(i))) for i in range(GRID_IMAGES)]
        image = torch.stack(images).to(self.processes.device)
        return to_grid([image, self.model.decode(self.model.encode(image))])


class CodecTraining(ImageTraining):
    """One run: continuous latents for a while, then a codebook started by k-means and kept by moving averages.

    `batch` is that of all processes together. `continuous_steps` None: the model has a good codebook, go on with it.
    `accumulate` takes each process's images of a batch in so many parts: the same steps, in less memory.
    """

    saves_by: tuple[str, ...] = ("accumulate",)

    def __init__(
        self,
        model: VQGAN,
        source: Source,
        processes: Processes = ALONE,
        *,
        batch: int = 16,
        learning_rate: float = 1e-3,
        continuous_steps: int | None = 400,
        mixed: bool = True,
        accumulate: int = 1,
        seed: int = 0,
    ):
        super().__init__(model, source, processes, batch, seed)
        self.learning_rate = learning_rate
        self.continuous_steps = continuous_steps
        self.mixed = mixed
        self.accumulate = accumulate
        model.train().requires_grad_(True)
        self.codebook = CodebookAverages(model.quantize)
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, betas=(0.9, 0.99), weight_decay=1e-4)
        self.reconstruct = processes.distribute(Reconstruction(model))

    @property
    def config(self) -> dict[str, Any]:
        names = ("learning_rate", "continuous_steps", "mixed")
        return super().config | {name: getattr(self, name) for name in names}

    def memory(self, accumulate: int, checkpoint_activations: bool) -> Memory:
        """What the run takes of its device if a step is taken like this."""
        with torch.device("meta"):
            model, image = VQGAN(self.model.spec), torch.empty(1, 3, self.source.size, self.source.size)
        fused = attention_is_fused(self.processes.device)
        kept = convolution_bytes(model, lambda: model.render(model.latents(image)), self.mixed, fused)
        rows = math.ceil(self.batch / self.processes.count / accumulate)
        return Memory(
            weights=bytes_of(self.model.parameters()),
            averages=bytes_of([self.codebook.uses_K, self.codebook.sums_KD]),
            optimizers=optimizer_bytes(self.optimizer),
            gradients=bytes_of(self.weights) * (2 if self.processes.count > 1 else 1),  # on their way to the others
            activations=rows * kept,
        )

    def step(self, step: int, progress: float, batch: Tensor) -> Metrics:
        generator, image = step_generator(self.seed, step), batch.to(self.processes.device)
        self.draw_tickets(generator)  # those of `batch`
        if step == self.continuous_steps:
            self.start_codebook(generator)
        is_quantised = self.continuous_steps is None or step >= self.continuous_steps
        self.model.zero_grad()
        chosen: list[Chosen] = []
        quantise = (lambda latents: self.quantise(latents, chosen)) if is_quantised else Tensor.detach
        parts = self.processes.accumulate(self.reconstruct, split(image, self.accumulate))
        drawn, loss = zip(*(self.backward(part, quantise, len(image)) for part in parts), strict=True)
        if is_quantised:
            self.update_codebook(chosen, generator)
        update(self.weights, [self.optimizer], self.learning_rate * cosine_schedule(progress))
        return {
            "loss": torch.stack(loss).sum().item(),
            "psnr": psnr(torch.cat(drawn), image),
            "used_codes": float(self.codebook.used()) if is_quantised else 0.0,
        }

    def backward(self, image: Tensor, quantise: Quantise, count: int) -> tuple[Tensor, Tensor]:
        """Add to the gradient what some of `count` images have to say; what was drawn of them, and their loss."""
        with mixed_precision(self.processes.device, self.mixed):
            drawn, latents, codes = self.reconstruct(image, quantise)
        error = drawn - image
        loss = error.abs().mean() + error.square().mean() + COMMITMENT * F.mse_loss(latents, codes)
        loss = loss * (len(image) / count)
        loss.backward()
        return drawn.detach(), loss.detach()

    @torch.no_grad()
    def quantise(self, latents_BDhw: Tensor, chosen: list[Chosen]) -> Tensor:
        """Nearest codes of the latents; notes which chose which."""
        tokens_Bhw = self.model.quantize.nearest(latents_BDhw)
        chosen.append((latents_BDhw.detach(), tokens_Bhw))
        return self.model.quantize.lookup(tokens_Bhw)

    def update_codebook(self, chosen: list[Chosen], generator: torch.Generator) -> None:
        """Move the codebook a step towards all processes' latents."""
        latents_BDhw, tokens_Bhw = (torch.cat(column) for column in zip(*chosen, strict=True))
        chosen_M = self.processes.all_gather(tokens_Bhw).flatten()
        self.codebook.update(self.gather_latents(latents_BDhw), chosen_M, generator)

    @torch.no_grad()
    def start_codebook(self, generator: torch.Generator) -> None:
        tickets = [self.draw_tickets(generator) for _ in range(CODEBOOK_BATCHES)]
        latents = (self.model.latents(image.to(self.processes.device)) for image in self.load(tickets))
        self.codebook.start(torch.cat([self.gather_latents(latents_BDhw) for latents_BDhw in latents]), generator)

    def gather_latents(self, latents_BDhw: Tensor) -> Tensor:
        """The latents of all processes' images, (images * h * w, D), in the order of the batch."""
        return self.processes.all_gather(latents_BDhw.float()).permute(0, 2, 3, 1).flatten(0, 2)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "code_uses": self.codebook.uses_K,
            "code_sums": self.codebook.sums_KD,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.codebook.uses_K.copy_(state["code_uses"])
        self.codebook.sums_KD.copy_(state["code_sums"])


class Reconstruction(nn.Module):
    """An image's way through the codec as one call, as DistributedDataParallel wants it."""

    def __init__(self, model: VQGAN):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, quantise: Quantise) -> tuple[Tensor, Tensor, Tensor]:
        """What was drawn, the latents, and the codes that took their place; gradients pass the codes by."""
        latents = self.model.latents(image).float()
        codes = quantise(latents)
        return self.model.render(latents + (codes - latents).detach()).float(), latents, codes


def psnr(drawn: Tensor, image: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in -1..1."""
    return float(-10 * torch.log10((drawn.clamp(-1, 1) - image).square().mean() / 4))
