"""The network where it draws: the same logits, without what a run needs only once or does not ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .fused import STACKS, ClassNorm, FusedBlock, ScaleShift, time_rows
from .kernels import keep_freed_memory
from .transformer import Block, KeysValues, Transformer

TextKV = list[KeysValues]  # of a text, per layer
Precomputed = TextKV | list[ScaleShift]  # the latter of a class


class FastTransformer(Transformer):
    """A `Transformer`, and trained as one."""

    def precompute(self, condition: Tensor) -> Precomputed | Tensor:
        """What the blocks read of a condition, the same in every step."""
        if self.spec.condition == "text":
            return self.precompute_kv(condition)
        if not self.is_prepared:
            return condition
        return [cast(ClassNorm, block.ln2).scaled_rows(condition) for block in self.blocks]

    def precompute_kv(self, text_BLD: Tensor) -> TextKV:
        """What cross-attention reads of a text."""
        return [cast(Block, block).attn2.project_kv(text_BLD) for block in self.blocks]

    def hidden(
        self,
        x_BN: Tensor,
        index_B: Tensor,
        condition: Precomputed | Tensor | None,
        positions_BM: Tensor | None = None,
    ) -> Tensor:
        """Hidden states before the head, (B, N, W), or (B, M, W) at these positions. `condition` may be precomputed."""
        keep_freed_memory()
        conditions = condition if isinstance(condition, list) else [condition] * len(self.blocks)
        *others, (last, time, of_last) = zip(self.blocks, self.times(index_B), conditions, strict=True)
        h_BNW = self.content_emb(x_BN)
        for block, *told in others:
            h_BNW = block(h_BNW, *told)
        if positions_BM is None:
            return last(h_BNW, time, of_last)
        if self.spec.mlp == "conv":  # which mixes tokens after the last attention too
            return at_positions(last(h_BNW, time, of_last), positions_BM)
        h_BMW = self_attention_at(cast(Block, last), h_BNW, time, positions_BM)
        return cast(Block, last).after_self_attention(h_BMW, time, of_last)

    def times(self, index_B: Tensor) -> Sequence[Tensor]:
        """What each block is told of the time: made ready for drawing, the rows of its norms, (B, norms, 2, W)."""
        if not self.is_prepared:
            return [index_B] * len(self.blocks)
        return self.adaln(index_B).unflatten(1, (len(self.blocks), -1, 2, self.spec.width)).unbind(1)

    def prepare_for_inference(self) -> FastTransformer:
        """Make this network ready for drawing: what all norms work out from the time becomes one table of T rows, and
        the layers that it comes from, a fifth of all weights, are dropped; products of the same numbers become one. It
        can no longer be trained or saved.
        """
        if not self.is_prepared:
            blocks = [cast(Block, block) for block in self.blocks]
            self.adaln = nn.Embedding.from_pretrained(torch.cat([time_rows(block) for block in blocks], 1))
            self.blocks = nn.ModuleList(FusedBlock(block, last=block is blocks[-1]) for block in blocks)
        return self

    @property
    def is_prepared(self) -> bool:
        return hasattr(self, "adaln")

    def place_of(self, name: str) -> tuple[str, slice]:
        """Where a weight or bias of a published name lies: its name here, and which rows of it. Made ready for drawing,
        "blocks.0.attn1.key.weight" is rows W to 2 W of "blocks.0.attn1.qkv.weight".
        """
        owner, layer, kind = name.rsplit(".", 2)
        for stack, layers in STACKS.items():
            if layer in layers and hasattr(self.get_submodule(owner), stack):
                start = layers.index(layer) * self.spec.width
                return f"{owner}.{stack}.{kind}", slice(start, start + self.spec.width)
        return name, slice(None)


def self_attention_at(block: Block, h_BNW: Tensor, time: Tensor, positions_BM: Tensor) -> Tensor:
    """Self-attention of the tokens at these positions, (B, M, W), to all."""
    h = block.ln1(h_BNW, time)
    return at_positions(h_BNW, positions_BM) + block.attn1(at_positions(h, positions_BM), block.attn1.project_kv(h))


def at_positions(h_BNW: Tensor, positions_BM: Tensor) -> Tensor:
    """(B, N, W) -> (B, M, W), the rows at these positions of each image."""
    return h_BNW.gather(1, positions_BM[..., None].expand(-1, -1, h_BNW.shape[2]))
