"""The paper's other way to draw the same tokens: an autoregressive transformer of the same width and depth, which looks
at the tokens so far and at the text before them, with a cache of keys and values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqdiffusion_core.networks.kernels import Linear
from vqdiffusion_core.networks.specs import TransformerSpec


class Autoregressive(nn.Module):
    def __init__(self, spec: TransformerSpec, prefix: int):
        super().__init__()
        self.spec = spec
        self.prefix = prefix  # text vectors that come before the tokens
        self.token = nn.Embedding(spec.codebook_size + 1, spec.width)  # the last id begins an image
        self.position = nn.Embedding(spec.num_tokens, spec.width)
        self.text = Linear(spec.text_width, spec.width)
        self.layers = nn.ModuleList(Layer(spec) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.width)
        self.head = Linear(spec.width, spec.codebook_size)

    def begin(self, text_BLD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """A cache of room for a whole image, which the text is in already."""
        h = self.text(text_BLD)
        shape = (len(h), self.spec.heads, self.prefix + self.spec.num_tokens, self.spec.width // self.spec.heads)
        cache = [(h.new_zeros(shape), h.new_zeros(shape)) for _ in self.layers]
        for layer, of_layer in zip(self.layers, cache, strict=True):
            h = layer(h, of_layer, 0)
        return cache

    def next(self, token_B: Tensor, place: int, cache: list[tuple[Tensor, Tensor]], uniform_B: Tensor) -> Tensor:
        """Draw the token at `place`, given the one before it."""
        h = (self.token(token_B) + self.position.weight[place])[:, None]
        for layer, of_layer in zip(self.layers, cache, strict=True):
            h = layer(h, of_layer, self.prefix + place)
        cumulated_BK = self.head(self.norm(h[:, 0])).float().softmax(-1).cumsum(-1)
        target_B1 = uniform_B[:, None] * cumulated_BK[:, -1:]
        return torch.searchsorted(cumulated_BK, target_B1)[:, 0].clamp(max=self.spec.codebook_size - 1)


class Layer(nn.Module):
    def __init__(self, spec: TransformerSpec):
        super().__init__()
        width = spec.width
        self.heads = spec.heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = Linear(width, 3 * width), Linear(width, width)
        self.up, self.down = Linear(width, spec.mlp_ratio * width), Linear(spec.mlp_ratio * width, width)

    def forward(self, h_BLW: Tensor, cache: tuple[Tensor, Tensor], start: int) -> Tensor:
        """Rows `start` and on; those before are in the cache."""
        end = start + h_BLW.shape[1]
        qkv = self.qkv(self.ln1(h_BLW)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        for kept, new in zip(cache, qkv[1:], strict=True):
            kept[:, :, start:end] = new
        keys, values = (kept[:, :, :end] for kept in cache)
        mixed = F.scaled_dot_product_attention(qkv[0], keys, values, is_causal=start == 0)
        h_BLW = h_BLW + self.proj(mixed.transpose(1, 2).flatten(2))
        return h_BLW + self.down(F.gelu(self.up(self.ln2(h_BLW)), approximate="tanh"))
