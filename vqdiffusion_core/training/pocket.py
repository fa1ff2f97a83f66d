"""The recipe of the embedded pocket model: its shape, its data, and the three steps that make it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..model import VQDiffusion
from ..schedule import Schedule
from ..specs import TransformerSpec, VQGANSpec
from ..text_encoder import TextEncoder
from ..transformer import Transformer
from ..vqgan import VQGAN
from . import scenes
from .codec import CodecTraining
from .diffusion import DiffusionTraining, Networks, initialise
from .loop import resume, run
from .tokenizer import train_tokenizer

SEED = 0
CODEC = VQGANSpec(
    level_channels=(16, 32, 64, 128),
    res_blocks=1,
    attention_levels=(3,),
    latent_channels=128,
    code_dim=16,
    codebook_size=512,
    norm_groups=8,
)
TRANSFORMER = TransformerSpec(
    codebook_size=512,
    grid=(scenes.CANVAS // CODEC.downscale,) * 2,
    layers=6,
    width=192,
    heads=6,
    num_timesteps=100,
    text_width=128,
)
TEXT_LENGTH = 24


def train_codec(folder: Path, steps: int, report: Callable[[str], None] = print) -> None:
    """Bring the VQGAN in `folder` to `steps` steps."""
    torch.manual_seed(SEED)
    run(CodecTraining(new_codec(), ScenePictures(), seed=SEED), folder, steps, report=report)


def train_diffusion(folder: Path, codec_folder: Path, steps: int, report: Callable[[str], None] = print) -> None:
    """Bring the transformer and its text encoder in `folder` to `steps` steps, on the tokens of a trained codec."""
    training = new_diffusion(load_codec(codec_folder))
    run(training, folder, steps, report=report)


def assemble(folder: Path, codec_folder: Path) -> VQDiffusion:
    """The trained parts, with the averaged weights, as a model."""
    vqgan = load_codec(codec_folder)
    training = new_diffusion(vqgan)
    resume(training, folder)
    networks = training.ema
    return VQDiffusion(
        "pocket", networks.transformer, training.schedule, vqgan, networks.text_encoder, networks.null_1LD.detach()
    )


def new_codec() -> VQGAN:
    return VQGAN(CODEC).to(memory_format=torch.channels_last)


def load_codec(folder: Path) -> VQGAN:
    codec = new_codec()
    if not resume(CodecTraining(codec, ScenePictures()), folder):
        raise FileNotFoundError(f"No codec checkpoint in {folder}; train the codec first.")
    return codec.eval().requires_grad_(False)


def new_diffusion(codec: VQGAN) -> DiffusionTraining:
    torch.manual_seed(SEED)
    text_encoder = new_text_encoder()
    transformer = Transformer(TRANSFORMER)
    initialise(transformer)
    return DiffusionTraining(
        Networks(transformer, text_encoder),
        Schedule.linear(TRANSFORMER.num_timesteps, TRANSFORMER.codebook_size),
        SceneTokens(codec, text_encoder),
        seed=SEED,
    )


def new_text_encoder() -> TextEncoder:
    from transformers import CLIPTextConfig, CLIPTextModel

    rng = random.Random(SEED)
    captions = [scene.caption(rng) for scene in scenes.all_scenes() for _ in range(3)]
    tokenizer = train_tokenizer(captions, merges=600)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TRANSFORMER.text_width,
        intermediate_size=4 * TRANSFORMER.text_width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=0,
    )
    return TextEncoder(CLIPTextModel(config), tokenizer)


class ScenePictures:
    """What the codec learns from: mostly the scenes themselves, and one in five with another size, place or colour."""

    def __init__(self):
        self.plain = torch.stack([to_tensor(scenes.render(scene)) for scene in scenes.all_scenes()])

    def __call__(self, generator: torch.Generator, count: int) -> Tensor:
        return torch.stack([self.one(generator) for _ in range(count)])

    def one(self, generator: torch.Generator) -> Tensor:
        if torch.rand(1, generator=generator).item() < 0.8:
            return self.plain[torch.randint(len(self.plain), (1,), generator=generator).item()]
        rng = random.Random(torch.randint(2**31, (1,), generator=generator).item())
        size = rng.randint(scenes.GLYPH // 2, scenes.GLYPH)
        corner = (rng.randint(0, scenes.CANVAS - size), rng.randint(0, scenes.CANVAS - size))
        any_colour = tuple(rng.randint(0, 255) for _ in range(3))
        background = any_colour if rng.random() < 0.5 else rng.choice(list(scenes.COLOURS.values()))
        return to_tensor(scenes.compose(rng.choice(scenes.SUBJECTS).glyph, background, size, corner))


class SceneTokens:
    """What the transformer learns from: every scene's tokens, encoded once, with one of its captions."""

    WORDINGS = 8  # drawn a scene, each as often as the caption's own weights say

    def __init__(self, codec: VQGAN, text_encoder: TextEncoder):
        rng = random.Random(SEED)
        all_scenes = scenes.all_scenes()
        self.tokens_SN = torch.cat([encode(codec, scenes.render(scene)) for scene in all_scenes])
        self.ids_SWL = torch.tensor(
            [[text_encoder.tokenize(scene.caption(rng)) for _ in range(self.WORDINGS)] for scene in all_scenes]
        )

    def __call__(self, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        scene_B = torch.randint(len(self.tokens_SN), (count,), generator=generator)
        wording_B = torch.randint(self.WORDINGS, (count,), generator=generator)
        return self.tokens_SN[scene_B], self.ids_SWL[scene_B, wording_B]


@torch.no_grad()
def encode(codec: VQGAN, picture: Image.Image) -> Tensor:
    return codec.encode(to_tensor(picture)[None]).flatten(1)


def to_tensor(picture: Image.Image) -> Tensor:
    """RGB picture -> (3, H, W) in -1..1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1
