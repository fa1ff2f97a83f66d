"""A model small enough to enumerate: K = 11 codes on a 4 x 4 grid, two layers, random weights."""

from itertools import pairwise

import torch
from pack.vqdiffusion_core.diffusion.predictor import Predictor
from pack.vqdiffusion_core.diffusion.samplers import Jump, Run
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.model import VQDiffusion
from pack.vqdiffusion_core.networks.gpt import GPT
from pack.vqdiffusion_core.networks.inference import FastTransformer
from pack.vqdiffusion_core.networks.specs import GPTSpec, TransformerSpec

SPEC = TransformerSpec(codebook_size=11, grid=(4, 4), layers=2, width=32, heads=4, num_timesteps=10, text_width=24)
SCHEDULE = Schedule.linear(SPEC.num_timesteps, SPEC.codebook_size)


def transformer(seed=0, spec=SPEC):
    return with_random_weights(FastTransformer, spec, seed)


def gpt(spec, seed=0):
    return with_random_weights(GPT, spec, seed)


def rival(model, width=16):
    """A small model of random weights that draws the tokens of another one token by token, from the same texts."""
    spec = model.transformer.spec
    length = model.text_encoder.length
    shape = GPTSpec(spec.codebook_size, spec.grid, 1, width, 2, text_width=spec.text_width, prefix=length)
    return VQDiffusion("rival", gpt(shape), Schedule.one_step(spec.codebook_size), model.vqgan, model.text_encoder)


def with_random_weights(network_class, spec, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_class(spec).eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def beyond_float16(network):
    """The network with one number within each MLP above 65504, float16's last, of which little comes."""
    for block in network.requires_grad_(False).blocks:
        wide, narrow = (layer for layer in block.mlp.children() if hasattr(layer, "weight"))
        wide.weight[0] *= 3e4
        narrow.weight[:, 0] = 1e-6
    return network


def text(seed, length=7):
    vectors = torch.randn(1, length, SPEC.text_width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=-1)


def tokens(seed=0, batch=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SPEC.codebook_size, (batch, SPEC.num_tokens), generator=generator)


def predictor(denoise):
    """Draws from a hand-written log p: (x_BN, t, where_BN) -> (M, K)."""
    return Predictor(lambda x_BN, t, where_BN, images: denoise(x_BN[images], t, where_BN[images]), [], 0.0)


def walk(step, denoise, state, schedule, times, noise, editable_BN):
    """The states after each step of a sampler from time to time, where nothing joins or is taken back."""
    run = Run(predictor(denoise), schedule, noise)
    for t, s in pairwise(times):
        gamma_t_BN, gamma_s_BN = (editable_BN.double() * schedule.bar(time).gamma for time in (t, s))
        state = step(run, state, Jump(t, s, editable_BN, gamma_t_BN, gamma_s_BN, torch.ones_like(gamma_t_BN)))
        yield state
