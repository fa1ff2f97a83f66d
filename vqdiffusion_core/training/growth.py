"""A codec that has learned small images begins to learn those of twice the size (after Karras et al. 2018)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from ..networks.vqgan import VQGAN, Downsample, Level, ResnetBlock, Upsample

LEVEL = re.compile(r"(?<=\bdown\.)\d+|(?<=\bup\.)\d+")
BOX = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0]]) / 4  # the mean of four pixels that become one


@torch.no_grad()
def grow(small: VQGAN) -> VQGAN:
    """A codec for images of twice the size and as many tokens: the small one's levels, each one deeper, and a finest
    one that passes everything through, halved on the way in and doubled on the way out.
    """
    spec = small.spec
    channels = spec.level_channels
    large = VQGAN(
        replace(
            spec,
            level_channels=(channels[0], *channels),
            attention_levels=tuple(level + 1 for level in spec.attention_levels),
        )
    )
    learned = {LEVEL.sub(lambda found: str(int(found[0]) + 1), name): w for name, w in small.state_dict().items()}
    large.load_state_dict(learned, strict=False)
    finest = [cast(Level, large.encoder.down[0]), cast(Level, large.decoder.up[0])]
    residuals = [cast(ResnetBlock, block).conv2 for level in finest for block in level.block]
    halve = cast(Downsample, finest[0].downsample).conv
    double = cast(Upsample, cast(Level, large.decoder.up[1]).upsample).conv
    for parameter in (parameter for conv in (*residuals, halve, double) for parameter in conv.parameters()):
        parameter.zero_()
    for conv in (halve, double):
        nn.init.dirac_(conv.weight)
    halve.weight.copy_(halve.weight.sum((2, 3), keepdim=True) * BOX.to(halve.weight))
    return large
