"""Networks of the published sizes with random weights, and diffusers' networks on the same weights."""

from __future__ import annotations

import torch
from diffusers import Transformer2DModel, VQDiffusionPipeline, VQDiffusionScheduler, VQModel
from torch import Tensor

from vqdiffusion_core.checkpoints import key_maps
from vqdiffusion_core.checkpoints.diffusers_config import transformer_config, vqgan_config
from vqdiffusion_core.checkpoints.rename import rename_back
from vqdiffusion_core.checkpoints.write_diffusers import vqgan_state
from vqdiffusion_core.diffusion.schedule import Schedule
from vqdiffusion_core.networks.inference import FastTransformer
from vqdiffusion_core.networks.specs import TransformerSpec, VQGANSpec
from vqdiffusion_core.networks.vqgan import VQGAN

COCO = TransformerSpec(codebook_size=2887, grid=(32, 32), layers=19, width=1024, heads=16, num_timesteps=100)
ITHQ = TransformerSpec(codebook_size=4096, grid=(32, 32), layers=36, width=1408, heads=16, num_timesteps=100)
ITHQ_VQGAN = VQGANSpec((64, 128, 256, 512), 2, (3,), latent_channels=256, code_dim=128, codebook_size=4096)
LENGTH, GUIDANCE, TRUNCATION = 77, 5.0, 0.86


def transformer(spec: TransformerSpec, dtype: torch.dtype, device: str) -> FastTransformer:
    """With weights of the size that training begins with."""
    with torch.device("meta"):
        network = FastTransformer(spec)
    network = network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.035, 0.035)
    return network


def peer_transformer(network: FastTransformer) -> Transformer2DModel:
    """diffusers' network, which shares our tensors."""
    config = {name: value for name, value in transformer_config(network.spec).items() if name != "_class_name"}
    with torch.device("meta"):
        peer = Transformer2DModel(**config)
    peer.load_state_dict(rename_back(key_maps.TRANSFORMER_DIFFUSERS, network.state_dict()), assign=True)
    return peer.eval().requires_grad_(False)


def vqgan(device: str) -> VQGAN:
    return VQGAN(ITHQ_VQGAN).to(device).eval().requires_grad_(False)


def peer_vqgan(codec: VQGAN) -> VQModel:
    config = {name: value for name, value in vqgan_config(codec.spec).items() if name != "_class_name"}
    peer = VQModel(**config)
    peer.load_state_dict(vqgan_state(codec))
    return peer.to(next(codec.parameters()).device).eval().requires_grad_(False)


def schedule(spec: TransformerSpec) -> Schedule:
    return Schedule.linear(spec.num_timesteps, spec.codebook_size)


def text(dtype: torch.dtype, device: str, seed: int = 0) -> Tensor:
    """Vectors (1, L, D) such as CLIP makes of a prompt."""
    vectors = torch.randn(1, LENGTH, 512, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=-1).to(device, dtype)


class PeerRun:
    """One image by diffusers' parts, as its pipeline puts them together; `step()` is one of its 100."""

    def __init__(self, network: Transformer2DModel, texts_2LD: Tensor):
        self.network = network
        self.texts_2LD = texts_2LD
        self.scheduler = VQDiffusionScheduler(num_vec_classes=network.config["num_vector_embeds"])
        self.scheduler.set_timesteps(100, device=texts_2LD.device)
        self.tokens = torch.full(
            (1, network.num_latent_pixels), network.config["num_vector_embeds"] - 1, device=texts_2LD.device
        )
        self.generator = torch.Generator(texts_2LD.device).manual_seed(0)
        self.done = 0

    @torch.no_grad()
    def step(self) -> None:
        t = self.scheduler.timesteps[self.done % 100]
        both = self.network(torch.cat([self.tokens] * 2), encoder_hidden_states=self.texts_2LD, timestep=t).sample
        self.draw(both, t)
        self.done += 1

    def draw(self, both: Tensor, t: Tensor) -> None:
        """What comes after the network: guidance, truncation, posterior, draw."""
        null, prompt = both.chunk(2)
        log_p = null + GUIDANCE * (prompt - null)
        log_p -= torch.logsumexp(log_p, dim=1, keepdim=True)
        log_p = VQDiffusionPipeline.truncate(None, log_p, TRUNCATION).clamp(-70)
        self.tokens = self.scheduler.step(log_p, timestep=t, sample=self.tokens, generator=self.generator).prev_sample


def step_flops(spec: TransformerSpec, passes: int) -> float:
    """The matrix products of one step: every layer at every token, text keys and values and logits left out."""
    N, W = spec.num_tokens, spec.width
    products = 2 * N * W * W * (4 + 2 + 2 * spec.mlp_ratio)  # self-attention, query and output of the text's, MLP
    scores = 2 * 2 * N * (N + LENGTH) * W
    return passes * spec.layers * (products + scores)
