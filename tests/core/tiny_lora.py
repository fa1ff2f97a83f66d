"""A model of random weights that reads text, and LoRAs of it."""

import torch
from pack.tests.core import tiny_training
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.lora import About, Lora
from pack.vqdiffusion_core.lora.lora import adaptable, shape_of, weights_mark
from pack.vqdiffusion_core.pipeline import generate


def model(folder, seed=1, width=16):
    """With a learned null."""
    torch.manual_seed(seed)
    images = tiny_training.Images()
    codec = tiny_training.VQGAN(tiny_training.CODEC)
    shape = tiny_training.recipe.Shape(2, width, 2)
    made = tiny_training.recipe.new_model(codec, images, folder, tiny_training.ALONE, shape, "absorbing", seed)
    made.learned_null_1LD = made.encode("")
    return made


def lora(model, seed=0, rank=2, size=0.1):
    """Of every layer, of two tokens and the null."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape):
        return size * torch.randn(*shape, generator=generator)

    shapes = adaptable(model.transformer)
    pairs = {name: (some(rank, width), some(rows, rank)) for name, (rows, width) in shapes.items()}
    about = About(rank, ("pim",), model.name, shape_of(model), weights_mark(model.transformer), {"steps": 3})
    tokens = {i: some(model.text_encoder.width) for i in model.text_encoder.tokenize("green")[1:2]}
    return Lora("pim.safetensors", pairs, about, tokens, some(*model.learned_null_1LD.shape))


def drawn(model, prompt="a green image", seed=0):
    """The tokens of an image, as bytes."""
    return generate(model, prompt, seed=seed, settings=Settings(steps=4))[0].tobytes()
