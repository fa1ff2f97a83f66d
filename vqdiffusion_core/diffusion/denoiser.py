"""Network -> log p(x_0 | x_t) where a sampler asks for it: what it says of each condition, weighted and added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..networks.oom import Shares
from ..networks.transformer import TextKV, Transformer
from .guidance import Condition, Guidance, Weight, speaks
from .inpainting import Region
from .logits import apply_purity_prior
from .schedule import Schedule
from .windows import Window

# (x_BN, t, where_BN) -> log p(x_0 | x_t) at the M positions where `where_BN` is true, in order: (M, K), float32.
Predict = Callable[[Tensor, float, Tensor], Tensor]
Shape = Callable[[Tensor], Tensor]  # log p (M, K) -> log p (M, K)


class Prediction(NamedTuple):
    """What is drawn from at M positions."""

    log_p_MK: Tensor
    log_purity_M: Tensor  # the highest log p of each, before any was sharpened


Shaped = Callable[[Tensor, float, Tensor], Prediction]  # arguments as those of Predict

SIZES = 16  # how many numbers of tokens the end of the network may be asked for: more waste less, but keep more kernels


class Denoiser:
    """sum over conditions of weight(progress) * log p(x_0 | x_t, condition), normalised over K.

    Those of weight 0 cost nothing; the others share one pass of the network where their texts are of one length. A
    canvas larger than the network's grid is seen through `windows`, one after the other, so that memory stays that of
    one. `region` says how far each part is drawn already, and so which time the network is told; without one, all of it
    is at time t.
    """

    def __init__(
        self,
        transformer: Transformer,
        schedule: Schedule,
        guidance: Guidance,
        region: Region | None = None,
        windows: Sequence[Window] | None = None,
    ):
        self.transformer = transformer
        self.schedule = schedule
        self.guidance = guidance
        self.conditions = guidance.conditions
        self.region = region
        self.windows = windows
        self.shares = Shares()
        self.memories: dict[tuple[tuple[int, ...], tuple[int, int]], TextKV | Tensor | None] = {}

    @torch.no_grad()
    def __call__(self, x_BN: Tensor, t: float, where_BN: Tensor) -> Tensor:
        weights = self.guidance.weights(self.progress(t))
        if self.windows is None:
            return self.look(x_BN, where_BN, self.index(t), weights)
        row_BN = where_BN.flatten().cumsum(0).view_as(where_BN) - 1  # of each asked position in the result
        log_p_MK = torch.zeros(int(where_BN.sum()), self.schedule.codebook_size, device=x_BN.device)
        for window in self.windows:
            positions = window.positions.to(x_BN.device)
            where_Bn = where_BN[:, positions]
            if where_Bn.any():
                here = [weight[..., window.positions] if torch.is_tensor(weight) else weight for weight in weights]
                seen_mK = self.look(x_BN[:, positions], where_Bn, self.index(t, window), here)
                log_p_MK.index_add_(0, row_BN[:, positions][where_Bn], seen_mK * at(window.share, where_Bn))
        return log_p_MK.log_softmax(-1)

    def progress(self, t: float) -> float:
        return 1 - t / (self.region.start if self.region else self.schedule.num_timesteps)

    def index(self, t: float, window: Window | None = None) -> Tensor:
        """The network's time (1,) or (B,): of the state that had as many masked tokens in training as this part has."""
        if self.region is None:
            return torch.tensor([self.schedule.network_index(t)])
        masked_BN = self.region.mask_probability_BN(t)
        share_B = (masked_BN if window is None else masked_BN[:, window.positions]).mean(1)
        return torch.tensor([self.schedule.network_index(t, share) for share in share_B.tolist()])

    def look(self, x_BN: Tensor, where_BN: Tensor, index_B: Tensor, weights: Sequence[Weight]) -> Tensor:
        """What all conditions say together of the asked tokens of one window; a share of the images at a time, where
        all at once do not fit into memory.
        """

        def some(images: slice) -> Tensor:
            index = index_B if len(index_B) == 1 else index_B[images]
            return self.mixed(x_BN[images], where_BN[images], index, weights, (images.start, images.stop))

        return self.shares(some, len(x_BN))

    def mixed(
        self,
        x_BN: Tensor,
        where_BN: Tensor,
        index_B: Tensor,
        weights: Sequence[Weight],
        images: tuple[int, int],
    ) -> Tensor:
        parts = []
        places_BM, asked_BM = places(where_BN)
        for group in self.groups(weights):
            times = len(group)
            memory = self.memory(group, images)
            index = index_B.to(x_BN.device).repeat(1 if len(index_B) == 1 else times)
            hidden = self.transformer.hidden(x_BN.repeat(times, 1), index, memory, places_BM.repeat(times, 1))
            for i, h_BMW in zip(group, hidden.chunk(times), strict=True):
                log_p_MK = self.transformer.to_logits(h_BMW)[asked_BM].float().log_softmax(-1)
                parts.append(log_p_MK * at(weights[i], where_BN))
        return reduce(torch.add, parts).log_softmax(-1)

    def groups(self, weights: Sequence[Weight]) -> list[tuple[int, ...]]:
        """The conditions that speak, those of one shape together."""
        groups: dict[torch.Size | None, list[int]] = {}
        for i, weight in enumerate(weights):
            if speaks(weight):
                condition = self.conditions[i]
                groups.setdefault(None if condition is None else condition.shape[1:], []).append(i)
        return [tuple(group) for group in groups.values()]

    def memory(self, group: tuple[int, ...], images: tuple[int, int]) -> TextKV | Tensor | None:
        """What the network reads of the group's conditions, for the images from one to before another; kept from step
        to step.
        """
        if (group, images) not in self.memories:
            conditions = [expand(self.conditions[i], *images) for i in group]
            self.memories[group, images] = self.read(conditions)
        return self.memories[group, images]

    def read(self, conditions: list[Condition]) -> TextKV | Tensor | None:
        given = [condition for condition in conditions if condition is not None]
        if not given:
            return None
        joined = torch.cat(given)
        return self.transformer.precompute_kv(joined) if self.transformer.spec.condition == "text" else joined


def shaped(predict: Predict, *shapes: Shape) -> Predict:
    """`predict` with its distribution shaped, in this order: see `truncation`."""
    return lambda x_BN, t, where_BN: reduce(lambda log_p, shape: shape(log_p), shapes, predict(x_BN, t, where_BN))


def sharpened(predict: Predict, weight: float) -> Shaped:
    """`predict` with sure tokens made surer: by their purity in parts of the highest in the image (Tang et al. 2022).
    For that, it is asked of the whole image where the weight is not 0.
    """

    def run(x_BN: Tensor, t: float, where_BN: Tensor) -> Prediction:
        if weight == 0:
            log_p_MK = predict(x_BN, t, where_BN)
            return Prediction(log_p_MK, log_p_MK.amax(-1))
        log_p_BNK = predict(x_BN, t, torch.ones_like(where_BN)).unflatten(0, x_BN.shape)
        log_purity_BN = log_p_BNK.amax(-1)
        relative_BN = (log_purity_BN - log_purity_BN.amax(1, keepdim=True)).exp()
        log_p_MK = apply_purity_prior(log_p_BNK[where_BN], relative_BN[where_BN], weight)
        return Prediction(log_p_MK, log_purity_BN[where_BN])

    return run


def across(predict: Shaped, network: torch.device, sampler: torch.device) -> Shaped:
    """`predict` of a network on one device for a sampler that works on another."""

    def run(x_BN: Tensor, t: float, where_BN: Tensor) -> Prediction:
        prediction = predict(x_BN.to(network), t, where_BN.to(network))
        return Prediction(*(part.to(sampler) for part in prediction))

    return run


def places(where_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Where it is true in each image, in order, and filled up to as many places as any image has and on to one of
    `SIZES` numbers, (B, M); and which of these places are no filling.

    A CPU's kernels are compiled for every number of rows anew and kept, which at any number would be without end.
    """
    num_tokens = where_BN.shape[1]
    step = -(-num_tokens // SIZES)
    most = max(1, int(where_BN.sum(1).max()))
    places_BM = where_BN.int().argsort(dim=1, descending=True, stable=True)[:, : -(-most // step) * step]
    return places_BM, where_BN.gather(1, places_BM)


def expand(condition: Condition, start: int, stop: int) -> Condition:
    """The condition of some images; one of batch 1 is everybody's."""
    if condition is None or len(condition) > 1:
        return None if condition is None else condition[start:stop]
    return condition.expand(stop - start, *condition.shape[1:])


def at(weight: Weight, where_BN: Tensor) -> float | Tensor:
    """A weight at the asked positions: the number itself, or (M, 1) of one a token."""
    return weight.to(where_BN.device).expand_as(where_BN)[where_BN][:, None] if torch.is_tensor(weight) else weight
