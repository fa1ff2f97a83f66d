"""A transformer's block made ready for drawing: fewer kernels for the same numbers. It cannot be trained or saved."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import QUICK, Linear, linear, modulated_layer_norm
from .transformer import MLP, AdaptiveLayerNorm, Attention, Block, ConvMLP, KeysValues, QuickGELU

ScaleShift = tuple[Tensor, Tensor]  # of a norm, each (B, W)
STACKS = {"qkv": ("query", "key", "value"), "kv": ("key", "value")}  # whose rows lie in one layer, in this order


class FusedBlock(Block):
    """A block made ready for drawing, told the rows of its norms, (B, norms, 2, W), in place of the time.

    Its MLP takes in and gives `QUICK` times as much: x sigmoid(c x) is silu(c x) / c, one kernel.
    """

    def __init__(self, block: Block, last: bool):
        nn.Module.__init__(self)
        self.condition = block.condition
        self.ln1 = CachedAdaptiveLayerNorm(0)
        apart = last and isinstance(block.mlp, MLP)  # what is asked for alone has queries there
        self.attn1 = SourceAttention(block.attn1) if apart else SelfAttention(block.attn1)
        if self.condition == "text":
            self.ln1_1 = CachedAdaptiveLayerNorm(1)
            self.attn2 = SourceAttention(block.attn2)
        self.ln2 = ClassNorm(block.ln2) if isinstance(block.ln2, AdaptiveLayerNorm) else scaled(block.ln2)
        self.mlp = with_silu(block.mlp)

    def add_mlp(self, h_BNW: Tensor, normed_BNW: Tensor) -> Tensor:
        return torch.add(h_BNW, self.mlp(normed_BNW), alpha=1 / QUICK)


class CachedAdaptiveLayerNorm(nn.Module):
    """Takes its scale and shift from the rows of its block."""

    def __init__(self, which: int):
        super().__init__()
        self.which = which

    def forward(self, h_BNW: Tensor, rows_BJ2W: Tensor) -> Tensor:
        return modulated_layer_norm(h_BNW, *rows_BJ2W[:, self.which].unbind(1))


class ClassNorm(AdaptiveLayerNorm):
    """Before an MLP that takes in `QUICK` times as much."""

    def __init__(self, norm: AdaptiveLayerNorm):
        nn.Module.__init__(self)
        self.emb, self.linear = norm.emb, norm.linear

    def forward(self, h_BNW: Tensor, row_B: Tensor | ScaleShift) -> Tensor:
        rows = row_B if isinstance(row_B, tuple) else self.scaled_rows(row_B)
        return modulated_layer_norm(h_BNW, *rows)

    def scaled_rows(self, class_B: Tensor) -> ScaleShift:
        scale_BW, shift_BW = self.scale_and_shift(class_B).chunk(2, dim=-1)
        return QUICK * (1 + scale_BW), QUICK * shift_BW


class SelfAttention(Attention):
    """Queries, keys and values by one product."""

    def __init__(self, attention: Attention):
        nn.Module.__init__(self)
        self.heads, self.attend = attention.heads, attention.attend
        self.qkv, self.proj = stacked(attention, "qkv"), attention.proj

    def forward(self, h_BNW: Tensor, source: object) -> Tensor:
        """`source` is h."""
        queries_BNW, keys_BNW, values_BNW = self.qkv(h_BNW).chunk(3, -1)
        return self.mix(queries_BNW, self.split(keys_BNW), self.split(values_BNW))


class SourceAttention(Attention):
    """Keys and values by one product."""

    def __init__(self, attention: Attention):
        nn.Module.__init__(self)
        self.heads, self.attend = attention.heads, attention.attend
        self.query, self.kv, self.proj = attention.query, stacked(attention, "kv"), attention.proj

    def project_kv(self, source_BLD: Tensor) -> KeysValues:
        keys_BLW, values_BLW = self.kv(source_BLD).chunk(2, -1)
        return self.split(keys_BLW), self.split(values_BLW)


def time_rows(block: Block) -> Tensor:
    """Of every time, 1 + scale and shift of the block's norms, (T, norms 2 W), worked out in float32."""
    tables = []
    for norm in [block.ln1, *([block.ln1_1] if block.condition == "text" else [])]:
        emb_TW, weight, bias = (each.float() for each in (norm.emb.weight, norm.linear.weight, norm.linear.bias))
        table_T2W = linear(F.silu(emb_TW), weight, bias)
        table_T2W[:, : emb_TW.shape[1]] += 1
        tables.append(table_T2W)
    return torch.cat(tables, 1).to(block.ln1.emb.weight.dtype)


def stacked(attention: Attention, stack: str) -> Linear:
    """The layers of a stack as one: the first of them, with the rows of all."""
    layers = [cast(Linear, attention.get_submodule(name)) for name in STACKS[stack]]
    first = layers[0]
    first.weight = frozen(torch.cat([layer.weight for layer in layers]))
    first.bias = frozen(torch.cat([layer.bias for layer in layers]))
    first.out_features = len(first.bias)
    return first


def with_silu(mlp: MLP | ConvMLP) -> MLP | ConvMLP:
    """The MLP that gives `QUICK` times as much, of as many times as much."""
    for name, layer in mlp.named_children():
        if isinstance(layer, QuickGELU):
            setattr(mlp, name, nn.SiLU(inplace=True))
        else:
            layer.bias = frozen(cast(Tensor, layer.bias) * QUICK)
    return mlp


def scaled(norm: nn.LayerNorm) -> nn.LayerNorm:
    norm.weight, norm.bias = frozen(norm.weight * QUICK), frozen(norm.bias * QUICK)
    return norm


def frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach(), requires_grad=False)
