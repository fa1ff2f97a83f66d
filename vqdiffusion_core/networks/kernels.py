"""What the network's layers compute, by the fastest ways that PyTorch has.

Its own choice is far from that on x86 processors, without gradients. There float32 products go to MKL, which reaches
less than half of what AMD's processors can do; oneDNN, which PyTorch carries too, reaches all of it. And its attention
never asks oneDNN. Everywhere else (CUDA, ARM, Apple, training) linear layers and attention are PyTorch's own. Results
differ by the order of additions alone.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

X86 = platform.machine() in ("x86_64", "AMD64")
ONEDNN = X86 and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
SMALL = 1 << 21  # multiplications for the scores of one head: below, its products are not worth a call each
SCORES = 16 << 20  # bytes of one head's: above, they would not stay in the cache, and take memory without bound
INNER_BYTES = {True: 8 << 20, False: 128 << 20}  # of an MLP's inner tensor on a CPU, and elsewhere
QUICK = 1.702  # of QuickGELU
FEW_THREADS = 8  # PyTorch's attention gives every thread a head of its own, which many threads need


class Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., in) times weight (out, in), transposed, plus bias (out,): as `torch.nn.functional.linear`."""
    if on_cpu(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def whole_table(embedding: nn.Embedding, device: torch.device) -> Tensor:
    """All rows of an embedding; by its call where a host keeps the weight on another device until then."""
    if embedding.weight.device == device:
        return embedding.weight
    return embedding(torch.arange(embedding.num_embeddings, device=device))


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Each of (B, heads, N, D) -> (B, heads, N, D): as `torch.nn.functional.scaled_dot_product_attention`.

    On a CPU one head at a time, so that its scores stay in the cache.
    """
    scores = queries.shape[2] * keys.shape[2]
    worthwhile = scores * queries.shape[3] >= SMALL and scores * queries.itemsize <= SCORES
    # The threads last: a compiler, which never gets to them, would break its graph at the question.
    if not (worthwhile and on_cpu(queries, keys) and torch.get_num_threads() <= FEW_THREADS):
        return F.scaled_dot_product_attention(queries, keys, values)
    mixed = torch.empty_like(queries)
    for image in range(queries.shape[0]):
        for head in range(queries.shape[1]):
            q_ND, k_LD, v_LD = queries[image, head], keys[image, head], values[image, head]
            scores_NL = linear(q_ND * queries.shape[3] ** -0.5, k_LD.contiguous())
            mixed[image, head] = linear(scores_NL.softmax(-1), v_LD.contiguous().t().contiguous())
    return mixed


def modulated_layer_norm(h_BNW: Tensor, scale_BW: Tensor, shift_BW: Tensor) -> Tensor:
    """LayerNorm with a scale and shift for each image, or for all."""
    if len(scale_BW) == 1:  # the affine of one pass over h
        return F.layer_norm(h_BNW, h_BNW.shape[-1:], scale_BW[0], shift_BW[0])
    return torch.addcmul(shift_BW[:, None], F.layer_norm(h_BNW, h_BNW.shape[-1:]), scale_BW[:, None])


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(QUICK x); without gradients in the place of x, which is to be the fresh output of a layer."""
    gate = (QUICK * x).sigmoid_()
    return x * gate if torch.is_grad_enabled() else x.mul_(gate)


def in_parts(mlp: Callable[[Tensor], Tensor], h: Tensor, inner_width: int) -> Tensor:
    """mlp(h); without gradients some rows at a time: the wide inner tensor stays small, and in a CPU's cache."""
    if torch.is_grad_enabled():
        return mlp(h)
    rows = INNER_BYTES[h.device.type == "cpu"] // (inner_width * h.dtype.itemsize)
    if h.numel() <= rows * h.shape[-1]:
        return mlp(h)
    return torch.cat([mlp(part) for part in h.flatten(0, -2).split(max(1, rows))]).view_as(h)


def on_cpu(x: Tensor, weight: Tensor) -> bool:
    """Whether x and weight are where the functions above know better than PyTorch."""
    gradient = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    alike = x.dtype == weight.dtype and x.device == weight.device  # else autocast's business, or an error
    own_choice = gradient or torch.compiler.is_compiling()  # the compiler has its own ways to oneDNN
    return ONEDNN and not own_choice and alike and x.device.type == "cpu" and x.dtype in onednn_types()


@cache
def onednn_types() -> list[torch.dtype]:
    """What this processor's oneDNN multiplies fast; its float16 products are PyTorch's business."""
    return [torch.float32, *([torch.bfloat16] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else [])]


@cache
def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next layer, instead of giving it back and faulting it in again: 5 to 10 % of
    a step on a CPU. Its thresholds follow the largest block ever freed, up to 32 MB (mallopt(3)). Elsewhere: no effect.
    """
    torch.empty(31 << 20, dtype=torch.uint8)
