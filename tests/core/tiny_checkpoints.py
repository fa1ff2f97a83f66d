"""Models of a few thousand random weights in every layout that a release has been published in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import Transformer2DModel, VQDiffusionScheduler, VQModel
from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import LearnedClassifierFreeSamplingEmbeddings
from pack.vqdiffusion_core.networks.text_encoder import END, START
from transformers import CLIPTextConfig, CLIPTextModel

K, T, GRID, LENGTH, TEXT_WIDTH = 11, 10, 4, 7, 24
Net = TypeVar("Net", bound=torch.nn.Module)


def randomise(module: Net) -> Net:
    """Weights of a size that every one of them shows in the output (the usual start has zeros and ones)."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = 0.3 if parameter.dim() > 1 else 0.1
            centre = 1.0 if "norm" in name and name.endswith("weight") and parameter.dim() == 1 else 0.0
            parameter.copy_(centre + gain * noise)
    return module.eval()


def peer_vqgan() -> VQModel:
    vqgan = VQModel(
        block_out_channels=[8, 16, 16],
        down_block_types=["DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
        layers_per_block=1,
        latent_channels=6,
        norm_num_groups=4,
        num_vq_embeddings=K,
        vq_embed_dim=5,
    )
    return randomise(vqgan)


def peer_transformer() -> Transformer2DModel:
    transformer = Transformer2DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        num_layers=2,
        cross_attention_dim=TEXT_WIDTH,
        attention_bias=True,
        num_vector_embeds=K + 1,
        num_embeds_ada_norm=T,
        sample_size=GRID,
        activation_fn="geglu-approximate",
        norm_type="ada_norm",
    )
    return randomise(transformer)


def peer_text_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(vocabulary()[0]),
        hidden_size=TEXT_WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=LENGTH,
        bos_token_id=len(vocabulary()[0]) - 2,
        eos_token_id=len(vocabulary()[0]) - 1,
    )
    return randomise(CLIPTextModel(config))


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-pair vocabulary of CLIP's form that knows lower case letters and the word "red"."""
    letters = "!abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(letter + "</w>" for letter in letters), "re", "red</w>", START, END]
    return {token: i for i, token in enumerate(tokens)}, [("r", "e"), ("re", "d</w>")]


def write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    ids, merges = vocabulary()
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")


def diffusers_folder(folder: Path) -> Path:
    """What diffusers and transformers save, part by part."""
    peer_vqgan().save_pretrained(folder / "vqvae")
    peer_transformer().save_pretrained(folder / "transformer")
    peer_text_encoder().save_pretrained(folder / "text_encoder")
    VQDiffusionScheduler(num_vec_classes=K + 1, num_train_timesteps=T).save_pretrained(folder / "scheduler")
    null = LearnedClassifierFreeSamplingEmbeddings(learnable=True, hidden_size=TEXT_WIDTH, length=LENGTH)
    randomise(null).save_pretrained(folder / "learned_classifier_free_sampling_embeddings")
    write_tokenizer(folder / "tokenizer")
    return folder
