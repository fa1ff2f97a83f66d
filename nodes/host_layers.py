"""The core's layers as ComfyUI's own, which it may leave in main memory and send to the device when they are called.

So work --lowvram, --novram, dynamic VRAM and a memory that is too small for a model; plain layers of PyTorch lie whole
on one device. The core knows nothing of it: a layer changes its class, and keeps its weights and its name.
"""

from __future__ import annotations

import comfy.ops
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor, nn

from ..vqdiffusion_core.networks import kernels, transformer, vqgan

HOST = comfy.ops.disable_weight_init


class Embedding(HOST.Embedding):
    bias = None  # the host asks every layer for one


class Pointwise(vqgan.Pointwise, HOST.Conv2d):
    """The host brings the weights, the core says what is done with them."""


HOST_LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    kernels.Linear: HOST.Linear,
    nn.Linear: HOST.Linear,
    nn.Conv2d: HOST.Conv2d,
    vqgan.Pointwise: Pointwise,
    nn.Embedding: Embedding,
    nn.LayerNorm: HOST.LayerNorm,
    nn.GroupNorm: HOST.GroupNorm,
}


def use_host_layers(module: nn.Module) -> None:
    """Layers become such as the host can send, and the transformer attends by the host's setting."""
    for layer in module.modules():
        layer.__class__ = HOST_LAYERS.get(type(layer), type(layer))
        if isinstance(layer, transformer.Attention):
            layer.attend = attend


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`kernels.attention` by the host's setting: --use-sage-attention and its like."""
    heads = queries.shape[1]
    return optimized_attention(queries, keys, values, heads, skip_reshape=True, skip_output_reshape=True)
