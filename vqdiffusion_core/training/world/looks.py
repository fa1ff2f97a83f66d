"""Looks: the four icon sets as they are, and three finishes that are made of them. All objects of a scene share one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from .material import Icons, solid
from .subjects import Subject

MARGIN = 0.25  # cells that stay free around an object
BORDER = 0.6  # cells of a sticker's white edge
CONTOUR = 0.35  # cells of an outline
PIXEL = 0.5  # cells of a pixel-art pixel
SHADE = 0.3  # of black at an object's foot
PALETTE = 12  # colours of a pixel-art object
INK = (28, 26, 34)

Finish = Callable[
    [Image.Image, int, int], Image.Image
]  # a cut icon, cells, pixels a cell -> an object that fills its box


def plain(icon: Image.Image, cells: int, cell: int) -> Image.Image:
    return stand(fit(icon, (cells - 2 * MARGIN) * cell), cells * cell, round(MARGIN * cell))


def sticker(icon: Image.Image, cells: int, cell: int) -> Image.Image:
    """Die-cut: a white border, and a soft shadow beneath."""
    edge = BORDER * cell
    drawn = stand(fit(icon, (cells - 2 * MARGIN) * cell - 2 * edge), cells * cell, round(MARGIN * cell + edge))
    border = grown(drawn.getchannel("A"), edge)
    shadow = Image.new("L", border.size)
    shadow.paste(border.point(lambda alpha: int(0.4 * alpha)), (0, round(0.2 * cell)))
    image = of_colour((40, 40, 60), shadow.filter(ImageFilter.GaussianBlur(0.2 * cell)))
    image.alpha_composite(of_colour((255, 255, 255), border))
    image.alpha_composite(drawn)
    return image


def outline(icon: Image.Image, cells: int, cell: int) -> Image.Image:
    """Ink around the object and along the edges within."""
    edge = CONTOUR * cell
    drawn = stand(fit(icon, (cells - 2 * MARGIN) * cell - 2 * edge), cells * cell, round(MARGIN * cell + edge))
    alpha = drawn.getchannel("A")
    image = of_colour(INK, grown(alpha, edge))
    image.alpha_composite(drawn)
    image.alpha_composite(of_colour(INK, ImageChops.multiply(inner_edges(drawn), alpha)))
    return image


def pixel(icon: Image.Image, cells: int, cell: int) -> Image.Image:
    """A few colours on a grid of half cells, hard at the rim."""
    side = round(cells / PIXEL)
    small = stand(fit(icon, side - 2 * MARGIN / PIXEL), side, round(MARGIN / PIXEL))
    colours = unpremultiplied(small).quantize(PALETTE, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image = colours.convert("RGBA")
    image.putalpha(solid(small, 110))
    return image.resize((cells * cell, cells * cell), Image.Resampling.NEAREST)


LOOKS: dict[str, tuple[str, Finish]] = {  # the icon set, and what is made of it
    "3D": ("3D", plain),
    "flat": ("flat", plain),
    "noto": ("noto", plain),
    "twemoji": ("twemoji", plain),
    "sticker": ("flat", sticker),
    "outline": ("twemoji", outline),
    "pixel": ("noto", pixel),
}


def fit(icon: Image.Image, longest: float) -> Image.Image:
    """The icon at `longest` pixels along its longer side."""
    factor = longest / max(icon.size)
    return icon.resize(
        (max(1, round(icon.width * factor)), max(1, round(icon.height * factor))), Image.Resampling.LANCZOS
    )


def stand(drawn: Image.Image, side: int, margin: int) -> Image.Image:
    """In a box of `side` pixels, in the middle and at the foot."""
    box = Image.new("RGBA", (side, side))
    box.paste(drawn, ((side - drawn.width) // 2, side - margin - drawn.height))
    return box


def grown(alpha: Image.Image, pixels: float) -> Image.Image:
    """A mask with a round rim `pixels` wider."""
    padded = np.asarray(alpha.filter(ImageFilter.GaussianBlur(pixels)), dtype=np.float32) / 255
    return Image.fromarray((np.clip(padded * 9 - 0.7, 0, 1) * 255).astype(np.uint8))


def of_colour(colour: tuple[int, int, int], alpha: Image.Image) -> Image.Image:
    image = Image.new("RGBA", alpha.size, colour)
    image.putalpha(alpha)
    return image


def inner_edges(drawn: Image.Image) -> Image.Image:
    """Where colours change quickly, 0..255."""
    pixels = np.asarray(unpremultiplied(drawn), dtype=np.float32)
    across, down = (np.abs(np.diff(pixels, axis=axis)).sum(-1) for axis in (1, 0))
    change = np.zeros(pixels.shape[:2], dtype=np.float32)
    change[:, 1:] += across
    change[1:] += down
    return Image.fromarray((np.clip((change - 120) / 160, 0, 1) * 200).astype(np.uint8))


def unpremultiplied(drawn: Image.Image) -> Image.Image:
    """Without its alpha, what is transparent taking the colour of what is near."""
    near = drawn.convert("RGBa").filter(ImageFilter.BoxBlur(2)).convert("RGBA").convert("RGB")
    near.paste(drawn.convert("RGB"), mask=solid(drawn, 200))
    return near


class Sprites:
    """Objects ready to be pasted, finished when they are first asked for. `cell`: pixels a cell."""

    def __init__(self, cell: int, icons: Icons):
        self.cell = cell
        self.icons = icons
        self.sprite = lru_cache(maxsize=8192)(self.draw)
        self.shadow = lru_cache(maxsize=8192)(self.shade)

    def __reduce__(self) -> tuple[type[Sprites], tuple[int, Icons]]:
        return Sprites, (self.cell, self.icons)  # to other processes, without what is kept

    def draw(self, subject: Subject, look: str, cells: int) -> Image.Image:
        """One subject in a look, RGBA, `cells` cells high and wide."""
        icon_set, finish = LOOKS[look]
        return finish(self.icons.image(icon_set, subject.icon), cells, self.cell)

    def shade(self, subject: Subject, look: str, cells: int) -> Image.Image:
        """The soft shadow at an object's foot: a mask as wide as its box and two cells high, its middle the foot."""
        alpha = np.asarray(self.sprite(subject, look, cells).getchannel("A"))
        columns = np.flatnonzero(alpha[-alpha.shape[0] // 4 :].max(0) > 128)
        left, right = (columns[0], columns[-1] + 1) if len(columns) else (0, alpha.shape[1])
        x = (np.arange(alpha.shape[1]) + 0.5 - (left + right) / 2) / ((right - left) / 2 + 0.3 * self.cell)
        y = (np.arange(2 * self.cell) + 0.5 - self.cell) / self.cell
        depth = np.clip(1.6 * (1 - np.hypot(x[None], y[:, None] * 1.15)), 0, 1)
        return Image.fromarray((SHADE * 255 * depth).astype(np.uint8))
