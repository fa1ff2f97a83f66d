"""A character, taught from images without captions: what each of them is called, and how it looks in other colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..distributed import Processes
from ..files.images import Colour
from ..networks.text_encoder import TextEncoder
from .data import Folder

VIEWS, EVERY = 6, 3  # of each image, of which every third is of another colour
PLAIN = 12.0  # how far, on the average, the colours of a border may lie from their middle and still be one ground
SHADES = (0, 1 / 3), (255, 1 / 4)  # of a colour: dark and light ones, and how much of it is in them
COLOURS = {  # what grounds, and things in other colours, are called
    "black": (20, 20, 20),
    "white": (250, 250, 250),
    "gray": (140, 145, 150),
    "red": (214, 48, 49),
    "orange": (243, 146, 55),
    "yellow": (250, 218, 94),
    "green": (76, 175, 80),
    "blue": (52, 120, 219),
    "purple": (142, 68, 173),
    "pink": (248, 165, 194),
    "brown": (121, 85, 61),
}


class FolderOfWord(Folder):
    """Images of a folder without captions, all of what one word means, each in its `VIEWS`."""

    def __init__(
        self, folder: Path, size: int, word: str, text_encoder: TextEncoder, background: Colour, processes: Processes
    ):
        super().__init__(folder, size, captions=False, background=background, processes=processes)
        self.word, self.colours = word, known_colours(text_encoder)
        self.listed = [[name_image(word, self.open(path))] for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths) * VIEWS

    def __getitem__(self, index: int) -> tuple[Image.Image, list[str]]:
        image, caption = view(self.open(self.paths[index // VIEWS]), self.word, index, self.colours)
        return image, [caption]


def views(
    images: Sequence[Image.Image], word: str, text_encoder: TextEncoder
) -> tuple[list[Image.Image], list[list[str]]]:
    """The `VIEWS` of RGB images that are open already, and the captions of each."""
    every, colours = [image for image in images for _ in range(VIEWS)], known_colours(text_encoder)
    seen = [view(image, word, number, colours) for number, image in enumerate(every)]
    return [image for image, _ in seen], [[caption] for _, caption in seen]


def known_colours(text_encoder: TextEncoder) -> list[str]:
    """Those of `COLOURS` that a model has words for."""
    return [colour for colour in COLOURS if not text_encoder.unknown_words(colour)]


def view(image: Image.Image, word: str, number: int, colours: Sequence[str]) -> tuple[Image.Image, str]:
    """An RGB image and what it is called; every third in another colour, one colour after the other, which the caption
    names: "a red zimbo on a blue background".

    So its shape is learned in tokens of many colours. With those of its own alone, a style that changes colours either
    does nothing to it or makes another thing of it: docs/teach.md.
    """
    others = [colour for colour in colours if colour != ground_of(image)]
    turn, step = divmod(number, EVERY)
    if step < EVERY - 1 or not others:
        return image, name_image(word, image)
    colour = others[turn % len(others)]
    return recoloured(image, COLOURS[colour]), name_image(f"{colour} {word}", image)


def recoloured(image: Image.Image, colour: Colour) -> Image.Image:
    """What stands on the ground, in shades of one colour; everything, where the ground is not plain."""
    dark, light = (tuple(round(toward + (c - toward) * share) for c in colour) for toward, share in SHADES)
    shades = ImageOps.colorize(image.convert("L"), dark, light)
    if ground_of(image) is None:
        return shades
    pixels_HW3 = np.asarray(image, dtype=np.float32)
    far_HW = np.abs(pixels_HW3 - border_colour(pixels_HW3)).mean(-1)
    mask_HW = ((far_HW / PLAIN - 1).clip(0, 1) * 255).astype(np.uint8)
    return Image.composite(shades, image, Image.fromarray(mask_HW))


def name_image(word: str, image: Image.Image) -> str:
    """A caption: the word, and the ground where it is of one colour.

    >>> name_image("owl", Image.new("RGB", (96, 96), "#d63031"))
    'an owl on a red background'
    """
    named = f"{article(word)} {word}"
    colour = ground_of(image)
    return f"{named} on {article(colour)} {colour} background" if colour else named


def article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"


def ground_of(image: Image.Image) -> str | None:
    """What the colour of an image's border is called; None where it is not one."""
    pixels_HW3 = np.asarray(image.convert("RGB"), dtype=np.float32)
    middle = border_colour(pixels_HW3)
    if np.abs(border(pixels_HW3) - middle).mean() > PLAIN:
        return None
    return min(COLOURS, key=lambda name: float(np.abs(middle - COLOURS[name]).sum()))


def border_colour(pixels_HW3: NDArray[np.float32]) -> NDArray[np.float32]:
    """The middle (3,) of a border's colours."""
    return np.median(border(pixels_HW3), axis=0)


def border(pixels_HW3: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pixels (M, 3) along the edges."""
    edge = max(1, min(pixels_HW3.shape[:2]) // 24)
    sides = (pixels_HW3[:edge], pixels_HW3[-edge:], pixels_HW3[:, :edge], pixels_HW3[:, -edge:])
    return np.concatenate([side.reshape(-1, 3) for side in sides])
