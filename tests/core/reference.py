"""Measures for the fast ways: the networks written out plainly, formula by formula, and the references' way to draw."""

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


def next_log_p(network, ids_S):
    """log p (K,) of the token after these ids by a `GPT` without a text; the first id stands for the condition."""
    weights = network.state_dict()

    def weigh(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, h):
        deviation = (h.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        return (h - h.mean(-1, keepdim=True)) / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    h_SW = weights["tok_emb.weight"][ids_S] + weights["pos_emb.weight"][: len(ids_S)]
    for i in range(network.spec.layers):
        block = f"blocks.{i}"
        normed_SW = norm(f"{block}.ln1", h_SW)
        q, k, v = (
            weigh(f"{block}.attn.{part}", normed_SW).view(len(ids_S), network.spec.heads, -1).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        later_SS = torch.ones(len(ids_S), len(ids_S), dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(later_SS, float("-inf"))
        h_SW = h_SW + weigh(f"{block}.attn.proj", (softmax(scores, -1) @ v).transpose(0, 1).flatten(1))
        inner = weigh(f"{block}.mlp.0", norm(f"{block}.ln2", h_SW))
        h_SW = h_SW + weigh(f"{block}.mlp.2", inner * (1 + torch.erf(inner / 2**0.5)) / 2)
    return (norm("ln_f", h_SW)[-1] @ weights["head.weight"].T).log_softmax(-1)


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
