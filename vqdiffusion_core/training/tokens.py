"""What training on a codec's tokens is, whichever network learns from them: its weights, their average, its sheets."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from ..diffusion.guidance import cfg
from ..diffusion.sampling import sample
from ..diffusion.settings import Settings
from ..distributed import Processes
from ..model import VQDiffusion
from ..networks.text_encoder import TextEncoder
from ..networks.vqgan import VQGAN
from .data import to_grid
from .examples import Examples
from .memory import Memory, bytes_of, optimizer_bytes
from .optimization import choose_optimizers, cosine_schedule, update, update_average

NULL_SHARE = 0.1  # captions replaced by the learned null, so that guidance has something to push away from
EMA_DECAY = 0.999
GRID_IMAGES = 8

Networks = TypeVar("Networks", bound=nn.Module)


class TokenTraining(ABC, Generic[Networks]):
    """One run: of `networks` those weights learn that ask for gradients. `batch` is that of all processes together;
    `vqgan` draws the sheets; `compiled`: by PyTorch's compiler, which takes a while to begin and a C++ compiler to be
    there. `accumulate` takes each process's rows of a batch in so many parts: the same steps, in less memory.
    """

    sheet_settings = Settings()
    saves_by: tuple[str, ...] = ("accumulate",)
    checkpoint_activations = False

    def __init__(
        self,
        networks: Networks,
        blocks: nn.ModuleList,
        text_encoder: TextEncoder,
        examples: Examples,
        vqgan: VQGAN,
        processes: Processes,
        *,
        batch: int = 32,
        learning_rate: float = 1e-3,
        mixed: bool = True,
        compiled: bool = False,
        accumulate: int = 1,
        seed: int = 0,
    ):
        self.networks = networks.to(processes.device).train()
        self.ema = frozen_copy(networks)
        self.examples = examples
        self.vqgan = vqgan
        self.processes = processes
        self.batch = batch
        self.learning_rate = learning_rate
        self.mixed = mixed
        self.accumulate = accumulate
        self.seed = seed
        self.weights = [p for p in networks.parameters() if p.requires_grad]
        self.optimizers = choose_optimizers(networks, [blocks, text_encoder])
        for block in blocks if compiled else ():
            block.compile()
        self.predict = processes.distribute(self.networks)

    @property
    def config(self) -> dict[str, Any]:
        return {
            "tokens of codec": self.examples.codec,
            "optimizers": [type(optimizer).__name__ for optimizer in self.optimizers],
            **{name: getattr(self, name) for name in ("batch", "learning_rate", "mixed", "seed")},
        }

    def memory(self, accumulate: int, checkpoint_activations: bool) -> Memory:
        """What the run takes of its device if a step is taken like this."""
        several = self.processes.count > 1
        rows = math.ceil(self.batch / self.processes.count / accumulate)
        return Memory(
            weights=bytes_of([*self.networks.parameters(), *self.vqgan.parameters()]),
            averages=bytes_of(self.weights),
            optimizers=sum(map(optimizer_bytes, self.optimizers)),
            gradients=bytes_of(self.weights) * (2 if several else 1),  # on their way to the others
            activations=int(rows * self.image_bytes(checkpoint_activations)),
        )

    @abstractmethod
    def image_bytes(self, checkpoint_activations: bool) -> float:
        """What is kept of one image for the backward pass."""

    def draw_examples(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """This process's rows of a batch: tokens (B, N) and captions (B, L)."""
        tickets_B = self.processes.shard(torch.randint(2**62, (self.batch,), generator=generator))
        return stack(self.rows(step, tickets_B.tolist()))

    def rows(self, step: int, tickets: list[int]) -> Iterable[tuple[Tensor, Tensor]]:
        """Of a step, each as it follows from its number."""
        return map(self.examples.draw, tickets)

    def update(self, step: int, progress: float) -> float:
        """A step down the gradient that the weights have, with their average; its norm."""
        norm = update(self.weights, self.optimizers, self.learning_rate * cosine_schedule(progress))
        pairs = [*zip(self.ema.parameters(), self.networks.parameters(), strict=True)]
        learned = [(mean, weight) for mean, weight in pairs if weight.requires_grad]
        update_average([mean for mean, _ in learned], [weight for _, weight in learned], step, EMA_DECAY)
        return norm

    @abstractmethod
    def model(self, name: str) -> VQDiffusion:
        """What has been learned so far, with the averaged weights."""

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Images of the training as their tokens show them, and below them what is drawn from their captions."""
        model, device, seeds = self.model(""), self.processes.device, range(GRID_IMAGES)
        tokens_BN, ids_BL = (rows.to(device) for rows in stack(map(self.examples.draw, seeds)))
        sampled_BN = draw_tokens(model, ids_BL, self.sheet_settings, seeds).to(device)
        grid = model.transformer.spec.grid
        return to_grid(self.vqgan.decode(x_BN.unflatten(1, grid)) for x_BN in (tokens_BN, sampled_BN))

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


def frozen_copy(networks: Networks) -> Networks:
    """Which has those weights in common with these that do not learn."""
    frozen = {id(weight): weight for weight in networks.parameters() if not weight.requires_grad}
    return deepcopy(networks, frozen).eval().requires_grad_(False)


def stack(rows: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The tokens and the captions of some rows."""
    tokens, ids = zip(*rows, strict=True)
    return torch.stack(tokens), torch.stack(ids)


@torch.no_grad()
def draw_tokens(model: VQDiffusion, ids_BL: Tensor, settings: Settings, seeds: Sequence[int]) -> Tensor:
    """Tokens (B, N) of an image of each caption."""
    assert model.text_encoder is not None
    guidance = cfg(model.text_encoder.embed(ids_BL), model.learned_null_1LD, settings.guidance)
    spec = model.transformer.spec
    canvas_BN = torch.full((len(ids_BL), spec.num_tokens), spec.mask_id, device=ids_BL.device)
    *_, sampled = sample(model.transformer, model.schedule, guidance, canvas_BN, None, settings, seeds)
    return sampled.x_BN
