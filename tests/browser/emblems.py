"""The pack's icon and banner, images of the pocket model in the middle of their runs."""

import numpy as np
import torch
from PIL import Image

from ...vqdiffusion_core.diffusion.settings import Settings
from ...vqdiffusion_core.model import VQDiffusion
from ...vqdiffusion_core.pipeline import decode, generate
from ...vqdiffusion_core.preview import fill_masked, hide_masked

ICON = "a tiger on a blue background"
BANNER = (  # three rows of seven: 21:9
    "an owl on a green background",
    "a strawberry on a yellow background",
    "a tulip on a purple background",
    "a hamburger on a blue background",
    "a panda on a pink background",
    "a watermelon on white",
    "a tiger on a blue background",
    "a ladybug on white",
    "a penguin on a blue background",
    "a donut on a yellow background",
    "a red apple on a pink background",
    "a frog on a purple background",
    "a sunflower on a blue background",
    "a pumpkin on a purple background",
    "a cactus on a pink background",
    "a lion on a blue background",
    "cherries on a green background",
    "a snowman on a red background",
    "a mushroom on a yellow background",
    "a koala on an orange background",
    "a fox on a white background",
)
COLUMNS = 7
ICON_CELL, BANNER_CELL = 32, 15  # pixels a token
ICON_PROGRESS = 0.85
UNVEILING = Settings(sampler="confidence", truncation=0.86)  # what is drawn stays, so that a run can be read


def icon(model: VQDiffusion) -> Image.Image:
    return unveiled(model, ICON, ICON_PROGRESS, ICON_CELL)


def banner(model: VQDiffusion) -> Image.Image:
    """Each column is further in its runs than the one on its left, and the last is done."""
    tiles = [
        np.asarray(unveiled(model, prompt, (i % COLUMNS + 1) / COLUMNS, BANNER_CELL)) for i, prompt in enumerate(BANNER)
    ]
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    return Image.fromarray(np.concatenate(rows))


def unveiled(model: VQDiffusion, prompt: str, progress: float, cell: int) -> Image.Image:
    """What this part of a run, 0 to 1, has drawn, with `cell` pixels a token and a checker on masked ones."""
    states = []
    generate(model, prompt, settings=UNVEILING, on_step=lambda step, tokens_BN: states.append(tokens_BN))
    spec = model.transformer.spec
    tokens_Bhw = states[round(progress * (len(states) - 1))].unflatten(1, spec.grid)
    rows, columns = spec.grid
    (drawn,) = decode(model, fill_masked(tokens_Bhw, spec.mask_id))
    large = np.array(drawn.resize((columns * cell, rows * cell), Image.Resampling.BICUBIC))
    shown = hide_masked(torch.from_numpy(large)[None] / 255, tokens_Bhw == spec.mask_id)[0]
    return Image.fromarray((shown * 255).round().byte().numpy())
