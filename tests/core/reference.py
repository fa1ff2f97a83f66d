"""Measures for the fast ways: the text-conditioned network written out plainly, formula by formula, and the references'
way to draw.
"""

import torch
from pack.vqdiffusion_core.diffusion.noise import gumbel
from pack.vqdiffusion_core.diffusion.posterior import q_posterior
from pack.vqdiffusion_core.diffusion.samplers import State
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


def gumbel_categorical(log_p, uniform, dim):
    """argmax of log p + Gumbel noise over `dim`, from as many uniforms as there are numbers in log_p."""
    return (log_p + gumbel(uniform)).argmax(dim)


def drawing_from(generator):
    """A step that draws every token, from the whole posterior, with the uniforms that diffusers' own
    steps take from the generator: what our predictions and our posterior make of a run, without our thinned draw.
    """

    def step(run, state, jump):
        (t, s), x_BN, K = jump[:2], state.x_BN, run.schedule.codebook_size
        log_p_MK, _ = run.predict.distribution(x_BN, t, jump.editable_BN, slice(0, len(x_BN)))
        table_BNK = q_posterior(log_p_MK.double().softmax(-1).view(*x_BN.shape, K), x_BN, s, t, run.schedule)
        log_table_BKN = table_BNK.log().float().transpose(1, 2)[:, : K + (s > 0)]  # the last has no mask
        uniform_BKN = torch.rand(log_table_BKN.shape, generator=generator)
        return State.from_tokens(gumbel_categorical(log_table_BKN, uniform_BKN, dim=1), K)

    return step
