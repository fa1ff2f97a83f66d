"""How many bytes work takes beside the weights, for a host that makes room before it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from .diffusion.guidance import Guidance
from .diffusion.schedule import Schedule
from .diffusion.settings import Settings
from .networks.gpt import GPT
from .networks.kernels import INNER_BYTES
from .networks.specs import GPTSpec, TransformerSpec, VQGANSpec
from .networks.transformer import Transformer


def step_bytes(
    transformer: Transformer | GPT, schedule: Schedule, guidance: Guidance, tokens_BN: Tensor, settings: Settings
) -> int:
    """Of a step of the run that `sample` makes of the same, all images and conditions being one pass."""
    dtype = next(transformer.parameters()).dtype
    conditions = guidance.speaking(settings.steps)
    if isinstance(transformer, GPT):
        each = 1 if transformer.spec.condition == "none" else len(conditions)
        return cache_bytes(transformer.spec, len(tokens_BN) * each, dtype)
    spec = transformer.spec
    texts = [text for text in conditions if text is not None and spec.condition == "text"]
    copies = len(tokens_BN) if any(len(text) > 1 for text in texts) else 1  # texts of one pass are all shared, or none
    kv = 2 * spec.layers * spec.width * copies * sum(text.shape[1] for text in texts)  # kept for the whole run
    network = pass_elements(spec, len(tokens_BN) * len(conditions), dtype)
    asked = tokens_BN.numel() * largest_share(schedule, settings)
    log_p = 6 * asked * spec.codebook_size * torch.float32.itemsize  # some six tables, once the network is done
    return int(kv * dtype.itemsize + max(network * dtype.itemsize, log_p))


def cache_bytes(spec: GPTSpec, rows: int, dtype: torch.dtype) -> int:
    """Of so many rows: the keys and values of all positions, and a first pass over as many, of a layer at a time."""
    numbers = rows * spec.positions * spec.width
    scores = rows * spec.heads * spec.positions**2
    return (2 * spec.layers * numbers + 10 * numbers + 2 * scores) * dtype.itemsize


def pass_elements(spec: TransformerSpec, rows: int, dtype: torch.dtype) -> int:
    """Numbers that a pass of so many rows has alive at once: in a block's attention six tensors of the hidden states'
    size, with the scores of a head; in its MLP four, with one of the inner width, of bounded size.
    """
    N, W = spec.num_tokens, spec.width
    attention = 6 * rows * N * W + 2 * N * N
    inner = min(rows * N * spec.mlp_ratio * W, INNER_BYTES[False] // dtype.itemsize)
    return max(attention, 4 * rows * N * W + inner)


def largest_share(schedule: Schedule, settings: Settings) -> float:
    """How many of all tokens a step draws at most: those that "ancestral" uncovers; other samplers weigh up all."""
    if settings.sampler != "ancestral":
        return 1.0
    times = schedule.timesteps(max(1, settings.steps // settings.rounds), None, settings.spacing)
    return max(schedule.bar(t).gamma - schedule.bar(s).gamma for t, s in pairwise(times))


def image_bytes(spec: VQGANSpec, pixels: int, *, encoding: bool) -> int:
    """Of one image, by the float32 channels that are alive at once at full resolution.

    A residual block holds its input, its branch and that branch's next state, beside the input of its level. In a
    decoder that input has the channels of the level below, whose upsampling is the other moment that counts.
    """
    full, half, quarter = (*spec.level_channels, 0, 0)[:3]
    if encoding:
        channels = 4 * full if spec.res_blocks > 1 else 3.25 * full  # one block: the downsampling's padding is more
    else:
        wide = half or full
        channels = max(wide + 3 * full, 2 * wide + full, 2 * half + half / 4 + quarter / 4)
    return int(channels * pixels * torch.float32.itemsize)
