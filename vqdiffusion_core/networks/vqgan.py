"""VQGAN: image -> token grid -> image (Esser et al. 2021), with the module names of the published checkpoints.

Shapes: image_BCHW in -1..1, tokens_Bhw int64 ids below K.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import attention, linear, whole_table
from .precision import exact_convolutions
from .specs import VQGANSpec


class VQGAN(nn.Module):
    def __init__(self, spec: VQGANSpec):
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec)
        self.decoder = Decoder(spec)
        self.quantize = Codebook(spec)
        self.quant_conv = nn.Conv2d(spec.latent_channels, spec.code_dim, 1)
        self.post_quant_conv = nn.Conv2d(spec.code_dim, spec.latent_channels, 1)

    def latents(self, image_BCHW: Tensor) -> Tensor:
        """Image in -1..1 -> continuous latents (B, code_dim, h, w), before they are quantised."""
        if not self.spec.cells_alone:
            return self.quant_conv(self.encoder(image_BCHW))
        grid = [side // self.spec.downscale for side in image_BCHW.shape[2:]]
        latents_MD11 = self.quant_conv(self.encoder(cells(image_BCHW, self.spec.downscale)))
        return latents_MD11.view(len(image_BCHW), *grid, -1).permute(0, 3, 1, 2)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Image in -1..1, sides a multiple of `spec.downscale` -> token ids (B, h, w). Deterministic."""
        with exact_convolutions():
            return self.quantize.nearest(self.latents(image_BCHW))

    def decode(self, tokens_Bhw: Tensor) -> Tensor:
        """Token ids (B, h, w), each below K -> image (B, 3, H, W), clamped to -1..1."""
        return self.render(self.quantize.lookup(tokens_Bhw)).clamp(-1, 1)

    def render(self, latents_BDhw: Tensor) -> Tensor:
        """Quantised latents -> image, not clamped (what training compares)."""
        return self.decoder(self.post_quant_conv(latents_BDhw))


def cells(image_BCHW: Tensor, side: int) -> Tensor:
    """The squares of an image, row by row, each as one of its own: (B * h * w, C, side, side)."""
    cells_BChywx = image_BCHW.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return cells_BChywx.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


class Codebook(nn.Module):
    def __init__(self, spec: VQGANSpec):
        super().__init__()
        self.embedding = nn.Embedding(spec.codebook_size, spec.code_dim)
        self.proj = nn.Conv2d(spec.code_dim, spec.codebook_size, 1) if spec.gumbel else None
        self.first_code = 1 if spec.junk_code else 0

    def nearest(self, latents_BDhw: Tensor) -> Tensor:
        """The entry of least Euclidean distance; for a Gumbel codec the most likely one, drawn without its noise."""
        if self.proj is not None:
            scores_BKhw = self.proj(latents_BDhw)[:, self.first_code :]
        else:
            table_KD = whole_table(self.embedding, latents_BDhw.device)[self.first_code :]
            scores_BKhw = torch.einsum("bdhw,kd->bkhw", latents_BDhw, 2 * table_KD)
            scores_BKhw -= table_KD.square().sum(1)[:, None, None]
        return scores_BKhw.argmax(1) + self.first_code

    def lookup(self, tokens_Bhw: Tensor) -> Tensor:
        return self.embedding(tokens_Bhw).permute(0, 3, 1, 2)


class Encoder(nn.Module):
    def __init__(self, spec: VQGANSpec):
        super().__init__()
        channels = spec.level_channels
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            Level(
                spec,
                level,
                channels_in=channels[max(level - 1, 0)],
                blocks=spec.res_blocks,
                resample=("downsample", Downsample) if level < last else None,
            )
            for level in range(len(channels))
        )
        self.mid = Middle(channels[-1], spec.norm_groups)
        self.norm_out = norm(channels[-1], spec.norm_groups)
        self.conv_out = nn.Conv2d(channels[-1], spec.latent_channels, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        h = self.conv_in(image_BCHW)
        for level in self.down:
            h = level(h)
        return self.conv_out(silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    def __init__(self, spec: VQGANSpec):
        super().__init__()
        channels = spec.level_channels
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(spec.latent_channels, channels[-1], 3, padding=1)
        self.mid = Middle(channels[-1], spec.norm_groups)
        self.up = nn.ModuleList(
            Level(
                spec,
                level,
                channels_in=channels[min(level + 1, last)],
                blocks=spec.res_blocks + 1,
                resample=("upsample", Upsample) if level > 0 else None,
            )
            for level in range(len(channels))
        )
        self.norm_out = norm(channels[0], spec.norm_groups)
        self.conv_out = nn.Conv2d(channels[0], 3, 3, padding=1)

    def forward(self, latents_BChw: Tensor) -> Tensor:
        h = self.mid(self.conv_in(latents_BChw))
        for level in reversed(self.up):  # level 0 is full resolution, in the decoder too
            h = level(h)
        return self.conv_out(silu(self.norm_out(h)))


class Level(nn.Module):
    """The blocks of one resolution, and the resampling that leaves it."""

    def __init__(
        self,
        spec: VQGANSpec,
        level: int,
        channels_in: int,
        blocks: int,
        resample: tuple[str, type[nn.Module]] | None,
    ):
        super().__init__()
        channels = spec.level_channels[level]
        attention = level in spec.attention_levels
        self.block = nn.ModuleList(
            ResnetBlock(channels_in if i == 0 else channels, channels, spec.norm_groups) for i in range(blocks)
        )
        self.attn = nn.ModuleList(Attention(channels, spec.norm_groups) for _ in range(blocks if attention else 0))
        self.resample = resample[0] if resample else None
        if resample:
            self.add_module(resample[0], resample[1](channels))

    def forward(self, h: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            h = block(h)
            if self.attn:
                h = self.attn[i](h)
        return getattr(self, self.resample)(h) if self.resample else h


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = Attention(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, h: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(h)))


class ResnetBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, groups: int):
        super().__init__()
        self.norm1 = norm(channels_in, groups)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm2 = norm(channels, groups)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        h = self.norm2(h)  # each line lets go of what the one before has made
        h = self.conv2(silu(h))
        return self.nin_shortcut(x) + h


class Attention(nn.Module):
    """Single-head self-attention over all positions of the grid."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = norm(channels, groups)
        self.q = Pointwise(channels, channels, 1)
        self.k = Pointwise(channels, channels, 1)
        self.v = Pointwise(channels, channels, 1)
        self.proj_out = Pointwise(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h_BLC = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (conv(h_BLC)[:, None] for conv in (self.q, self.k, self.v))  # one head
        mixed_BLC = self.proj_out(attention(q, k, v)[:, 0])
        return x + mixed_BLC.transpose(1, 2).reshape_as(x)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of (B, L, C), as the linear layer over positions that it is."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return linear(input, weight.flatten(1), bias)


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # one pixel right and below: the published models' asymmetry


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def silu(h: Tensor) -> Tensor:
    """Without gradients in the place of h, which is always the fresh output of a norm: a third less memory."""
    return F.silu(h, inplace=not torch.is_grad_enabled())


def norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)
