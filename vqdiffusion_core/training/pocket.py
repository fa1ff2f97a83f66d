"""The recipe of the embedded pocket model: its shape, its data, and the three steps that make it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checkpoints.vocabulary import read_vocabulary, write_vocabulary
from ..model import VQDiffusion
from ..schedule import Schedule
from ..specs import TextSpec, TransformerSpec, VQGANSpec
from ..text_encoder import TextEncoder, clip_text_model, clip_tokenizer
from ..transformer import Transformer
from ..vqgan import VQGAN
from . import scenes
from .codec import CodecTraining
from .diffusion import DiffusionTraining, Networks, initialise
from .loop import resume, run
from .tokenizer import learn_vocabulary

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
    grid=(scenes.CANVAS // CODEC.downscale, scenes.CANVAS // CODEC.downscale),
    layers=6,
    width=192,
    heads=6,
    num_timesteps=100,
    text_width=128,
)
TEXT_LENGTH = 24
MERGES = 600  # of the tokenizer, at most: nearly every word of the captions is one token


def train_codec(folder: Path, steps: int, report: Callable[[str], None] = print) -> None:
    """Bring the VQGAN in `folder` to `steps` steps."""
    torch.manual_seed(SEED)
    run(CodecTraining(new_codec(), ScenePictures(), seed=SEED), folder, steps, report=report)


def train_diffusion(folder: Path, codec_folder: Path, steps: int, report: Callable[[str], None] = print) -> None:
    """Bring the transformer and its text encoder in `folder` to `steps` steps, on the tokens of a trained codec."""
    run(new_diffusion(load_codec(codec_folder), folder), folder, steps, report=report)


def assemble(folder: Path, codec_folder: Path) -> VQDiffusion:
    """The trained parts, with the averaged weights, as a model."""
    vqgan = load_codec(codec_folder)
    training = new_diffusion(vqgan, folder)
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


def new_diffusion(codec: VQGAN, folder: Path) -> DiffusionTraining:
    torch.manual_seed(SEED)
    text_encoder = new_text_encoder(folder / "tokenizer")
    transformer = Transformer(TRANSFORMER)
    initialise(transformer)
    return DiffusionTraining(
        Networks(transformer, text_encoder),
        Schedule.linear(TRANSFORMER.num_timesteps, TRANSFORMER.codebook_size),
        SceneTokens(codec, text_encoder),
        seed=SEED,
    )


def new_text_encoder(tokenizer_folder: Path) -> TextEncoder:
    """The run's own tokenizer is kept: the order of equally frequent merges differs each time that one is trained."""
    vocabulary = read_vocabulary(tokenizer_folder) if tokenizer_folder.exists() else None
    if vocabulary is None:
        rng = random.Random(SEED)
        vocabulary = learn_vocabulary([scene.caption(rng) for scene in scenes.all_scenes() for _ in range(3)], MERGES)
        write_vocabulary(vocabulary, TEXT_LENGTH, tokenizer_folder)
    width = TRANSFORMER.text_width
    spec = TextSpec(len(vocabulary.ids), TEXT_LENGTH, width, layers=2, heads=4, mlp_width=4 * width)
    return TextEncoder(clip_text_model(spec), clip_tokenizer(vocabulary.ids, vocabulary.merges))


class ScenePictures:
    """What the codec learns from: mostly the scenes themselves, and one in five with another size, place or colour."""

    def __init__(self):
        self.plain = torch.stack([to_tensor(scenes.render(scene)) for scene in scenes.all_scenes()])

    def __call__(self, generator: torch.Generator, count: int) -> Tensor:
        return torch.stack([self.one(generator) for _ in range(count)])

    def one(self, generator: torch.Generator) -> Tensor:
        if torch.rand(1, generator=generator).item() < 0.8:
            return self.plain[int(torch.randint(len(self.plain), (1,), generator=generator))]
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        size = rng.randint(scenes.GLYPH // 2, scenes.GLYPH)
        corner = (rng.randint(0, scenes.CANVAS - size), rng.randint(0, scenes.CANVAS - size))
        any_colour = (rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255))
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
