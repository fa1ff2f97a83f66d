"""The network of VQ-Diffusion: noisy tokens and a condition -> logits of the clean tokens (Gu et al. 2022, 4.2).

Modules carry the names of the published checkpoints. Shapes: x_BN ids 0..K, text_BLD condition vectors, h_BNW hidden.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import Linear, attention, keep_freed_memory, linear
from .specs import TransformerSpec

INNER_BYTES = {True: 8 << 20, False: 128 << 20}  # of an MLP's inner tensor on a CPU, and elsewhere
TextKV = list[tuple[Tensor, Tensor]]  # per layer, the keys and values of the text: (B, heads, L, width / heads)


class Transformer(nn.Module):
    def __init__(self, spec: TransformerSpec):
        super().__init__()
        self.spec = spec
        self.content_emb = ContentEmbedding(spec)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.to_logits = nn.Sequential(nn.LayerNorm(spec.width), Linear(spec.width, spec.codebook_size))

    def cache_adaln(self) -> Transformer:
        """Make this network ready for drawing: what a norm works out from the time becomes a table of T rows, and the
        layers that it comes from, a fifth of all weights, are dropped. It can no longer be trained or saved.
        """
        for block in self.blocks:
            for norm in (block.ln1, getattr(block, "ln1_1", None)):
                if norm is not None:
                    cast(AdaptiveLayerNorm, norm).cache_adaln()
        return self

    @property
    def adaln_cached(self) -> bool:
        return cast(AdaptiveLayerNorm, self.blocks[0].ln1).table is not None

    def precompute_kv(self, text_BLD: Tensor) -> TextKV:
        """What cross-attention reads of a text: the same in every step, so it is worked out once a prompt."""
        return [cast(Block, block).attn2.project_kv(text_BLD) for block in self.blocks]

    def hidden(
        self,
        x_BN: Tensor,
        index_B: Tensor,
        condition: TextKV | Tensor | None,
        places_BM: Tensor | None = None,
    ) -> Tensor:
        """Hidden states before the head: (B, N, W), or (B, M, W) at the positions `places_BM`, if they are given.

        `index_B`, int64 of shape (B,) or (1,), is the network's time 0..T-1. `condition` is a `TextKV`, class ids
        (B,) or (1,), or None, as `spec.condition` says. What nobody asks for, the last block does not work out.
        """
        keep_freed_memory()
        h_BNW = self.content_emb(x_BN)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            of_block = condition[i] if isinstance(condition, list) else condition
            h_BNW = block(h_BNW, index_B, of_block, places_BM if i == last and not self.mixes_after_attention else None)
        return at(places_BM, h_BNW) if places_BM is not None and self.mixes_after_attention else h_BNW

    @property
    def mixes_after_attention(self) -> bool:
        """Whether tokens are mixed after the last attention too, so that the last block needs all of them."""
        return self.spec.mlp == "conv"

    def forward(self, x_BN: Tensor, index_B: Tensor, condition: TextKV | Tensor | None) -> Tensor:
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

    def forward(
        self,
        h_BNW: Tensor,
        index_B: Tensor,
        condition: tuple[Tensor, Tensor] | Tensor | None,
        places_BM: Tensor | None = None,
    ) -> Tensor:
        h_BNW = self.attend_to_tokens(h_BNW, index_B, places_BM)
        if isinstance(condition, tuple):
            h_BNW = h_BNW + self.attn2(self.ln1_1(h_BNW, index_B), *condition)
        h = self.ln2(h_BNW, condition) if isinstance(self.ln2, AdaptiveLayerNorm) else self.ln2(h_BNW)
        return h_BNW + self.mlp(h)

    def attend_to_tokens(self, h_BNW: Tensor, index_B: Tensor, places_BM: Tensor | None) -> Tensor:
        """Self-attention of all tokens, or of those at the places, to all. Its tensors are gone when it returns."""
        h = self.ln1(h_BNW, index_B)
        keys, values = self.attn1.project_kv(h)
        if places_BM is not None:
            h_BNW, h = at(places_BM, h_BNW), at(places_BM, h)
        return h_BNW + self.attn1(h, keys, values)


class AdaptiveLayerNorm(nn.Module):
    """LayerNorm whose scale and shift are read from a table: by time, or by class."""

    def __init__(self, width: int, rows: int):
        super().__init__()
        self.emb = nn.Embedding(rows, width)
        self.linear = nn.Linear(width, 2 * width)
        self.table: nn.Parameter | None = None

    def cache_adaln(self) -> None:
        """Keep the scale and shift of every row in place of the layers that they come from."""
        if self.table is None:
            weights = (each.float() for each in (self.emb.weight, self.linear.weight, self.linear.bias))
            emb_RW, weight, bias = weights
            table = linear(F.silu(emb_RW), weight, bias).to(self.emb.weight.dtype)
            self.table = nn.Parameter(table, requires_grad=False)
            del self.emb, self.linear

    def forward(self, h_BNW: Tensor, row_B: Tensor) -> Tensor:
        rows_B2 = self.linear(F.silu(self.emb(row_B))) if self.table is None else self.table[row_B]
        scale_BW, shift_BW = rows_B2.to(h_BNW.dtype).chunk(2, dim=-1)  # under autocast the rows are narrower than h
        if len(row_B) == 1:  # the affine of one pass over h
            return F.layer_norm(h_BNW, h_BNW.shape[-1:], 1 + scale_BW[0], shift_BW[0])
        return torch.addcmul(shift_BW[:, None], F.layer_norm(h_BNW, h_BNW.shape[-1:]), 1 + scale_BW[:, None])


class Attention(nn.Module):
    def __init__(self, width: int, source_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(source_width, width)
        self.value = Linear(source_width, width)
        self.proj = Linear(width, width)

    def project_kv(self, source_BLD: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.key(source_BLD)), self.split(self.value(source_BLD))

    def forward(self, h_BNW: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        mixed = attention(self.split(self.query(h_BNW)), keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def split(self, h_BLW: Tensor) -> Tensor:
        return h_BLW.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Sequential):
    def __init__(self, width: int, ratio: int):
        super().__init__(Linear(width, ratio * width), QuickGELU(), Linear(ratio * width, width))
        self.inner_width = ratio * width

    def forward(self, input: Tensor) -> Tensor:
        """Without gradients, some rows at a time: the wide inner tensor stays small, and in a CPU's cache."""
        if torch.is_grad_enabled():
            return super().forward(input)
        rows = INNER_BYTES[input.device.type == "cpu"] // (self.inner_width * input.dtype.itemsize)
        parts = [super(MLP, self).forward(part) for part in input.flatten(0, -2).split(max(1, rows))]
        return torch.cat(parts).view_as(input)


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
        """x * sigmoid(1.702 x); without gradients in the place of x, which is always the fresh output of a layer."""
        gate = (1.702 * x).sigmoid_()
        return x * gate if torch.is_grad_enabled() else x.mul_(gate)


def at(places_BM: Tensor, h_BNW: Tensor) -> Tensor:
    """(B, N, W) -> (B, M, W), the rows at these positions of each image."""
    return h_BNW.gather(1, places_BM[..., None].expand(-1, -1, h_BNW.shape[2]))
