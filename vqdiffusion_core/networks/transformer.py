"""The network of VQ-Diffusion: noisy tokens and a condition -> logits of the clean tokens (Gu et al. 2022, 4.2).

Modules carry the names of the published checkpoints. Shapes: x_BN ids 0..K, text_BLD condition vectors, h_BNW hidden.
What makes it fast is in `kernels` and, for drawing, in `inference` and `fused`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import Linear, attention, in_parts, modulated_layer_norm, quick_gelu, whole_table
from .specs import TransformerSpec

KeysValues = tuple[Tensor, Tensor]  # each (B, heads, L, width / heads)


class Transformer(nn.Module):
    def __init__(self, spec: TransformerSpec):
        super().__init__()
        self.spec = spec
        self.content_emb = ContentEmbedding(spec)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.to_logits = nn.Sequential(nn.LayerNorm(spec.width), Linear(spec.width, spec.codebook_size))

    @property
    def dtype(self) -> torch.dtype:
        """The number type of its weights."""
        return self.content_emb.emb.weight.dtype

    def forward(self, x_BN: Tensor, index_B: Tensor, condition: Tensor | None) -> Tensor:
        """Logits (B, N, K) of p(x_0 | x_t); the mask has none.

        `index_B`, int64 of shape (B,) or (1,), is the network's time 0..T-1. `condition` is text_BLD, class ids (B,)
        or (1,), or None, as `spec.condition` says.
        """
        return self.to_logits(self.hidden(x_BN, index_B, condition))

    def hidden(self, x_BN: Tensor, index_B: Tensor, condition: Tensor | None) -> Tensor:
        """Hidden states (B, N, W) before the head."""
        h_BNW = self.content_emb(x_BN)
        for block in self.blocks:
            h_BNW = block(h_BNW, index_B, condition)
        return h_BNW


class ContentEmbedding(nn.Module):
    """Token, row and column embeddings, added."""

    def __init__(self, spec: TransformerSpec):
        super().__init__()
        rows, columns = spec.position_tables
        self.emb = nn.Embedding(spec.codebook_size + 1, spec.width)
        self.height_emb = nn.Embedding(rows, spec.width)
        self.width_emb = nn.Embedding(columns, spec.width)

    def forward(self, x_BN: Tensor, position_BN: Tensor | None = None) -> Tensor:
        """`position_BN` says where each token stands; without it, they are those of an image in order."""
        rows, columns = (whole_table(table, x_BN.device) for table in (self.height_emb, self.width_emb))
        positions_NW = (rows[:, None] + columns[None, :]).flatten(0, 1)
        # Cut, not cropped: the ImageNet models read the first 256 of 32 x 32 positions for their 16 x 16 tokens.
        return self.emb(x_BN) + positions_NW[slice(x_BN.shape[1]) if position_BN is None else position_BN]


class Block(nn.Module):
    def __init__(self, spec: TransformerSpec):
        super().__init__()
        self.condition = spec.condition
        self.ln1 = AdaptiveLayerNorm(spec.width, spec.num_timesteps)
        self.attn1 = Attention(spec.width, spec.width, spec.heads)
        if spec.condition == "text":
            self.ln1_1 = AdaptiveLayerNorm(spec.width, spec.num_timesteps)
            self.attn2 = Attention(spec.width, spec.text_width, spec.heads)
        by_class = spec.condition == "class"
        self.ln2 = AdaptiveLayerNorm(spec.width, spec.class_rows) if by_class else nn.LayerNorm(spec.width)
        self.mlp = ConvMLP(spec) if spec.mlp == "conv" else MLP(spec.width, spec.mlp_ratio)

    def forward(self, h_BNW: Tensor, index_B: Tensor, condition: Tensor | KeysValues | None) -> Tensor:
        return self.after_self_attention(self.self_attention(h_BNW, index_B), index_B, condition)

    def self_attention(self, h_BNW: Tensor, index_B: Tensor) -> Tensor:
        h = self.ln1(h_BNW, index_B)
        return h_BNW + self.attn1(h, h)

    def after_self_attention(self, h_BNW: Tensor, index_B: Tensor, condition: Tensor | KeysValues | None) -> Tensor:
        """Attention to the text, and the MLP: unless that is of convolutions, every token by itself."""
        if self.condition == "text":
            h_BNW = h_BNW + self.attn2(self.ln1_1(h_BNW, index_B), condition)
        return self.add_mlp(h_BNW, self.ln2(h_BNW, condition) if self.condition == "class" else self.ln2(h_BNW))

    def add_mlp(self, h_BNW: Tensor, normed_BNW: Tensor) -> Tensor:
        return h_BNW + self.mlp(normed_BNW)


class AdaptiveLayerNorm(nn.Module):
    """LayerNorm whose scale and shift depend on the time, or on the class: a row of an embedding."""

    def __init__(self, width: int, rows: int):
        super().__init__()
        self.emb = nn.Embedding(rows, width)
        self.linear = nn.Linear(width, 2 * width)

    def forward(self, h_BNW: Tensor, row_B: Tensor) -> Tensor:
        rows_B2 = self.scale_and_shift(row_B).to(h_BNW.dtype)  # under autocast they are narrower than h
        scale_BW, shift_BW = rows_B2.chunk(2, dim=-1)
        return modulated_layer_norm(h_BNW, 1 + scale_BW, shift_BW)

    def scale_and_shift(self, row_B: Tensor) -> Tensor:
        return self.linear(F.silu(self.emb(row_B)))


class Attention(nn.Module):
    def __init__(self, width: int, source_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(source_width, width)
        self.value = Linear(source_width, width)
        self.proj = Linear(width, width)
        self.attend = attention  # a host may have another

    def forward(self, h_BNW: Tensor, source: Tensor | KeysValues) -> Tensor:
        """`source` (B, L, D) is what h attends to, or its keys and values; of fewer, each for several images."""
        keys, values = source if isinstance(source, tuple) else self.project_kv(source)
        return self.mix(self.query(h_BNW), keys, values)

    def project_kv(self, source_BLD: Tensor) -> KeysValues:
        return self.split(self.key(source_BLD)), self.split(self.value(source_BLD))

    def mix(self, queries_BNW: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        queries = queries_BNW.reshape(len(keys), -1, queries_BNW.shape[2])  # those of one source, one after the other
        mixed = self.attend(self.split(queries), keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2)).view_as(queries_BNW)

    def split(self, h_BLW: Tensor) -> Tensor:
        return h_BLW.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Sequential):
    def __init__(self, width: int, ratio: int):
        super().__init__(Linear(width, ratio * width), QuickGELU(), Linear(ratio * width, width))
        self.inner_width = ratio * width

    def forward(self, input: Tensor) -> Tensor:
        return in_parts(super().forward, input, self.inner_width)


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
        return quick_gelu(x)
