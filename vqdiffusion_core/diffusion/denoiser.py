"""Network -> log p(x_0 | x_t) where a sampler asks for it: what it says of each condition, weighted and added."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import compress

import torch
from torch import Tensor

from ..networks.inference import FastTransformer, Precomputed
from ..networks.precision import Bfloat16
from .guidance import Condition, Guidance
from .inpainting import Region
from .schedule import Schedule
from .windows import Window

SIZES = 16  # how many numbers of tokens the end of the network may be asked for: more waste less, but keep more kernels


class Denoiser:
    """log p(x_0 | x_t), by guidance: sum over conditions of weight * log p(x_0 | x_t, condition), normalised over K.

    A canvas larger than the network's grid is seen through `windows`, one after the other, so that memory stays that of
    one. `region` says how far each part is drawn already, and so which time the network is told; without one, all of it
    is at time t.
    """

    def __init__(
        self,
        transformer: FastTransformer,
        schedule: Schedule,
        guidance: Guidance,
        region: Region | None = None,
        windows: Sequence[Window] | None = None,
        device: torch.device | str = "cpu",
    ):
        self.transformer = transformer
        self.schedule = schedule
        self.guidance = guidance
        self.region = region
        self.windows = windows
        self.device = device  # where the network computes; what it is asked for lies on the CPU
        self.conditions = ConditionCache(transformer, guidance.conditions)

    @torch.no_grad()
    def __call__(self, x_BN: Tensor, t: float, where_BN: Tensor, images: slice | None = None) -> Tensor:
        """(M, K), float32, at the M positions where `where_BN` is true, in order; of some `images` alone, or of all."""
        images = images or slice(0, len(x_BN))
        weights = [torch.as_tensor(weight).expand(x_BN.shape) for weight in self.guidance.weights(self.progress(t))]
        weights_CBN = torch.stack(weights)[:, images]
        x_BN, where_BN = x_BN[images], where_BN[images]
        if self.windows is None:
            return self.predict_window(x_BN, where_BN, self.network_index(t, images), weights_CBN, images)
        log_p_MK = torch.zeros(int(where_BN.sum()), self.schedule.codebook_size, device=self.device)
        row_BN = where_BN.flatten().cumsum(0).view_as(where_BN) - 1  # of each asked position in the result
        for window in self.windows:
            seen = window.positions
            where_Bn = where_BN[:, seen]
            if where_Bn.any():
                index_B = self.network_index(t, images, window)
                seen_mK = self.predict_window(x_BN[:, seen], where_Bn, index_B, weights_CBN[..., seen], images)
                weight_m = window.weight.expand_as(where_Bn)[where_Bn].to(self.device)
                row_m = row_BN[:, seen][where_Bn].to(self.device)
                log_p_MK.index_add_(0, row_m, seen_mK * weight_m[:, None])
        return log_p_MK.log_softmax(-1)

    def progress(self, t: float) -> float:
        return 1 - t / (self.region.start if self.region else self.schedule.num_timesteps)

    def network_index(self, t: float, images: slice, window: Window | None = None) -> Tensor:
        """The network's time (1,) or (B,): of the state that had as many masked tokens in training as this part has."""
        if self.region is None:
            return torch.tensor([self.schedule.network_index(t)])
        masked_BN = self.region.mask_probability_BN(t)
        share_B = (masked_BN if window is None else masked_BN[:, window.positions]).mean(1)
        index_B = torch.tensor([self.schedule.network_index(t, share) for share in share_B.tolist()])
        return index_B if len(index_B) == 1 else index_B[images]

    def predict_window(
        self, x_BN: Tensor, where_BN: Tensor, index_B: Tensor, weights_CBN: Tensor, images: slice
    ) -> Tensor:
        """sum over conditions of weight * log p(x_0 | x_t, condition) at the asked tokens of one window, normalised."""
        speaking = weights_CBN.flatten(1).any(1).tolist()
        predictions = self.predict_conditions(x_BN, where_BN, index_B, speaking, images)
        weights_CM = weights_CBN[:, where_BN].to(self.device)
        terms = (weights_CM[which][:, None] * log_p_MK for which, log_p_MK in predictions)
        return reduce(torch.add, terms).log_softmax(-1)

    def predict_conditions(
        self, x_BN: Tensor, where_BN: Tensor, index_B: Tensor, speaking: Sequence[bool], images: slice
    ) -> Iterator[tuple[int, Tensor]]:
        """log p(x_0 | x_t, condition) for every condition that speaks, by number; the others cost nothing."""
        positions_BM, asked_M = asked_positions(where_BN)
        asked_M = asked_M.to(self.device)
        for together in self.conditions.passes(speaking):
            copies = len(together)
            index = index_B if len(index_B) == 1 else index_B.repeat(copies)
            condition = self.conditions.read(together, images)
            x, positions = (each.repeat(copies, 1).to(self.device) for each in (x_BN, positions_BM))
            hidden = self.transformer.hidden(x, index.to(self.device), condition, positions)
            for which, h_BMW in zip(together, hidden.chunk(copies), strict=True):
                yield which, self.transformer.to_logits(h_BMW).flatten(0, 1)[asked_M].float().log_softmax(-1)


class WiderDenoiser(Denoiser):
    """By numbers of float32's range, for a network of float16, which its own pass may exceed."""

    def __call__(self, x_BN: Tensor, t: float, where_BN: Tensor, images: slice | None = None) -> Tensor:
        with Bfloat16():
            return super().__call__(x_BN, t, where_BN, images)


class ConditionCache:
    """What the network reads of conditions, kept from step to step."""

    def __init__(self, transformer: FastTransformer, conditions: Sequence[Condition]):
        self.transformer = transformer
        self.conditions = conditions
        self.kept: dict[tuple[tuple[int, ...], tuple[int, int] | None], Precomputed | Tensor | None] = {}

    def passes(self, speaking: Sequence[bool]) -> list[tuple[int, ...]]:
        """The conditions that speak, by number, those of one shape together: they share a pass of the network."""
        passes: dict[torch.Size | None, list[int]] = defaultdict(list)
        for which in compress(range(len(self.conditions)), speaking):
            condition = self.conditions[which]
            passes[None if condition is None else condition.shape[1:]].append(which)
        return [tuple(together) for together in passes.values()]

    def read(self, together: tuple[int, ...], images: slice) -> Precomputed | Tensor | None:
        """Of the conditions of one pass, one after the other: texts that all images share once, else each for these
        images.
        """
        given = [condition for which in together if (condition := self.conditions[which]) is not None]
        shared = self.transformer.spec.condition == "text" and all(len(text) == 1 for text in given)
        key = together, None if shared else (images.start, images.stop)
        if key not in self.kept:
            batch = given if shared else [of_images(each, images) for each in given]
            self.kept[key] = self.transformer.precompute(torch.cat(batch)) if batch else None
        return self.kept[key]


def of_images(condition: Tensor, images: slice) -> Tensor:
    """The condition of some images of a batch; one of batch 1 is everybody's."""
    if len(condition) > 1:
        return condition[images]
    return condition.expand(images.stop - images.start, *condition.shape[1:])


def asked_positions(where_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Where it is true in each image, in order, and filled up to as many positions as any image has and on to one of
    `SIZES` numbers, (B, M); and which of these, counted through, are no filling.

    A CPU's kernels are compiled for every number of rows anew and kept, which at any number would be without end.
    """
    num_tokens = where_BN.shape[1]
    step = -(-num_tokens // SIZES)
    most = max(1, int(where_BN.sum(1).max()))
    positions_BM = where_BN.int().argsort(dim=1, descending=True, stable=True)[:, : -(-most // step) * step]
    return positions_BM, where_BN.gather(1, positions_BM).flatten().nonzero()[:, 0]
