"""The text-conditioned network written out plainly, formula by formula, as a measure for the fast one."""

import torch
from torch.nn.functional import layer_norm, silu, softmax


def logits(network, x_BN, t_index, text_BLD):
    """Logits (B, N, K) by the weights of an untouched `Transformer` with a linear MLP."""
    weights = network.state_dict()

    def weigh(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def adaptive_norm(name, h):
        scale, shift = weigh(f"{name}.linear", silu(weights[f"{name}.emb.weight"][t_index])).chunk(2)
        return layer_norm(h, h.shape[-1:]) * (1 + scale) + shift

    def affine_norm(name, h):
        return layer_norm(h, h.shape[-1:]) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attend(name, h, source):
        def heads(part, x):
            return weigh(f"{name}.{part}", x).unflatten(-1, (network.spec.heads, -1)).transpose(1, 2)

        q, k, v = heads("query", h), heads("key", source), heads("value", source)
        mixed = softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v
        return weigh(f"{name}.proj", mixed.transpose(1, 2).flatten(2))

    rows, columns = weights["content_emb.height_emb.weight"], weights["content_emb.width_emb.weight"]
    position = (rows[:, None] + columns[None]).flatten(0, 1)[: x_BN.shape[1]]
    h = weights["content_emb.emb.weight"][x_BN] + position
    for i in range(network.spec.layers):
        block = f"blocks.{i}"
        normed = adaptive_norm(f"{block}.ln1", h)
        h = h + attend(f"{block}.attn1", normed, normed)
        h = h + attend(f"{block}.attn2", adaptive_norm(f"{block}.ln1_1", h), text_BLD)
        inner = weigh(f"{block}.mlp.0", affine_norm(f"{block}.ln2", h))
        h = h + weigh(f"{block}.mlp.2", inner * torch.sigmoid(1.702 * inner))
    return weigh("to_logits.1", affine_norm("to_logits.0", h))
