"""The recipe of the built-in model that draws the world: its subjects, its shapes and its budgets, in four runs."""

from __future__ import annotations

from ...networks.specs import VQGANSpec
from ..recipe import Shape
from .random_scenes import LOOK_SHARES
from .subjects import SUBJECTS

# What the transformer learns, where the codec learns all. Every subject in every look, at each of two sizes, is a
# pattern of tokens of its own: 1,352 of them, where the pocket model had 510 to learn.
CHOSEN = tuple(subject for subject in SUBJECTS if subject.chosen)
LOOKS = {look: LOOK_SHARES[look] for look in ("3D", "flat", "noto", "twemoji")}
SCENES = 30000

# The codec: small images from nothing, then twice their size with as many tokens.
SMALL_SIZE, SMALL_STEPS, SMALL_BATCH, CONTINUOUS_STEPS = 96, 2200, 12, 500
SMALL_CODEC = VQGANSpec(
    level_channels=(16, 32, 64),
    res_blocks=1,
    attention_levels=(2,),
    latent_channels=64,
    code_dim=16,
    codebook_size=2048,
    norm_groups=8,
    cells_alone=True,  # or an object would have other tokens on each ground: docs/world.md
)
SIZE, CODEC_STEPS, CODEC_BATCH = 192, 14000, 4

# The transformer on its tokens, then the decoder alone, for sharper images of the same tokens.
SHAPE, DIFFUSION_STEPS, DIFFUSION_BATCH = Shape(layers=6, width=256, heads=8), 41000, 32
DIFFUSION_RATE, FINE_RATE = 1e-3, 6e-4  # from nothing; going on from a model
TOKEN_SHARES = (0.25,)  # a step of 1.0 seconds of one core; all tokens would take 6
BLANK_SHARE = 0.3  # of a batch: a gradient's direction had been told right half of the time
DECODER_STEPS, DECODER_BATCH = 4000, 4
SAVE_EVERY = 200  # steps of these two
