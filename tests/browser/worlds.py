"""Sheets of the world that the built-in model draws: scenes at random with captions, every look on every land, every
subject, and what its codec makes of them.
"""

import random
import textwrap
from collections.abc import Iterable
from itertools import count, islice, product

import torch
from PIL import Image, ImageDraw, ImageFont

from ...vqdiffusion_core.networks.vqgan import VQGAN
from ...vqdiffusion_core.training.data import to_grid, to_tensor
from ...vqdiffusion_core.training.world import captions, scenes
from ...vqdiffusion_core.training.world.grounds import CELLS, LANDS, TIMES, Land, draw
from ...vqdiffusion_core.training.world.looks import LOOKS
from ...vqdiffusion_core.training.world.random_scenes import any_scene, seen_scene
from ...vqdiffusion_core.training.world.recipe import CHOSEN
from ...vqdiffusion_core.training.world.recipe import LOOKS as LEARNED
from ...vqdiffusion_core.training.world.scenes import Group, Scene
from ...vqdiffusion_core.training.world.source import World
from ...vqdiffusion_core.training.world.subjects import SUBJECTS

COLUMNS = 6
LINES, LINE = 3, 11  # of a caption: so many, so many pixels high
ACROSS, TILE_CELLS, TILE_CELL = 13, 10, 4  # subjects side by side; how large each is, and in how many pixels a cell
SHOWN = ("fox", "sailboat", "snowman", "cactus", "tent", "whale")  # of each land the first that it is shown with


def random_scenes(seed: int) -> Image.Image:
    rng = random.Random(seed)
    chosen = [seen_scene(rng) for _ in range(COLUMNS * COLUMNS)]
    return rendered(((scene, captions.say(scene, rng)) for scene in chosen), 120)


def looks_and_lands() -> Image.Image:
    subjects, times = {subject.name: subject for subject in SUBJECTS}, list(TIMES)
    chosen = [
        Scene((Group(subjects[name]),), look, Land(land, times[(row + column) % len(times)], (row + column) % 16))
        for row, look in enumerate(LOOKS)
        for column, (land, name) in enumerate(zip(LANDS, SHOWN, strict=True))
    ]
    return rendered(((scene, captions.caption(scene)) for scene in chosen), 96)


def through_codec(vqgan: VQGAN, size: int, seed: int) -> Image.Image:
    """Two rows of scenes of which no training showed a part, each above what a codec makes of it."""
    sprites, rng = World(size, 0).sprites, random.Random(seed)
    unseen = islice((scene for _ in count() if not scenes.is_seen(scene := any_scene(rng))), 2 * COLUMNS)
    shown = torch.stack([to_tensor(scenes.render(scene, sprites)) for scene in unseen])
    with torch.no_grad():
        drawn = vqgan.decode(vqgan.encode(shown))
    return to_grid(row for rows in zip(shown.split(COLUMNS), drawn.split(COLUMNS), strict=True) for row in rows)


def rendered(captioned: Iterable[tuple[Scene, str]], size: int) -> Image.Image:
    sprites = World(size, 0).sprites
    return sheet(((scenes.render(scene, sprites), caption) for scene, caption in captioned), COLUMNS)


def sheet(captioned: Iterable[tuple[Image.Image, str]], columns: int) -> Image.Image:
    """Square images of one size, each above its caption."""
    shown = list(captioned)
    size, gap = shown[0][0].width, 4
    width, height = size, size + LINES * LINE + 3
    rows = -(-len(shown) // columns)
    page = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(10)
    for i, (image, caption) in enumerate(shown):
        x, y = (gap + place * (side + gap) for place, side in ((i % columns, width), (i // columns, height)))
        page.paste(image, (x, y))
        lines = textwrap.wrap(caption, width // 5 - 1, max_lines=LINES, placeholder=" ...")
        pen.multiline_text((x, y + size + 1), "\n".join(lines), fill="black", font=font, spacing=0)
    return page


def all_subjects() -> Image.Image:
    """What the built-in model learns, each subject in the next of its looks; below, every land at every time of day."""
    sprites, looks = World(TILE_CELL * CELLS, 0, CHOSEN).sprites, list(LEARNED)
    tile = TILE_CELL * TILE_CELLS
    side, top = ACROSS * tile // len(LANDS), -(-len(CHOSEN) // ACROSS) * tile
    image = Image.new("RGB", (ACROSS * tile, top + side * len(TIMES)), "white")
    for i, subject in enumerate(CHOSEN):
        sprite = sprites.sprite(subject, looks[i % len(looks)], TILE_CELLS)
        image.paste(sprite, (i % ACROSS * tile, i // ACROSS * tile), sprite)
    for (row, time), (column, land) in product(enumerate(TIMES), enumerate(LANDS)):
        image.paste(draw(Land(land, time), side), (column * side, top + row * side))
    return image
