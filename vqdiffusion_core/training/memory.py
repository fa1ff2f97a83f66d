"""How many bytes training takes, said before it begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ..diffusion.schedule import Schedule
from ..distributed import Processes
from ..networks.gpt import GPT
from ..networks.text_encoder import TextEncoder
from ..networks.transformer import Transformer
from ..networks.vqgan import Attention, Pointwise
from .objective import replaces

# What the backward pass needs of a block, in numbers of its width a token: in float32, hidden states before norms and
# what adaptive ones make of them; in the type of the products their inputs, and the MLP's activation
BLOCKS = {"learned": (5, 19), "frozen": (3, 8), "causal": (2, 12)}
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
    saves_by: tuple[str, ...]  # which of these two it may do otherwise

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
    parts = [4**n for n in range(10) if 4**n <= rows] if "accumulate" in training.saves_by else [1]
    again = (False, True) if "checkpoint_activations" in training.saves_by else (False,)
    return [(count, checkpoint) for checkpoint in again for count in parts]


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


def attention_is_fused(device: torch.device) -> bool:
    """Whether attention keeps no scores for the backward pass there."""
    return device.type in ("cuda", "xpu")


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
    spec, length = transformer.spec, text_encoder.length
    N, W = spec.num_tokens, spec.width
    scores = score_bytes(spec.heads, N, N + length, fused)
    block = scores + block_bytes(N * W, "learned" if learned(transformer) else "frozen", mixed, fused)
    block += N * adapter_bytes(transformer, mixed)
    logits = 4 * TABLES[replaces(schedule)] * asked_share(schedule) * N * spec.codebook_size
    texts = learned(text_encoder) * text_bytes(text_encoder, mixed, fused)
    if checkpoint:
        return texts + spec.layers * 4 * N * W + max(logits, block + scores)
    return texts + spec.layers * block + max(logits, scores)


def causal_activation_bytes(gpt: GPT, text_encoder: TextEncoder, mixed: bool, fused: bool) -> float:
    """As `activation_bytes`, of a network that draws token after token."""
    spec, positions = gpt.spec, gpt.spec.prefix + gpt.spec.num_tokens - 1
    scores = score_bytes(spec.heads, positions, positions, fused)
    block = scores + block_bytes(positions * spec.width, "causal", mixed, fused)
    logits = 4 * TABLES[False] * spec.num_tokens * spec.codebook_size
    return text_bytes(text_encoder, mixed, fused) + spec.layers * block + max(logits, scores)


def text_bytes(text_encoder: TextEncoder, mixed: bool, fused: bool) -> int:
    """What a text encoder that learns, or the vectors of whose words do, keeps of one prompt."""
    spec, length = text_encoder.model.config, text_encoder.length
    layers = (weight for name, weight in text_encoder.named_parameters() if ".layers." in name)
    kind = "learned" if any(weight.requires_grad for weight in layers) else "frozen"
    scores = score_bytes(spec.num_attention_heads, length, length, fused)
    return spec.num_hidden_layers * (scores + block_bytes(length * text_encoder.width, kind, mixed, fused))


def score_bytes(heads: int, queries: int, keys: int, fused: bool) -> int:
    return 0 if fused else 4 * heads * queries * keys


def block_bytes(numbers: int, kind: str, mixed: bool, fused: bool) -> int:
    """Of one of BLOCKS, without the scores; `numbers` are tokens times width."""
    size = 2 if mixed else 4
    attention = size * FUSED_ATTENTION if fused else 4 * PLAIN_ATTENTION
    float32, inner = BLOCKS[kind]
    return numbers * (4 * float32 + size * inner + attention)


def convolution_bytes(network: nn.Module, run: Callable[[], object], mixed: bool, fused: bool) -> int:
    """What `run`, a pass of a network of convolutions on "meta", keeps: what convolutions and norms take in, what comes
    of a norm, and of attention the scores, queries, keys and values.
    """
    kept = 0

    def count(layer: nn.Module, given: tuple[Tensor]) -> None:
        nonlocal kept
        numbers = given[0].numel()
        if isinstance(layer, nn.GroupNorm):
            kept += 2 * numbers * (2 if mixed and not fused else 4)  # in 16 bits on a CPU alone
        elif isinstance(layer, Attention):
            positions = given[0][0, 0].numel()
            kept += score_bytes(1, positions, positions, fused) + 3 * 4 * numbers
        elif isinstance(layer, nn.Conv2d) and not isinstance(layer, Pointwise):
            kept += numbers * (2 if mixed else 4)

    for layer in network.modules():
        layer.register_forward_pre_hook(count)
    with torch.no_grad():
        run()
    return kept


def adapter_bytes(transformer: Transformer, mixed: bool) -> int:
    """Of a token in a block: what the narrow side of each adapter there gives to the wide one."""
    adapters = (part for name, part in transformer.blocks[0].named_modules() if name.endswith("lora_A"))
    return (2 if mixed else 4) * sum(cast(nn.Linear, part).out_features for part in adapters)


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
