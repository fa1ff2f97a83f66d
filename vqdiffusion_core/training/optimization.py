"""What an optimiser step is, of a codec as of a diffusion model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from .muon import Muon

MAX_GRADIENT_NORM = 1.0


def step_generator(seed: int, step: int) -> torch.Generator:
    """What is random about a step follows from its number alone: that makes a resumed run equal to one that was not cut
    off, and several processes equal to one.
    """
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def split(rows: Tensor, count: int) -> tuple[Tensor, ...]:
    """In `count` parts of the same number of rows, but for the last; fewer where there are fewer rows.

    >>> [len(part) for part in split(torch.zeros(7), 3)]
    [3, 3, 1]
    """
    return rows.split(math.ceil(len(rows) / count))


def split_each(columns: Iterable[Tensor], count: int) -> Iterator[tuple[Tensor, ...]]:
    """The parts of a batch, each with its rows of every column."""
    return zip(*(split(rows, count) for rows in columns), strict=True)


def update(weights: Sequence[nn.Parameter], optimizers: Sequence[torch.optim.Optimizer], learning_rate: float) -> float:
    """One step down the gradient that the weights have; returns its norm before it was clipped. Raises
    FloatingPointError where that is not a number, before anything is learned from it.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
    norm = float(nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM))
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradient is {norm}")
    for optimizer in optimizers:
        optimizer.step()
    return norm


def update_average(means: list[Tensor], weights: list[Tensor], step: int, decay: float) -> None:
    """Move the means of all steps towards the weights: they are those of few steps as long as there are few."""
    get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(means, weights, step)


def choose_optimizers(network: nn.Module, hidden: Iterable[nn.Module]) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the `hidden` layers, with steps of AdamW's size, so that one learning rate serves both;
    AdamW for all else, and alone where PyTorch is older than 2.9: there runs were begun so, which go on.

    On the built-in scenes, the cross-entropy of a blank canvas is 4.3 nats after 300 steps, by AdamW alone 5.2; a step
    takes 10 to 15 % longer.
    """
    learned = {parameter for parameter in network.parameters() if parameter.requires_grad}
    layers = [layer for part in hidden for layer in part.modules() if isinstance(layer, nn.Linear)]
    matrices = [layer.weight for layer in layers if layer.weight in learned]
    chosen: list[torch.optim.Optimizer] = []
    if matrices and hasattr(torch.optim, "Muon"):
        chosen.append(Muon(matrices, weight_decay=0.01))
        learned -= set(matrices)
    others = [parameter for parameter in network.parameters() if parameter in learned]  # in an order that resumes
    if others:
        chosen.append(torch.optim.AdamW(others, betas=(0.9, 0.96), weight_decay=0.01))
    return chosen


def cosine_schedule(progress: float, warm_up: float = 0.02, floor: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to `floor`."""
    if progress < warm_up:
        return max(progress / warm_up, 1e-3)
    angle = torch.pi * (progress - warm_up) / (1 - warm_up)
    return floor + (1 - floor) * 0.5 * (1 + float(torch.cos(torch.tensor(angle))))


@contextmanager
def mixed_precision(device: torch.device, enabled: bool) -> Iterator[None]:
    """Networks inside run in bfloat16 where that is safe, if `enabled`, their weights staying float32."""
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled), attention_with_gradients(device):
        yield


@contextmanager
def attention_with_gradients(device: torch.device) -> Iterator[None]:
    """On a CPU the backward pass of fused attention takes half of a step; with the plain one, steps are 1.6 times as
    fast. Its scores are float32, also in a program that has PyTorch take fewer bits, as ComfyUI does.
    """
    if device.type != "cpu":
        yield
        return
    cuda = torch.backends.cuda  # where PyTorch keeps what holds for a CPU too
    fewer_bits = cuda.fp16_bf16_reduction_math_sdp_allowed()
    cuda.allow_fp16_bf16_reduction_math_sdp(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        cuda.allow_fp16_bf16_reduction_math_sdp(fewer_bits)


def checkpointed(block: nn.Module, h_BNW: Tensor, *given: Any) -> Tensor:
    """block(h, ...), of which nothing but h is kept for the backward pass, which works out the rest once more."""
    return cast(
        Tensor,
        checkpoint(
            block,
            h_BNW,
            *given,
            use_reentrant=False,
            preserve_rng_state=False,  # blocks draw no numbers
            context_fn=lambda: (nullcontext(), attention_with_gradients(h_BNW.device)),
        ),
    )
