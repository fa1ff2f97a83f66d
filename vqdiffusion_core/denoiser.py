"""Network -> log p(x_0 | x_t) where a sampler asks for it: the branches' predictions, weighted and added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from .guidance import Branch, Condition
from .schedule import Schedule
from .transformer import TextMemory, Transformer
from .truncation import truncate

# (x_BN, t, where_BN) -> log p(x_0 | x_t) at the M positions where `where_BN` is true, in order: (M, K), float32.
Predict = Callable[[Tensor, float, Tensor], Tensor]


class Denoiser:
    """sum over branches of weight(t) * log p(x_0 | x_t, condition), normalised over K.

    Branches of weight 0 cost nothing; the others share one pass of the network where their texts are of one length.
    """

    def __init__(self, transformer: Transformer, schedule: Schedule, branches: Sequence[Branch]):
        self.transformer = transformer
        self.schedule = schedule
        self.branches = branches
        self.memories: dict[tuple[tuple[int, ...], int], TextMemory | Tensor | None] = {}

    @torch.no_grad()
    def __call__(self, x_BN: Tensor, t: float, where_BN: Tensor) -> Tensor:
        index = torch.tensor([self.schedule.network_index(t)], device=x_BN.device)
        weights = [branch.weight(t) for branch in self.branches]
        parts = []
        for group in self.groups(weights):
            memory = self.memory(group, len(x_BN))
            hidden = self.transformer.hidden(x_BN.repeat(len(group), 1), index, memory).chunk(len(group))
            for i, h_BNW in zip(group, hidden, strict=True):
                log_p_MK = self.transformer.to_logits(h_BNW[where_BN]).float().log_softmax(-1)
                parts.append(log_p_MK * at(weights[i], where_BN))
        return reduce(torch.add, parts).log_softmax(-1)

    def groups(self, weights: list[float | Tensor]) -> list[tuple[int, ...]]:
        """The branches that speak, those of one condition shape together."""
        groups: dict[torch.Size | None, list[int]] = {}
        for i, weight in enumerate(weights):
            if torch.is_tensor(weight) or weight != 0:
                condition = self.branches[i].condition
                groups.setdefault(None if condition is None else condition.shape[1:], []).append(i)
        return [tuple(group) for group in groups.values()]

    def memory(self, group: tuple[int, ...], batch: int) -> TextMemory | Tensor | None:
        """What the network reads of the group's conditions, for `batch` pictures each; kept from step to step."""
        if (group, batch) not in self.memories:
            conditions = [expand(self.branches[i].condition, batch) for i in group]
            self.memories[group, batch] = self.read(conditions)
        return self.memories[group, batch]

    def read(self, conditions: list[Condition]) -> TextMemory | Tensor | None:
        given = [condition for condition in conditions if condition is not None]
        if not given:
            return None
        joined = torch.cat(given)
        return self.transformer.remember(joined) if self.transformer.spec.condition == "text" else joined


def truncated(predict: Predict, rate: float) -> Predict:
    """`predict` with all but the likeliest ids ruled out; see `truncate`."""
    return lambda x_BN, t, where_BN: truncate(predict(x_BN, t, where_BN), rate)


def expand(condition: Condition, batch: int) -> Condition:
    return None if condition is None else condition.expand(batch, *condition.shape[1:])


def at(weight: float | Tensor, where_BN: Tensor) -> float | Tensor:
    """A weight at the asked positions: the number itself, or (M, 1) of one a token."""
    return weight.expand_as(where_BN)[where_BN][:, None] if torch.is_tensor(weight) else weight
