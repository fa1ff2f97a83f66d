"""Training of the transformer, its text encoder and the learned null (Gu et al. 2022; Tang et al. 2022, 3.1)."""

from __future__ import annotations

import hashlib
import random
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from ..checkpoints.write import bytes_of
from ..diffusion.guidance import cfg
from ..diffusion.posterior import q_sample
from ..diffusion.sampling import sample
from ..diffusion.schedule import Schedule
from ..diffusion.settings import Settings
from ..distributed import ALONE, Workers
from ..model import VQDiffusion
from ..networks.text_encoder import TextEncoder
from ..networks.transformer import Transformer
from ..networks.vqgan import VQGAN
from .data import Source, to_grid, to_tensor
from .loop import clip, cosine, precision
from .objective import TimeSampler, loss_mask, loss_terms

NULL_SHARE = 0.1  # captions replaced by the learned null, so that guidance has something to push away from
EMA_DECAY = 0.999
# The rows of the logits are filled up to a multiple of this: a CPU's kernels are compiled for every number of rows anew
# and kept. At any number the pocket model's training took 6 GB after 2,000 steps, which had become a fifth slower.
ROWS = 128
SHEET = 8  # images

Learn = Literal["all", "transformer", "null"]  # each with what comes after it


class Networks(nn.Module):
    """What is trained together."""

    def __init__(self, transformer: Transformer, text_encoder: TextEncoder, null_1LD: Tensor):
        super().__init__()
        self.transformer = transformer
        self.text_encoder = text_encoder
        self.null_1LD = nn.Parameter(null_1LD.detach().float().clone())

    def learn(self, what: Learn) -> None:
        """Choose what training may change."""
        self.requires_grad_(what == "all")
        self.transformer.requires_grad_(what in ("all", "transformer"))
        self.null_1LD.requires_grad_(True)

    def forward(self, x_BN: Tensor, index_B: Tensor, ids_BL: Tensor, drop_B: Tensor, where_BN: Tensor) -> Tensor:
        """Logits (M, K) at the M asked positions; captions whose `drop_B` is true are replaced by the null."""
        text_BLD = self.text_encoder.embed(ids_BL)
        text_BLD = torch.where(drop_B[:, None, None], self.null_1LD, text_BLD)
        h_BNW = self.transformer.hidden(x_BN, index_B, self.transformer.precompute_kv(text_BLD))
        h_MW = h_BNW[where_BN]
        filled_MW = F.pad(h_MW, (0, 0, 0, -len(h_MW) % ROWS))
        return self.transformer.to_logits(filled_MW)[: len(h_MW)]


@dataclass(frozen=True)
class Examples:
    """Images as tokens, each with its captions as ids."""

    tokens_SN: Tensor
    ids: list[Tensor]  # of each image: (its captions, L)
    codec: str  # `fingerprint` of the VQGAN whose tokens they are
    data: str | None = None  # `changes.settle` of what was encoded; version 0.1.0 kept none

    @property
    def length(self) -> int:
        """L, of the captions."""
        return self.ids[0].shape[1]

    def draw(self, ticket: int) -> tuple[Tensor, Tensor]:
        """Tokens (N,) and ids (L,) of the example that follows from this number."""
        rng = random.Random(ticket)
        i = rng.randrange(len(self.tokens_SN))
        return self.tokens_SN[i].long(), self.ids[i][rng.randrange(len(self.ids[i]))]


@torch.no_grad()
def encode(source: Source, vqgan: VQGAN, text_encoder: TextEncoder, workers: Workers) -> list[tuple[Tensor, Tensor]]:
    """Every image of a source as its tokens (1, N), with its captions as ids (C, L): each worker encodes its share, and
    the leading one has them all.
    """
    device = next(vqgan.parameters()).device
    share, mine = source.captioned(workers.rank, workers.count), []
    count = -(-len(source) // workers.count)
    for image, captions in tqdm(share, "encoded", count, unit="image", disable=workers.quiet):
        tokens_1N = vqgan.encode(to_tensor(image)[None].to(device)).flatten(1).int().cpu()
        mine.append((tokens_1N, torch.tensor([text_encoder.tokenize(caption) for caption in captions])))
    return workers.collect(mine)


def fingerprint(module: nn.Module) -> str:
    """Tells weights from other weights."""
    digest = hashlib.sha256()
    for weight in module.state_dict().values():
        digest.update(bytes_of(weight))
    return digest.hexdigest()[:16]


class Batch(NamedTuple):
    """Examples at a time of the forward process."""

    x0_BN: Tensor
    xt_BN: Tensor
    t_B: Tensor  # 1..T
    ids_BL: Tensor  # captions
    drop_B: Tensor  # whether the null takes the caption's place


class DiffusionTraining:
    """One run. `batch` is that of all workers together; `vqgan` draws the sheets; `compiled`: by PyTorch's compiler,
    which takes a while to begin and a C++ compiler to be there.
    """

    def __init__(
        self,
        networks: Networks,
        schedule: Schedule,
        examples: Examples,
        vqgan: VQGAN,
        workers: Workers = ALONE,
        *,
        learn: Learn = "all",
        batch: int = 32,
        learning_rate: float = 1e-3,
        mixed: bool = True,
        compiled: bool = False,
        seed: int = 0,
    ):
        self.networks = networks.to(workers.device).train()
        self.ema = deepcopy(networks).eval().requires_grad_(False)
        self.schedule = schedule
        self.examples = examples
        self.vqgan = vqgan
        self.workers = workers
        self.learn = learn
        self.batch = batch
        self.learning_rate = learning_rate
        self.mixed = mixed
        self.seed = seed
        self.times = TimeSampler(schedule.num_timesteps)
        networks.learn(learn)
        self.weights = [p for p in networks.parameters() if p.requires_grad]
        self.optimizers = optimizers(networks)
        for block in self.networks.transformer.blocks if compiled else ():
            block.compile()
        self.predict = workers.together(self.networks)

    @property
    def setup(self) -> dict[str, Any]:
        names = ("learn", "batch", "learning_rate", "mixed", "seed")
        last = self.schedule.bar(self.schedule.num_timesteps)
        return {
            "transformer": asdict(self.networks.transformer.spec),
            "tokens of codec": self.examples.codec,
            "kernel": {name: round(float(getattr(last, name)), 3) for name in ("alpha", "beta", "gamma")},
            "optimizers": [type(optimizer).__name__ for optimizer in self.optimizers],
            **{name: getattr(self, name) for name in names},
        }

    def step(self, step: int, progress: float) -> dict[str, float]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * cosine(progress)
        all_t_B, all_p_B = self.times.sample(self.batch, generator)
        batch, p_B = self.noisy_batch(generator, all_t_B), self.workers.share(all_p_B)
        bound_B, auxiliary_B = self.losses(batch)
        loss = ((bound_B + auxiliary_B) / p_B.to(bound_B)).mean()

        self.networks.zero_grad()
        loss.backward()
        norm = clip(self.weights)
        for optimizer in self.optimizers:
            optimizer.step()
        self.times.update(all_t_B, self.workers.gather(bound_B).cpu())
        self.update_ema(step)
        bound = (bound_B.detach() / p_B.to(bound_B)).mean()
        return {"loss": loss.item(), "bound": bound.item(), "gradient": norm}

    def noisy_batch(self, generator: torch.Generator, all_t_B: np.ndarray) -> Batch:
        """This worker's examples of the next batch, each taken to its time by the forward process."""
        tickets_B = torch.randint(2**62, (self.batch,), generator=generator)
        coin_BN = torch.rand(self.batch, self.examples.tokens_SN.shape[1], generator=generator, dtype=torch.float64)
        drop_B = torch.rand(self.batch, generator=generator) < NULL_SHARE
        share = self.workers.share
        drawn = [self.examples.draw(ticket) for ticket in share(tickets_B).tolist()]
        x0_BN, ids_BL = (torch.stack(column) for column in zip(*drawn, strict=True))
        t_B = share(torch.from_numpy(all_t_B))
        coins = zip(x0_BN, t_B.tolist(), share(coin_BN), strict=True)
        xt_BN = torch.stack([q_sample(x0_N, t, self.schedule, coin_N) for x0_N, t, coin_N in coins])
        return Batch(x0_BN, xt_BN, t_B, ids_BL, share(drop_B))

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(bound_B, auxiliary_B), means over the tokens of each image."""
        where_BN = loss_mask(batch.xt_BN, self.schedule)
        t_M = batch.t_B[:, None].expand_as(where_BN)[where_BN].numpy()
        index_B = batch.t_B - 1  # the network counts from 0
        inputs = (batch.xt_BN, index_B, batch.ids_BL, batch.drop_B, where_BN, batch.x0_BN)
        xt_BN, index_B, ids_BL, drop_B, where_BN, x0_BN = (tensor.to(self.workers.device) for tensor in inputs)
        with precision(self.workers.device, self.mixed):
            logits_MK = self.predict(xt_BN, index_B, ids_BL, drop_B, where_BN)
        terms = loss_terms(logits_MK, x0_BN[where_BN], xt_BN[where_BN], t_M, self.schedule)
        bound_B, auxiliary_B = (mean_by_image(term_M, where_BN) for term_M in terms)
        return bound_B, auxiliary_B

    @torch.no_grad()
    def update_ema(self, step: int) -> None:
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        for mean, weight in zip(self.ema.parameters(), self.networks.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)

    def model(self, name: str) -> VQDiffusion:
        """What has been learned so far, with the averaged weights."""
        networks = self.ema
        return VQDiffusion(
            name, networks.transformer, self.schedule, self.vqgan, networks.text_encoder, networks.null_1LD.detach()
        )

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Images of the training as their tokens show them, and below them what is drawn from their captions."""
        spec, device = self.networks.transformer.spec, self.workers.device
        settings = Settings(sampler="ancestral")  # the one that every kernel has
        drawn = [self.examples.draw(ticket) for ticket in range(SHEET)]
        tokens_BN, ids_BL = (torch.stack(column).to(device) for column in zip(*drawn, strict=True))
        guidance = cfg(self.ema.text_encoder.embed(ids_BL), self.ema.null_1LD, settings.guidance)
        canvas_BN = torch.full_like(tokens_BN, spec.mask_id)
        *_, sampled = sample(self.ema.transformer, self.schedule, guidance, canvas_BN, None, settings, range(SHEET))
        return to_grid(self.vqgan.decode(x_BN.unflatten(1, spec.grid)) for x_BN in (tokens_BN, sampled.x_BN))

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": self.networks.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "times": self.times.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.networks.load_state_dict(state["networks"])
        self.ema.load_state_dict(state["ema"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.times.load_state_dict(state["times"])


def optimizers(networks: Networks) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices between hidden vectors, with steps of AdamW's size (Liu et al. 2025,
    2.2), so that one learning rate serves both; AdamW for tables, vectors, logits and the null. PyTorch has Muon since
    2.9; before that, AdamW for all.

    On the built-in scenes, the cross-entropy of a blank canvas is 4.3 nats after 300 steps, by AdamW alone 5.2; a step
    takes 10 to 15 % longer.
    """
    learned = {parameter for parameter in networks.parameters() if parameter.requires_grad}
    hidden = [*networks.transformer.blocks.modules(), *networks.text_encoder.modules()]
    matrices = [module.weight for module in hidden if isinstance(module, nn.Linear) and module.weight in learned]
    chosen: list[torch.optim.Optimizer] = []
    if matrices and hasattr(torch.optim, "Muon"):
        chosen.append(torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"))
        learned -= set(matrices)
    others = [parameter for parameter in networks.parameters() if parameter in learned]  # in an order that resumes
    return [*chosen, torch.optim.AdamW(others, betas=(0.9, 0.96), weight_decay=0.01)]


def mean_by_image(term_M: Tensor, where_BN: Tensor) -> Tensor:
    """Means over the N tokens of each image; those that were not asked for cost nothing."""
    return torch.zeros(where_BN.shape, device=term_M.device).masked_scatter(where_BN, term_M.float()).mean(1)


def initialise(transformer: Transformer) -> None:
    """Start weights as in the original, N(0, 0.02), except where text enters: its vectors have length 1, not sqrt(D),
    and at 0.02 the prompt would be a whisper that the network takes long to hear.
    """
    for name, parameter in transformer.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2 if name.endswith(("attn2.key.weight", "attn2.value.weight")) else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
