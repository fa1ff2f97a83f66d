"""Muon (Jordan et al. 2024), with steps of AdamW's size (Liu et al. 2025, 2.2).

`torch.optim.Muon` takes its matrices one by one: on a GPU nine of ten kernels that a training step launches after its
backward pass.
Here those of one shape go together, to the same numbers and with the same state.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

foreach = torch.ops.aten  # what it begins with _foreach is of many tensors at once


class Muon(torch.optim.Optimizer):
    def __init__(self, matrices: Iterable[Tensor], *, weight_decay: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": 1e-3, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for matrices in by_shape(group["params"]):
                self.step_together(matrices, group["lr"], group["weight_decay"], group["momentum"])

    def step_together(self, matrices: list[Tensor], rate: float, weight_decay: float, momentum: float) -> None:
        """A step of some matrices of one shape."""
        gradients = [cast(Tensor, matrix.grad) for matrix in matrices]
        averages = [self.average(matrix) for matrix in matrices]
        foreach._foreach_lerp_(averages, gradients, 1 - momentum)
        ahead_SHW = torch.stack(foreach._foreach_lerp(gradients, averages, momentum))  # as Nesterov looks
        steps_SHW = orthogonal(ahead_SHW).to(ahead_SHW.dtype)
        foreach._foreach_mul_(matrices, 1 - rate * weight_decay)
        foreach._foreach_add_(matrices, steps_SHW.unbind(), alpha=-0.2 * math.sqrt(max(matrices[0].shape)) * rate)

    def average(self, matrix: Tensor) -> Tensor:
        """Of its gradients, over some twenty steps."""
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        return state["momentum_buffer"]


def by_shape(matrices: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    """Those that have a gradient."""
    groups: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for matrix in matrices:
        if matrix.grad is not None:
            groups[matrix.shape].append(matrix)
    return groups.values()


def orthogonal(matrices_SHW: Tensor) -> Tensor:
    """Of each matrix U S V^T about U V^T, in bfloat16: five steps X <- a X + (b A + c A^2) X with A = X X^T, by which
    all singular values come near 1.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices_SHW.shape[1] > matrices_SHW.shape[2]
    x = matrices_SHW.bfloat16()
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
