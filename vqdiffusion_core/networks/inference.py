"""The network where it draws: the same logits, without what a run needs only once or does not ask for."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import keep_freed_memory, linear
from .transformer import AdaptiveLayerNorm, Block, KeysValues, Transformer

TextKV = list[KeysValues]  # of a text, per layer


class FastTransformer(Transformer):
    """A `Transformer`, and trained as one."""

    def precompute_kv(self, text_BLD: Tensor) -> TextKV:
        """What cross-attention reads of a text: the same in every step, so it is worked out once a prompt."""
        return [cast(Block, block).attn2.project_kv(text_BLD) for block in self.blocks]

    def hidden(
        self,
        x_BN: Tensor,
        index_B: Tensor,
        condition: TextKV | Tensor | None,
        positions_BM: Tensor | None = None,
    ) -> Tensor:
        """Hidden states before the head, (B, N, W), or (B, M, W) at these positions. A text may be its `TextKV`."""
        keep_freed_memory()
        conditions = condition if isinstance(condition, list) else [condition] * len(self.blocks)
        *others, (last, of_last) = zip(self.blocks, conditions, strict=True)
        h_BNW = self.content_emb(x_BN)
        for block, of_block in others:
            h_BNW = block(h_BNW, index_B, of_block)
        if positions_BM is None:
            return last(h_BNW, index_B, of_last)
        if self.spec.mlp == "conv":  # which mixes tokens after the last attention too
            return at_positions(last(h_BNW, index_B, of_last), positions_BM)
        h_BMW = self_attention_at(cast(Block, last), h_BNW, index_B, positions_BM)
        return cast(Block, last).after_self_attention(h_BMW, index_B, of_last)

    def cache_adaln(self) -> FastTransformer:
        """Make this network ready for drawing: what a norm works out from the time becomes a table of T rows, and the
        layers that it comes from, a fifth of all weights, are dropped. It can no longer be trained or saved.
        """
        if not self.adaln_cached:
            for block in self.blocks:
                for name in ("ln1", "ln1_1"):
                    if (norm := getattr(block, name, None)) is not None:
                        setattr(block, name, CachedAdaptiveLayerNorm(norm))
        return self

    @property
    def adaln_cached(self) -> bool:
        return isinstance(self.blocks[0].ln1, CachedAdaptiveLayerNorm)


class CachedAdaptiveLayerNorm(AdaptiveLayerNorm):
    """Keeps the scale and shift of every row in place of the layers that they come from."""

    def __init__(self, norm: AdaptiveLayerNorm):
        nn.Module.__init__(self)
        emb_RW, weight, bias = (each.float() for each in (norm.emb.weight, norm.linear.weight, norm.linear.bias))
        self.table = nn.Embedding.from_pretrained(linear(F.silu(emb_RW), weight, bias).to(norm.emb.weight.dtype))

    def scale_and_shift(self, row_B: Tensor) -> Tensor:
        return self.table(row_B)


def self_attention_at(block: Block, h_BNW: Tensor, index_B: Tensor, positions_BM: Tensor) -> Tensor:
    """Self-attention of the tokens at these positions, (B, M, W), to all."""
    h = block.ln1(h_BNW, index_B)
    return at_positions(h_BNW, positions_BM) + block.attn1(at_positions(h, positions_BM), block.attn1.project_kv(h))


def at_positions(h_BNW: Tensor, positions_BM: Tensor) -> Tensor:
    """(B, N, W) -> (B, M, W), the rows at these positions of each image."""
    return h_BNW.gather(1, positions_BM[..., None].expand(-1, -1, h_BNW.shape[2]))
