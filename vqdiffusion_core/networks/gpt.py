"""The transformer that draws token after token: taming-transformers' GPT (Esser et al. 2021, 3.2), the prior that
VQ-Diffusion is measured against. Modules carry the names of the published checkpoints.

The condition stands in front of the image, P positions long: the vectors of a text, the id of a class, or id 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import Linear
from .specs import GPTSpec


class GPT(nn.Module):
    def __init__(self, spec: GPTSpec):
        super().__init__()
        self.spec = spec
        self.tok_emb = nn.Embedding(spec.codebook_size, spec.width)
        self.pos_emb = nn.Embedding(spec.positions, spec.width)
        if spec.condition == "text":
            self.text_emb = Linear(spec.text_width, spec.width)
        self.blocks = nn.ModuleList(Block(spec.width, spec.heads) for _ in range(spec.layers))
        self.ln_f = nn.LayerNorm(spec.width)
        self.head = Linear(spec.width, spec.codebook_size, bias=False)

    @property
    def dtype(self) -> torch.dtype:
        """The number type of its weights."""
        return self.tok_emb.weight.dtype

    def forward(self, x_BN: Tensor, condition: Tensor | None) -> Tensor:
        """Logits (B, N, K) of every token, given what is drawn and the tokens before it; the last one is not read."""
        before_BSW = torch.cat([self.prefix(condition, len(x_BN), x_BN.device), self.tok_emb(x_BN[:, :-1])], 1)
        return self.head(self.ln_f(self.hidden(before_BSW)[:, self.spec.prefix - 1 :]))

    def prefix(self, condition: Tensor | None, batch: int, device: torch.device | str) -> Tensor:
        """What stands in front of so many images, (B, P, W). `condition` is text_BLD, class ids (B,), either of batch 1
        too, or None, as `spec.condition` says.
        """
        if condition is None:
            condition = torch.zeros(1, dtype=torch.long, device=device)
        embedded = self.text_emb(condition) if self.spec.condition == "text" else self.tok_emb(condition)[:, None]
        return embedded.expand(batch, -1, -1)

    def next(self, x_BS: Tensor, cache: Cache) -> Tensor:
        """Logits (B, K) of the token after these S, which come after those that the cache has seen."""
        h_BSW = self.tok_emb(x_BS)
        if cache.length == 0:
            h_BSW = torch.cat([cache.prefix_BPW, h_BSW], 1)
        return self.head(self.ln_f(self.hidden(h_BSW, cache)[:, -1]))

    def hidden(self, embedded_BSW: Tensor, cache: Cache | None = None) -> Tensor:
        """Hidden states of embedded positions, from the first one or from those in the cache on."""
        start = cache.length if cache else 0
        places_S = torch.arange(start, start + embedded_BSW.shape[1], device=embedded_BSW.device)
        h_BSW = embedded_BSW + self.pos_emb(places_S)
        for layer, block in enumerate(self.blocks):
            h_BSW = block(h_BSW, cache.layers[layer] if cache else None, start)
        if cache:
            cache.length += embedded_BSW.shape[1]
        return h_BSW


class Cache:
    """Keys and values of the positions that a `GPT` has seen: each new token is worked out alone."""

    def __init__(self, spec: GPTSpec, prefix_BPW: Tensor):
        shape = 2, len(prefix_BPW), spec.heads, spec.positions, spec.width // spec.heads
        self.prefix_BPW = prefix_BPW
        self.layers = [prefix_BPW.new_empty(shape) for _ in range(spec.layers)]
        self.length = 0  # positions, those of the prefix included


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attn = CausalAttention(width, heads)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(Linear(width, 4 * width), nn.GELU(), Linear(4 * width, width))

    def forward(self, h_BSW: Tensor, kept: Tensor | None, start: int) -> Tensor:
        h_BSW = h_BSW + self.attn(self.ln1(h_BSW), kept, start)
        return h_BSW + self.mlp(self.ln2(h_BSW))


class CausalAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.key = Linear(width, width)
        self.query = Linear(width, width)
        self.value = Linear(width, width)
        self.proj = Linear(width, width)

    def forward(self, h_BSW: Tensor, kept: Tensor | None, start: int) -> Tensor:
        """Every position attends to itself and those before; `kept` are keys and values, with `start` positions."""
        queries, keys, values = (
            layer(h_BSW).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        count, end = h_BSW.shape[1], start + h_BSW.shape[1]
        if kept is not None:
            kept[0, :, :, start:end], kept[1, :, :, start:end] = keys, values
            keys, values = kept[:, :, :, :end]
        seen_SL = None  # where there is one query, or the mask is PyTorch's own
        if start and count > 1:
            seen_SL = torch.ones(count, end, dtype=torch.bool, device=h_BSW.device).tril(start)
        mixed = F.scaled_dot_product_attention(queries, keys, values, seen_SL, is_causal=start == 0)
        return self.proj(mixed.transpose(1, 2).flatten(2))
