"""The network of VQ-Diffusion: noisy tokens and a condition -> logits of the clean tokens (Gu et al. 2022, 4.2).

Modules carry the names of the published checkpoints. Shapes: x_BN ids 0..K, text_BLD condition vectors, h_BNW hidden.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .specs import TransformerSpec

TextMemory = list[tuple[Tensor, Tensor]]  # per layer, the keys and values of the text: (B, heads, L, width / heads)


class Transformer(nn.Module):
    def __init__(self, spec: TransformerSpec):
        super().__init__()
        self.spec = spec
        self.content_emb = ContentEmbedding(spec)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.to_logits = nn.Sequential(nn.LayerNorm(spec.width), nn.Linear(spec.width, spec.codebook_size))

    def remember(self, text_BLD: Tensor) -> TextMemory:
        """What cross-attention reads of a text: the same in every step, so it is worked out once a prompt."""
        return [cast(Block, block).attn2.keys_values(text_BLD) for block in self.blocks]

    def hidden(self, x_BN: Tensor, index_B: Tensor, condition: TextMemory | Tensor | None) -> Tensor:
        """Hidden states (B, N, W) before the head.

        `index_B`, int64 of shape (B,) or (1,), is the network's time 0..T-1. `condition` is a `TextMemory`, class ids
        (B,) or (1,), or None, as `spec.condition` says.
        """
        h_BNW = self.content_emb(x_BN)
        for i, block in enumerate(self.blocks):
            h_BNW = block(h_BNW, index_B, condition[i] if isinstance(condition, list) else condition)
        return h_BNW

    def forward(self, x_BN: Tensor, index_B: Tensor, condition: TextMemory | Tensor | None) -> Tensor:
        """Logits (B, N, K) of p(x_0 | x_t); the mask has none."""
        return self.to_logits(self.hidden(x_BN, index_B, condition))


class ContentEmbedding(nn.Module):
    """Token, row and column embeddings, added."""

    def __init__(self, spec: TransformerSpec):
        super().__init__()
        rows, columns = spec.position_tables
        self.emb = nn.Embedding(spec.codebook_size + 1, spec.width)
        self.height_emb = nn.Embedding(rows, spec.width)
        self.width_emb = nn.Embedding(columns, spec.width)

    def forward(self, x_BN: Tensor) -> Tensor:
        position = self.height_emb.weight[:, None] + self.width_emb.weight[None, :]
        # Cut, not cropped: the ImageNet models read the first 256 of 32 x 32 positions for their 16 x 16 tokens.
        return self.emb(x_BN) + position.flatten(0, 1)[: x_BN.shape[1]]


class Block(nn.Module):
    def __init__(self, spec: TransformerSpec):
        super().__init__()
        width = spec.width
        self.ln1 = AdaptiveLayerNorm(width, spec.num_timesteps)
        self.attn1 = Attention(width, width, spec.heads)
        if spec.condition == "text":
            self.ln1_1 = AdaptiveLayerNorm(width, spec.num_timesteps)
            self.attn2 = Attention(width, spec.text_width, spec.heads)
        self.ln2 = AdaptiveLayerNorm(width, spec.class_rows) if spec.condition == "class" else nn.LayerNorm(width)
        self.mlp = ConvMLP(spec) if spec.mlp == "conv" else MLP(width, spec.mlp_ratio)

    def forward(self, h_BNW: Tensor, index_B: Tensor, condition: tuple[Tensor, Tensor] | Tensor | None) -> Tensor:
        h = self.ln1(h_BNW, index_B)
        h_BNW = h_BNW + self.attn1(h, *self.attn1.keys_values(h))
        if isinstance(condition, tuple):
            h_BNW = h_BNW + self.attn2(self.ln1_1(h_BNW, index_B), *condition)
        h = self.ln2(h_BNW, condition) if isinstance(self.ln2, AdaptiveLayerNorm) else self.ln2(h_BNW)
        return h_BNW + self.mlp(h)


class AdaptiveLayerNorm(nn.Module):
    """LayerNorm whose scale and shift are read from a table: by time, or by class."""

    def __init__(self, width: int, rows: int):
        super().__init__()
        self.emb = nn.Embedding(rows, width)
        self.linear = nn.Linear(width, 2 * width)

    def forward(self, h_BNW: Tensor, row_B: Tensor) -> Tensor:
        scale, shift = self.linear(F.silu(self.emb(row_B)))[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, F.layer_norm(h_BNW, h_BNW.shape[-1:]), 1 + scale)


class Attention(nn.Module):
    def __init__(self, width: int, source_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)
        self.proj = nn.Linear(width, width)

    def keys_values(self, source_BLD: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.key(source_BLD)), self.split(self.value(source_BLD))

    def forward(self, h_BNW: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(self.split(self.query(h_BNW)), keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def split(self, h_BLW: Tensor) -> Tensor:
        return h_BLW.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Sequential):
    def __init__(self, width: int, ratio: int):
        super().__init__(nn.Linear(width, ratio * width), QuickGELU(), nn.Linear(ratio * width, width))


class ConvMLP(nn.Module):
    """The MLP of the ImageNet and FFHQ models: 3 x 3 convolutions over the token grid."""

    def __init__(self, spec: TransformerSpec):
        super().__init__()
        self.grid = spec.grid
        self.conv1 = nn.Conv2d(spec.width, spec.mlp_ratio * spec.width, 3, padding=1)
        self.act = QuickGELU()
        self.conv2 = nn.Conv2d(spec.mlp_ratio * spec.width, spec.width, 3, padding=1)

    def forward(self, h_BNW: Tensor) -> Tensor:
        h = h_BNW.transpose(1, 2).unflatten(2, self.grid)
        return self.conv2(self.act(self.conv1(h))).flatten(2).transpose(1, 2)


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)
