"""How many bytes training takes, said before it begins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..diffusion.schedule import Schedule
from ..distributed import Processes
from ..networks.text_encoder import TextEncoder
from ..networks.transformer import Transformer
from .objective import replaces

# What the backward pass needs of a block, in numbers of its width a token; where weights are learned, and where not
FLOAT32 = {True: 5, False: 3}  # hidden states before three norms, and what two of these make of them
INNER = {True: 19, False: 8}  # in the type of the products: their inputs, and the MLP's activation
FUSED_ATTENTION = 6  # in the same: queries, keys and values, and what comes of them
PLAIN_ATTENTION = 4  # in float32, beside all scores
TABLES = {True: 12, False: 4}  # of K float32 numbers a token, where tokens are replaced and where not

CLEARLY = 1.25  # times what there is: by so much an estimate may be wrong


@dataclass(frozen=True)
class Memory:
    """Bytes, by what they are kept for."""

    weights: int
    averages: int
    optimizers: int
    gradients: int
    activations: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in asdict(self).items())
        return f"{gigabytes(self.total)} GB ({parts})"


class Estimated(Protocol):
    """A training that knows what it takes, as it is or in other ways to the same steps."""

    processes: Processes
    batch: int
    accumulate: int
    checkpoint_activations: bool

    def memory(self, accumulate: int, checkpoint_activations: bool) -> Memory: ...


def check_memory(training: Estimated) -> str:
    """What a training takes, in a line. Raises ValueError where that is clearly more than its device has."""
    memory, device = training.memory(training.accumulate, training.checkpoint_activations), training.processes.device
    available, less = device_bytes(device), cheaper_ways(training, memory.total)
    if available and memory.total > CLEARLY * available:
        enough = (f"Give {way}: some {gigabytes(size)} GB." for way, size in less.items() if size <= available)
        remedy = next(enough, "No --accumulate makes it fit: train a smaller model, or on a device with more.")
        raise ValueError(f"Training takes some {memory}, but {device} has {gigabytes(available)} GB. {remedy}")
    return "; ".join([f"takes some {memory}", *(f"{way}: {gigabytes(size)}" for way, size in [*less.items()][:1])])


def cheaper_ways(training: Estimated, most: int) -> dict[str, int]:
    """Options by which the same steps take fewer bytes, and how many, those that cost least time first."""
    sizes = {
        " ".join(["--checkpoint-activations"] * again + [f"--accumulate {count}"]): training.memory(count, again).total
        for count, again in ways(training)
    }
    return {way: size for way, size in sizes.items() if size < most}


def ways(training: Estimated) -> list[tuple[int, bool]]:
    """To take the same steps: (accumulate, checkpoint_activations), those that cost least time first."""
    rows = training.batch // training.processes.count
    parts = [4**n for n in range(10) if 4**n <= rows]
    return [(count, again) for again in (False, True) for count in parts]


def quickest_that_fits(training: Estimated) -> tuple[int, bool]:
    """Of these ways, the first for which its device surely has the room, else the one that takes least. Raises
    ValueError where that too is clearly more than there is.
    """
    available = device_bytes(training.processes.device)
    sizes = {way: training.memory(*way) for way in ways(training)}
    least = min(sizes, key=lambda way: sizes[way].total)
    if available and sizes[least].total > CLEARLY * available:
        raise ValueError(
            f"Training takes at least some {sizes[least]}, but {training.processes.device} has "
            f"{gigabytes(available)} GB; expected a smaller model, or a device with more."
        )
    return next((way for way, size in sizes.items() if not available or CLEARLY * size.total <= available), least)


def gigabytes(size: int) -> str:
    """
    >>> gigabytes(31_400_000_000), gigabytes(314_000_000)
    ('31', '0.31')
    """
    return f"{size / 1e9:.2g}"


def bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Of the one or two averages that it keeps of a gradient."""
    averages = 2 if isinstance(optimizer, torch.optim.AdamW) else 1
    return averages * sum(bytes_of(group["params"]) for group in optimizer.param_groups)


def activation_bytes(
    transformer: Transformer, text_encoder: TextEncoder, schedule: Schedule, mixed: bool, fused: bool, checkpoint: bool
) -> float:
    """Of one image: what is kept for the backward pass, and the most that this takes beside it, in head or block.
    `fused`: attention keeps no scores; `checkpoint`: blocks keep what goes into them alone.
    """
    spec, text = transformer.spec, text_encoder.model.config
    N, W, L, D = spec.num_tokens, spec.width, text_encoder.length, text_encoder.width
    scores = 0 if fused else 4 * spec.heads * N * (N + L)
    block = scores + block_bytes(N * W, learned(transformer), mixed, fused)
    text_scores = 0 if fused else 4 * text.num_attention_heads * L * L
    text_block = text_scores + block_bytes(L * D, True, mixed, fused)
    logits = 4 * TABLES[replaces(schedule)] * asked_share(schedule) * N * spec.codebook_size
    texts = learned(text_encoder) * text.num_hidden_layers * text_block
    if checkpoint:
        return texts + spec.layers * 4 * N * W + max(logits, block + scores)
    return texts + spec.layers * block + max(logits, scores)


def block_bytes(numbers: int, learned: bool, mixed: bool, fused: bool) -> int:
    """Without the scores; `numbers` are tokens times width."""
    size = 2 if mixed else 4
    attention = size * FUSED_ATTENTION if fused else 4 * PLAIN_ATTENTION
    return numbers * (4 * FLOAT32[learned] + size * INNER[learned] + attention)


def learned(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def asked_share(schedule: Schedule) -> float:
    """How many of all tokens the loss asks for, on the mean over all times."""
    masked = [float(schedule.bar(t).gamma) for t in range(1, schedule.num_timesteps + 1)]
    return 1.0 if replaces(schedule) else sum(masked) / len(masked)


def device_bytes(device: torch.device) -> int | None:
    """All the memory there is; None where that cannot be asked."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "xpu":
        return torch.xpu.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
