"""Training of the transformer, its text encoder and the learned null (Gu et al. 2022; Tang et al. 2022, 3.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion.posterior import q_sample
from ..diffusion.schedule import Schedule
from ..diffusion.settings import Settings
from ..distributed import ALONE, Processes
from ..model import VQDiffusion
from ..networks.inference import FastTransformer
from ..networks.kernels import keep_freed_memory
from ..networks.text_encoder import TextEncoder
from ..networks.vqgan import VQGAN
from .examples import Examples
from .log import Metrics
from .memory import activation_bytes, attention_is_fused
from .objective import CodeCosts, TimeSampler, loss_mask, loss_terms
from .optimization import checkpointed, mixed_precision, split_each, step_generator
from .tokens import NULL_SHARE, TokenTraining

REGION = 5  # tokens across, over whose costs is averaged where a step chooses what it sees
ALIKE = 0.9  # of a run: from here on a step sees all of an image alike, so that the often seen isn't thought likely
# The rows of the logits are filled up to a multiple of this: a CPU's kernels are compiled for every number of rows anew
# and kept. At any number the pocket model's training took 6 GB after 2,000 steps, which had become a fifth slower.
ROWS = 128

Learn = Literal["all", "transformer", "null"]  # each with what comes after it


class Networks(nn.Module):
    """What is trained together."""

    def __init__(self, transformer: FastTransformer, text_encoder: TextEncoder, null_1LD: Tensor):
        super().__init__()
        keep_freed_memory()
        self.checkpoint_activations = False
        self.transformer = transformer
        self.text_encoder = text_encoder
        self.null_1LD = nn.Parameter(null_1LD.detach().float().clone())

    def learn(self, what: Learn) -> None:
        """Choose what training may change."""
        self.requires_grad_(what == "all")
        self.transformer.requires_grad_(what in ("all", "transformer"))
        self.null_1LD.requires_grad_(True)

    def forward(
        self,
        x_BN: Tensor,
        index_B: Tensor,
        ids_BL: Tensor,
        drop_B: Tensor,
        asked_M: Tensor,
        position_BN: Tensor | None = None,
    ) -> Tensor:
        """Logits (M, K) of the asked ones of B * N tokens, which are some of an image's, at these positions, or all;
        captions whose `drop_B` is true are replaced by the null.
        """
        text_BLD = self.text_encoder.embed(ids_BL)
        text_BLD = torch.where(drop_B[:, None, None], self.null_1LD, text_BLD)
        h_BNW = self.transformer.content_emb(x_BN, position_BN)
        for block in self.transformer.blocks:
            if self.checkpoint_activations:
                h_BNW = checkpointed(block, h_BNW, index_B, text_BLD)
            else:
                h_BNW = block(h_BNW, index_B, text_BLD)
        h_MW = h_BNW.flatten(0, 1).index_select(0, asked_M)
        filled_MW = F.pad(h_MW, (0, 0, 0, -len(h_MW) % ROWS))
        return self.transformer.to_logits(filled_MW)[: len(h_MW)]


class Batch(NamedTuple):
    """This process's examples, each taken to a time by the forward process; of each the tokens that the step sees."""

    x0_BN: Tensor
    xt_BN: Tensor
    t_B: Tensor  # 1..T
    p_B: Tensor  # the chance with which t was drawn
    ids_BL: Tensor  # captions
    drop_B: Tensor  # whether the null takes the caption's place
    position_BN: Tensor  # of the tokens


class DiffusionTraining(TokenTraining[Networks]):
    """With a token share below 1 a step sees only so many of each image's tokens, which see each other alone: quicker
    where there are many. They are drawn at random, more of them where an image has been hard to predict. Each of the
    `token_shares` holds for as many steps. `blank_share` of each batch is all masked beyond what the loss asks for.
    `checkpoint_activations` keeps of every block its input alone: the same steps in less memory, for a third more work.
    """

    saves_by: tuple[str, ...] = ("accumulate", "checkpoint_activations")
    null_share = NULL_SHARE
    sheet_settings = Settings(sampler="ancestral")  # the one that every kernel has

    def __init__(
        self,
        networks: Networks,
        schedule: Schedule,
        examples: Examples,
        vqgan: VQGAN,
        processes: Processes = ALONE,
        *,
        learn: Learn = "all",
        checkpoint_activations: bool = False,
        token_shares: Sequence[float] = (1.0,),
        blank_share: float = 0.0,
        **settings: Any,
    ):
        check_shares(token_shares, blank_share)
        if min(token_shares) < 1 and networks.transformer.spec.mlp == "conv":
            raise ValueError("The convolutions of this model need all tokens; expected a token share of 1.")
        networks.learn(learn)
        blocks, text_encoder = networks.transformer.blocks, networks.text_encoder
        super().__init__(networks, blocks, text_encoder, examples, vqgan, processes, **settings)
        self.schedule = schedule
        self.learn: Learn = learn
        self.take_steps_by(self.accumulate, checkpoint_activations)
        self.token_shares = token_shares
        self.times = TimeSampler(schedule.num_timesteps, blank_share)
        self.costs = CodeCosts(schedule.codebook_size)

    @property
    def config(self) -> dict[str, Any]:
        return {
            "transformer": asdict(self.networks.transformer.spec),
            "kernel": self.schedule.summary,
            "learn": self.learn,
            "token_shares": list(self.token_shares),
            "blank_share": self.times.blank_share,
            **super().config,
        }

    def take_steps_by(self, accumulate: int, checkpoint_activations: bool) -> None:
        """The same steps from now on, in another way."""
        self.accumulate = accumulate
        self.checkpoint_activations = self.networks.checkpoint_activations = checkpoint_activations

    def image_bytes(self, checkpoint_activations: bool) -> float:
        networks, fused = self.networks, attention_is_fused(self.processes.device)
        return activation_bytes(
            networks.transformer, networks.text_encoder, self.schedule, self.mixed, fused, checkpoint_activations
        )

    def batches(self, steps: range) -> Iterator[Batch]:
        """Each drawn when its step begins: which times are drawn follows from the losses before."""
        return (self.noisy_batch(step, step / steps.stop) for step in steps)

    def token_share(self, progress: float) -> float:
        """Of the step at which this share of a run is over."""
        return self.token_shares[int(progress * len(self.token_shares))]

    def noisy_batch(self, step: int, progress: float) -> Batch:
        generator, shard = step_generator(self.seed, step), self.processes.shard
        all_t_B, all_p_B = self.times.sample(self.batch, generator)
        x0_BN, ids_BL = self.draw_examples(step, generator)
        coin_BN = torch.rand(self.batch, self.examples.tokens_SN.shape[1], generator=generator, dtype=torch.float64)
        drop_B = torch.rand(self.batch, generator=generator) < self.null_share
        t_B = shard(all_t_B)
        coins = zip(x0_BN, t_B.tolist(), shard(coin_BN), strict=True)
        xt_BN = torch.stack([q_sample(x0_N, t, self.schedule, coin_N) for x0_N, t, coin_N in coins])
        position_BN = self.seen_positions(x0_BN, progress, generator)
        x0_BN, xt_BN = (tokens_BN.gather(1, position_BN) for tokens_BN in (x0_BN, xt_BN))
        return Batch(x0_BN, xt_BN, t_B, shard(all_p_B), ids_BL, shard(drop_B), position_BN)

    def seen_positions(self, x0_BN: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        """Of the tokens that a step sees of each of this process's images, in order: drawn without replacement in
        proportion to what the tokens around have cost (Gumbel's trick), at the end of a run all alike. Around, since by
        its own cost a token would be seen the more often the rarer it is where it stands, and so be thought likelier
        than it is.
        """
        num_tokens, token_share = x0_BN.shape[1], self.token_share(progress)
        if token_share == 1:
            return torch.arange(num_tokens).expand_as(x0_BN)
        noise_BN = self.processes.shard(torch.rand(self.batch, num_tokens, generator=generator))
        key_BN = -noise_BN.log().neg().log()
        if progress < ALIKE:
            cost_BHW = self.costs.mean_K[x0_BN].unflatten(1, self.networks.transformer.spec.grid)
            key_BN += F.avg_pool2d(cost_BHW, REGION, 1, REGION // 2, count_include_pad=False).flatten(1).log()
        return key_BN.topk(math.ceil(token_share * num_tokens)).indices.sort(1).values

    def step(self, step: int, progress: float, batch: Batch) -> Metrics:
        self.networks.zero_grad()
        parts = [Batch(*part) for part in split_each(batch, self.accumulate)]
        said = [self.backward(part, len(batch.t_B)) for part in self.processes.accumulate(self.predict, parts)]
        losses, costs = zip(*said, strict=True)
        norm, seen = self.update(step, progress), torch.cat([*losses, torch.stack(costs).sum(0)], 1)
        seen = seen.cpu()  # the one time that a step waits for its device, beside the norm
        (bound_B, loss_B), cost_2K = seen.split([len(batch.t_B), self.schedule.codebook_size], 1)
        gather = self.processes.all_gather
        self.times.update(gather(batch.t_B), gather(bound_B))
        self.costs.update(gather(cost_2K[None]).sum(0))
        bound = (bound_B / batch.p_B.to(bound_B)).mean()
        return {"loss": loss_B.mean().item(), "bound": bound.item(), "gradient": norm}

    def backward(self, part: Batch, count: int) -> tuple[Tensor, Tensor]:
        """Add to the gradient what a part of `count` rows has to say; its (bound_B, loss_B), and `cost_2K`."""
        bound_B, auxiliary_B, cost_2K = self.losses(part)
        loss_B = (bound_B + auxiliary_B) / part.p_B.to(bound_B)
        (loss_B.sum() / count).backward()
        return torch.stack([bound_B, loss_B]).detach(), cost_2K

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(bound_B, auxiliary_B), means over the seen tokens of each image; of each code how often it was asked for and
        what that cost.
        """
        where_BN, device = loss_mask(batch.xt_BN, self.schedule), self.processes.device
        t_M = batch.t_B[:, None].expand_as(where_BN)[where_BN].numpy()
        x0_M = batch.x0_BN[where_BN].to(device)
        truth = self.truth(batch, x0_M)
        logits_MK = self.logits(self.predict, batch)
        terms = loss_terms(logits_MK, truth, batch.xt_BN[where_BN].to(device), t_M, self.schedule)
        asked_M = where_BN.flatten().nonzero()[:, 0].to(device)
        bound_B, auxiliary_B = (mean_by_image(term_M, asked_M, where_BN.shape) for term_M in terms)
        return bound_B, auxiliary_B, cost_by_code(terms[1].detach(), x0_M, self.schedule.codebook_size)

    def truth(self, batch: Batch, x0_M: Tensor) -> Tensor:
        """What is to be said of the tokens that the loss asks for: x_0, or probabilities of it (M, K)."""
        return x0_M

    def logits(self, networks: nn.Module, batch: Batch) -> Tensor:
        """What networks say of them (M, K)."""
        asked_M = loss_mask(batch.xt_BN, self.schedule).flatten().nonzero()[:, 0]
        index_B = batch.t_B - 1  # the network counts from 0
        is_part = batch.position_BN.shape[1] < self.examples.tokens_SN.shape[1]
        some = (batch.position_BN,) if is_part else ()  # a look-up of all would cost its gradient
        inputs = (batch.xt_BN, index_B, batch.ids_BL, batch.drop_B, asked_M, *some)
        with mixed_precision(self.processes.device, self.mixed):
            return networks(*(rows.to(self.processes.device) for rows in inputs))

    def model(self, name: str) -> VQDiffusion:
        return self.model_of(self.ema, name)

    def model_of(self, networks: Networks, name: str = "") -> VQDiffusion:
        return VQDiffusion(
            name, networks.transformer, self.schedule, self.vqgan, networks.text_encoder, networks.null_1LD.detach()
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"times": self.times.state_dict(), "costs": self.costs.mean_K}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.times.load_state_dict(state["times"])
        if "costs" in state:  # version 0.1.0 kept none
            self.costs.mean_K.copy_(state["costs"])


def check_shares(token_shares: Sequence[float], blank_share: float) -> None:
    """Raise ValueError where no run can have them: for a command, before it encodes images for hours."""
    if wrong := [share for share in token_shares if not 0 < share <= 1]:
        raise ValueError(f"token share is {wrong[0]}; expected more than 0 and at most 1.")
    if not 0 <= blank_share < 1:
        raise ValueError(f"blank share is {blank_share}; expected 0 or more, and less than 1.")


def cost_by_code(term_M: Tensor, x0_M: Tensor, codebook_size: int) -> Tensor:
    """How often each code was asked for, and what that cost in all; tokens below 0 are known as probabilities alone."""
    each_2M = torch.stack([torch.ones_like(term_M), term_M]) * (x0_M >= 0)
    return each_2M.new_zeros(2, codebook_size).index_add(1, x0_M.clamp(min=0), each_2M)


def mean_by_image(term_M: Tensor, asked_M: Tensor, shape: torch.Size) -> Tensor:
    """Means over the tokens of each image of a batch (B, N); those that were not asked for cost nothing."""
    none = torch.zeros(shape.numel(), device=term_M.device)
    return none.index_add(0, asked_M, term_M.float()).view(shape).mean(1)
