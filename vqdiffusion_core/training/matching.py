"""A text encoder that begins by matching captions with images, as CLIP's did (Radford et al. 2021): the vectors of
words then tell images apart before a transformer has to learn from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..distributed import Processes
from ..networks.text_encoder import PAD_ID, TextEncoder
from ..networks.vqgan import VQGAN
from ..notices import notify
from .checkpoint import find_run, resume
from .data import to_grid
from .diffusion import DiffusionTraining
from .examples import Examples
from .log import Metrics
from .loop import run
from .optimization import choose_optimizers, cosine_schedule, mixed_precision, step_generator, update
from .tokens import GRID_IMAGES, stack

BATCH = 64  # captions, each to be told which of as many images is its own
LEARNING_RATE = 1e-3
FIRST_SCALE, LAST_SCALE = 1 / 0.07, 100.0  # of similarities: CLIP's


class ImageTower(nn.Module):
    """Tokens (B, N) of a grid -> vectors of images (B, D)."""

    def __init__(self, codes: int, grid: tuple[int, int], width: int):
        super().__init__()
        self.grid = grid
        self.token_emb = nn.Embedding(codes, width)
        self.position_emb = nn.Parameter(torch.empty(width, *grid))
        for table in (self.token_emb.weight, self.position_emb):
            nn.init.normal_(table, std=0.02)
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, 2, 1), nn.GELU(), nn.Conv2d(width, width, 3, 2, 1), nn.GELU()
        )
        self.proj = nn.Linear(width, width)

    def forward(self, x_BN: Tensor) -> Tensor:
        h_BDHW = self.token_emb(x_BN).unflatten(1, self.grid).permute(0, 3, 1, 2) + self.position_emb
        return self.proj(self.layers(h_BDHW).mean((2, 3)))


class Towers(nn.Module):
    """A text encoder and, while it begins, what it is matched with."""

    def __init__(self, text_encoder: TextEncoder, image_tower: ImageTower):
        super().__init__()
        self.text_encoder = text_encoder
        self.image_tower = image_tower
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))

    def forward(self, ids_BL: Tensor, x_BN: Tensor) -> Tensor:
        """How well each caption suits each image, as logits (B, B).

        A caption is the mean of its vectors, not its last one as in CLIP: a transformer will look at all of them.
        """
        is_word_BL = (ids_BL != PAD_ID).index_fill(1, torch.tensor([0], device=ids_BL.device), False)
        text_BD = (self.text_encoder.embed(ids_BL) * is_word_BL[..., None]).sum(1)
        similarity_BB = F.normalize(text_BD, dim=1) @ F.normalize(self.image_tower(x_BN).float(), dim=1).T
        return similarity_BB * self.log_scale.exp().clamp(max=LAST_SCALE)


class MatchingTraining:
    """One run, of a text encoder alone. Each of several processes takes the whole of every step, which is small."""

    def __init__(
        self,
        text_encoder: TextEncoder,
        grid: tuple[int, int],
        examples: Examples,
        vqgan: VQGAN,
        processes: Processes,
        mixed: bool = True,
        seed: int = 0,
    ):
        torch.manual_seed(seed)  # the image tower's start
        tower = ImageTower(vqgan.spec.codebook_size, grid, text_encoder.width)
        self.towers = Towers(text_encoder, tower).to(processes.device).train().requires_grad_(True)
        self.examples = examples
        self.vqgan = vqgan
        self.processes = processes
        self.mixed = mixed
        self.seed = seed
        self.weights = [*self.towers.parameters()]
        self.optimizers = choose_optimizers(self.towers, [text_encoder])

    @property
    def config(self) -> dict[str, Any]:
        kinds = [type(optimizer).__name__ for optimizer in self.optimizers]
        return {"matching": BATCH, "tokens of codec": self.examples.codec, "optimizers": kinds, "seed": self.seed}

    def batches(self, steps: range) -> Iterator[tuple[Tensor, Tensor]]:
        """Tokens (B, N) of images, and a caption of each (B, L)."""
        return map(self.draw_batch, steps)

    def draw_batch(self, step: int) -> tuple[Tensor, Tensor]:
        tickets_B = torch.randint(2**62, (BATCH,), generator=step_generator(self.seed, step))
        return stack(map(self.examples.draw, tickets_B.tolist()))

    def step(self, step: int, progress: float, batch: tuple[Tensor, Tensor]) -> Metrics:
        x_BN, ids_BL = (rows.to(self.processes.device) for rows in batch)
        self.towers.zero_grad()
        with mixed_precision(self.processes.device, self.mixed):
            logits_BB = self.towers(ids_BL, x_BN).float()
        alike_BB = alike(ids_BL) | alike(x_BN)
        truth_BB = alike_BB / alike_BB.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits_BB, truth_BB) + F.cross_entropy(logits_BB.T, truth_BB)) / 2
        loss.backward()
        norm = update(self.weights, self.optimizers, LEARNING_RATE * cosine_schedule(progress))
        found = alike_BB.gather(1, logits_BB.argmax(1, keepdim=True)).float().mean()
        return {"loss": loss.item(), "found": found.item(), "gradient": norm}

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Images, and below each the one that its caption finds among those of a batch."""
        x_BN, ids_BL = (rows.to(self.processes.device) for rows in stack(map(self.examples.draw, range(BATCH))))
        found_B = self.towers(ids_BL, x_BN).argmax(1)[:GRID_IMAGES]
        grid = self.towers.image_tower.grid
        return to_grid(self.vqgan.decode(rows_BN.unflatten(1, grid)) for rows_BN in (x_BN[:GRID_IMAGES], x_BN[found_B]))

    def state_dict(self) -> dict[str, Any]:
        return {
            "towers": self.towers.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.towers.load_state_dict(state["towers"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)


def alike(rows_BN: Tensor) -> Tensor:
    """Which rows are equal to which (B, B): an image may come twice in a batch, and a caption be that of several."""
    return (rows_BN[:, None] == rows_BN).all(-1)


def match_captions(training: DiffusionTraining, folder: Path, steps: int) -> None:
    """Have the text encoder of a new model learn for so many steps by itself, in a run in `folder`/text, before the
    training in `folder` begins. A training that has begun stays what it is, and a notice says so if it began otherwise.
    """
    networks, place = training.networks, folder / "text"
    if find_run(folder, "transformer"):
        kept = find_run(place, "matching")
        if not kept or kept["step"] != steps:
            notify(f"The run in {folder} has begun, so no captions are matched; to do that, begin in another folder.")
        return
    grid, mixed, seed = networks.transformer.spec.grid, training.mixed, training.seed
    parts = (networks.text_encoder, grid, training.examples, training.vqgan, training.processes)
    matching = MatchingTraining(*parts, mixed, seed)
    run(matching, place, steps)
    resume(matching, place)  # what the main process has learned, which that of others equals but for rounding
    networks.learn(training.learn)
    with torch.no_grad():
        networks.null_1LD.copy_(networks.text_encoder.encode([""]))
    training.ema.load_state_dict(networks.state_dict())
