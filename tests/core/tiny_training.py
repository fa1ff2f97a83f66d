"""Training runs small enough to repeat in a second: three images of 16 x 16 pixels, a codec of 16 codes."""

import random
from dataclasses import replace

import torch
from pack.vqdiffusion_core.distributed import ALONE
from pack.vqdiffusion_core.model import VQDiffusion
from pack.vqdiffusion_core.networks.gpt import GPT
from pack.vqdiffusion_core.networks.inference import FastTransformer
from pack.vqdiffusion_core.networks.specs import TextSpec, VQGANSpec
from pack.vqdiffusion_core.networks.text_encoder import TextEncoder, clip_text_model
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from pack.vqdiffusion_core.training import recipe
from pack.vqdiffusion_core.training.adapters import AdaptedNetworks
from pack.vqdiffusion_core.training.autoregressive import AutoregressiveTraining, GPTNetworks
from pack.vqdiffusion_core.training.diffusion import DiffusionTraining, Networks
from pack.vqdiffusion_core.training.examples import Examples
from pack.vqdiffusion_core.training.matching import MatchingTraining
from PIL import Image

CODEC = VQGANSpec((8, 8), 1, (), 8, 4, codebook_size=16, norm_groups=4)
COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 90, 210)}


class Images:
    """A coloured image with a brighter half, and its name."""

    size = 16

    def __init__(self, count=3):
        self.colours = dict([*COLOURS.items()][:count])
        self.opened = []

    def random_image(self, rng):
        return paint(rng.choice(list(self.colours.values())), rng.randint(2, 14))

    def captions(self):
        return [f"a {colour} image" for colour in self.colours]

    def __len__(self):
        return len(self.colours)

    def __getitem__(self, index):
        name, colour = [*self.colours.items()][index]
        self.opened.append(name)
        return paint(colour, 8), [f"a {name} image", f"{name}"]


def write_images(folder):
    """The images as files, each with its caption beside it; gives the folder back."""
    for name, colour in COLOURS.items():
        paint(colour, 8).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a {name} image")
    return folder


def paint(colour, height):
    image = Image.new("RGB", (16, 16), colour)
    image.paste(tuple(channel + 45 for channel in colour), (0, 0, 16, height))
    return image


def codec(folder, processes=ALONE, **settings):
    return recipe.new_codec_training(CODEC, Images(), processes, **{"batch": 4, "continuous_steps": 3} | settings)


def decoder(folder, processes=ALONE, **settings):
    """Training of the decoder alone, of a codec without any."""
    torch.manual_seed(1)
    return recipe.codec_fine_tuning(VQGAN(CODEC), "decoder", Images(), processes, **{"batch": 4} | settings)


def diffusion(folder, processes=ALONE, model=None, kernel="absorbing", source=None, layers=1, **settings):
    """Training of a new model, or of `model`."""
    source = source or Images()
    if model is None:
        torch.manual_seed(1)
        codec = VQGAN(CODEC)
        model = recipe.new_model(codec, source, folder, processes, recipe.Shape(layers, 16, 2), kernel)
    return recipe.diffusion_training(model, source, folder, processes, **{"batch": 4} | settings)


def matching(folder, processes=ALONE, **settings):
    """Training of a text encoder before a new model learns."""
    begun = diffusion(folder, processes, **settings)
    networks = begun.networks
    parts = (networks.text_encoder, networks.transformer.spec.grid, begun.examples, begun.vqgan, processes)
    return MatchingTraining(*parts, begun.mixed)


def autoregressive(folder, processes=ALONE, **settings):
    """Training of a new model that draws token after token."""
    torch.manual_seed(1)
    codec = VQGAN(CODEC)
    model = recipe.new_autoregressive_model(codec, Images(), folder, processes, recipe.Shape(1, 16, 2))
    return recipe.autoregressive_training(model, Images(), folder, processes, **{"batch": 4} | settings)


def on_tokens(spec, text=None, kernel="absorbing", rank=None, **settings):
    """Training of a network of this shape, or of a LoRA of this rank, on tokens at random with captions at random."""
    text = text or TextSpec(vocabulary=50, length=10, width=24, layers=1, heads=2, mlp_width=96)
    torch.manual_seed(0)
    encoder = TextEncoder(clip_text_model(text), tokenizer=None)
    transformer = FastTransformer(replace(spec, text_width=text.width))
    null_1LD, schedule = (
        torch.zeros(1, text.length, text.width),
        recipe.KERNELS[kernel](spec.num_timesteps, spec.codebook_size),
    )
    codec = VQGAN(CODEC)
    if rank is None:
        networks = Networks(transformer, encoder, null_1LD)
    else:
        networks = AdaptedNetworks(VQDiffusion("tiny", transformer, schedule, codec, encoder, null_1LD), rank, [3])
        networks.freeze_in(torch.bfloat16)
    tokens_SN = torch.randint(spec.codebook_size, (4, spec.num_tokens))
    examples = Examples(tokens_SN, [*torch.randint(text.vocabulary, (4, 1, text.length))], codec="")
    return DiffusionTraining(networks, schedule, examples, codec, **settings)


def causal_on_tokens(spec, **settings):
    """As `on_tokens`, of a network that draws token after token, on tokens that are all alike."""
    text = TextSpec(vocabulary=50, length=spec.prefix, width=spec.text_width, layers=1, heads=2, mlp_width=96)
    torch.manual_seed(0)
    encoder = TextEncoder(clip_text_model(text), tokenizer=None)
    networks = GPTNetworks(GPT(spec), encoder, torch.zeros(1, text.length, text.width))
    tokens_SN = torch.zeros(4, spec.num_tokens, dtype=torch.long)
    examples = Examples(tokens_SN, [torch.zeros(1, text.length, dtype=torch.long)] * 4, codec="")
    return AutoregressiveTraining(networks, examples, VQGAN(CODEC), **settings)


def take_steps(training, count, progress=0.5):
    """The metrics of the first steps."""
    for step, batch in enumerate(training.batches(range(count))):
        yield training.step(step, progress, batch)


def rng(seed=0):
    return random.Random(seed)
