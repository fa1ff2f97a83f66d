"""What objects stand on: a colour, a gradient of two, or a land at a time of day, drawn by formula in cells."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

CELLS = 24  # along each side of an image
VARIANTS = 16  # of each land at each time: other hills, other clouds; every second one has a sun or moon in its sky

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (214, 48, 49),
    "orange": (243, 146, 55),
    "yellow": (250, 218, 94),
    "green": (76, 175, 80),
    "turquoise": (64, 196, 190),
    "blue": (52, 120, 219),
    "navy": (28, 40, 92),
    "purple": (142, 68, 173),
    "pink": (248, 165, 194),
    "brown": (121, 85, 61),
    "beige": (236, 220, 190),
    "gray": (140, 145, 150),
    "white": (250, 250, 250),
    "black": (20, 20, 24),
}


@dataclass(frozen=True)
class Plain:
    colour: str

    @property
    def parts(self) -> tuple[str, ...]:
        """What of it may be held out for a subject."""
        return (self.colour,)


@dataclass(frozen=True)
class Gradient:
    top: str
    bottom: str

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.top, self.bottom)


@dataclass(frozen=True)
class Land:
    name: str
    time: str
    variant: int = 0

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def has_light(self) -> bool:
        """Whether a sun or a moon is in its sky."""
        return self.variant % 2 == 0


Ground = Plain | Gradient | Land


@dataclass(frozen=True)
class Time:
    """The sky's colours from the top to the horizon, and what its light makes of the colours on the ground."""

    sky: tuple[Colour, ...]
    light: tuple[float, float, float]
    sun: Colour
    cloud: Colour
    haze: float = 0.0  # share of the horizon's colour in all others

    def lit(self, colour: Colour, share: float = 1.0) -> Colour:
        """A colour in this light; `share` less than 1 is nearer to the horizon's, as what is far away."""
        share *= 1 - self.haze
        near = [channel * light for channel, light in zip(colour, self.light, strict=True)]
        red, green, blue = (
            round(share * mine + (1 - share) * far) for mine, far in zip(near, self.sky[-1], strict=True)
        )
        return red, green, blue


TIMES = {
    "day": Time(((64, 156, 238), (150, 212, 250), (206, 238, 252)), (1, 1, 1), (255, 226, 92), (255, 255, 255)),
    "sunset": Time(
        ((92, 58, 142), (226, 94, 112), (255, 190, 104)), (0.86, 0.62, 0.6), (255, 232, 150), (250, 150, 140)
    ),
    "night": Time(((12, 16, 54), (26, 34, 92), (52, 66, 138)), (0.42, 0.46, 0.68), (250, 240, 196), (62, 72, 130), 0.3),
    "morning": Time(
        ((140, 190, 236), (250, 208, 214), (255, 238, 196)), (0.98, 0.9, 0.86), (255, 214, 120), (255, 248, 246)
    ),
}


class Painting:
    """An image in the making. Shapes are masks with soft rims of a pixel, (size, size) in 0..1; lengths are cells."""

    def __init__(self, size: int):
        self.size = size
        self.pixel = CELLS / size
        centres = (np.arange(size, dtype=np.float32) + 0.5) * self.pixel
        self.x, self.y = centres[None, :], centres[:, None]
        self.rgb = np.zeros((size, size, 3), dtype=np.float32)

    def fill(self, colours: tuple[Colour, ...], foot: float = CELLS) -> None:
        """A straight gradient down to `foot`."""
        share = np.clip(self.y[:, 0] / foot, 0, 1)
        stops = np.linspace(0, 1, len(colours))
        rows = np.stack([np.interp(share, stops, [c[channel] for c in colours]) for channel in range(3)], -1)
        self.rgb[:] = rows[:, None]

    def paint(self, mask: np.ndarray, colour: Colour, opacity: float = 1.0) -> None:
        mask = mask[..., None] * opacity
        self.rgb += mask * (np.array(colour, dtype=np.float32) - self.rgb)

    def soft(self, inside: np.ndarray) -> np.ndarray:
        """A mask of where a signed distance is positive."""
        return np.clip(inside / self.pixel + 0.5, 0, 1)

    def below(self, line: np.ndarray | float) -> np.ndarray:
        return self.soft(self.y - line)

    def ellipse(self, x: float, y: float, across: float, down: float) -> np.ndarray:
        """Its radii are `across` and `down`."""
        distance = np.hypot((self.x - x) / across, (self.y - y) / down)
        return self.soft((1 - distance) * min(across, down))

    def triangle(self, x: float, foot: float, width: float, height: float) -> np.ndarray:
        half = width / 2 * np.clip((self.y - (foot - height)) / height, 0, 1)
        return self.soft(half - np.abs(self.x - x)) * self.below(foot - height) * self.soft(foot - self.y)

    def image(self) -> Image.Image:
        return Image.fromarray(self.rgb.round().clip(0, 255).astype(np.uint8))


def draw(ground: Ground, size: int) -> Image.Image:
    """The ground alone, RGB, `size` pixels high and wide."""
    painting = Painting(size)
    match ground:
        case Plain(colour):
            painting.fill((COLOURS[colour],))
        case Gradient(top, bottom):
            painting.fill((COLOURS[top], COLOURS[bottom]))
        case Land():
            paint_land(painting, ground)
    return painting.image()


drawn = lru_cache(maxsize=1024)(draw)


def paint_land(painting: Painting, land: Land) -> None:
    time = TIMES[land.time]
    rng = random.Random(f"{land.name} {land.variant}")  # the same hills at any time of day
    painting.fill(time.sky, HORIZON[land.name])
    paint_sky(painting, land, time, random.Random(f"sky {land.name} {land.variant}"))
    LANDS[land.name](painting, time, rng)


def paint_sky(painting: Painting, land: Land, time: Time, rng: random.Random) -> None:
    if land.time == "night":
        for _ in range(26):
            radius = rng.choice((0.1, 0.13, 0.2))
            painting.paint(
                painting.ellipse(rng.uniform(0, 24), rng.uniform(0, 12), radius, radius), (255, 250, 220), 0.9
            )
    low = land.time in ("sunset", "morning")
    x, y = rng.choice((4.5, 19.5)), HORIZON[land.name] - 1.5 if low else 4
    if land.has_light:
        radius = 2.4 if low else 1.9
        painting.paint(painting.ellipse(x, y, radius * 1.9, radius * 1.9), time.sun, 0.16)
        painting.paint(painting.ellipse(x, y, radius * 1.4, radius * 1.4), time.sun, 0.22)
        disc = painting.ellipse(x, y, radius, radius)
        if land.time == "night":
            disc = disc * (1 - painting.ellipse(x + 0.9, y - 0.5, radius * 0.85, radius * 0.85))
        painting.paint(disc, time.sun)
    for _ in range(rng.choice((1, 2))):
        away = 24 - x if land.has_light else rng.uniform(3, 21)
        cloud(painting, away + rng.uniform(-3, 3), rng.uniform(2.5, 6), rng.uniform(0.7, 1.1), time)


def cloud(painting: Painting, x: float, y: float, scale: float, time: Time) -> None:
    puffs = ((-1.6, 0.1, 1.0), (-0.3, -0.5, 1.4), (1.2, -0.1, 1.1))
    mask = np.zeros_like(painting.rgb[..., 0])
    for across, down, radius in puffs:
        mask = np.maximum(mask, painting.ellipse(x + across * scale, y + down * scale, radius * scale, radius * scale))
    painting.paint(mask * painting.soft(y + 0.55 * scale - painting.y), time.cloud, 0.85)


def hills(painting: Painting, height: float, swing: float, rng: random.Random, waves: float = 1.2) -> np.ndarray:
    """A rolling line across the image."""
    turn = [rng.uniform(0, math.tau) for _ in range(2)]
    x = painting.x[0] / CELLS * math.tau
    return (height + swing * (np.sin(waves * x + turn[0]) + 0.4 * np.sin(2.3 * waves * x + turn[1])))[None, :]


def peaks(painting: Painting, foot: float, height: float, rng: random.Random, count: int) -> np.ndarray:
    """A jagged line: its summits up to `height` above `foot`, its saddles a third as high."""
    places = np.linspace(-3, 27, 2 * count + 1) + [rng.uniform(-0.7, 0.7) for _ in range(2 * count + 1)]
    heights = [height * rng.uniform(0.7, 1) if i % 2 else height * rng.uniform(0.2, 0.4) for i in range(2 * count + 1)]
    return (foot - np.interp(painting.x[0], places, heights))[None, :]


def speckle(painting: Painting, colour: Colour, rng: random.Random, count: int, top: float, size: float) -> None:
    for _ in range(count):
        x, y = rng.uniform(0, 24), rng.uniform(top, 23.6)
        scale = size * (0.7 + 0.5 * (y - top) / (24 - top))
        painting.paint(painting.ellipse(x, y, scale, scale * 0.8), colour)


def meadow(painting: Painting, time: Time, rng: random.Random) -> None:
    far = hills(painting, 12.3, 1.0, rng)
    painting.paint(painting.below(far), time.lit((104, 178, 104), 0.75))
    for _ in range(rng.choice((2, 3, 4))):
        x = rng.uniform(1, 23)
        y = float(np.interp(x, painting.x[0], far[0])) + 0.4
        painting.paint(painting.ellipse(x, y - 0.9, 0.9, 1.1), time.lit((58, 134, 82), 0.85))
    near = hills(painting, 15.4, 0.7, rng, 0.9)
    painting.paint(painting.below(near), time.lit((112, 196, 84)))
    painting.paint(painting.below(near + 4.5), time.lit((98, 182, 74)))
    for colour in ((255, 255, 255), (255, 214, 92), (244, 130, 160)):
        speckle(painting, time.lit(colour), rng, 4, 17, 0.22)


def beach(painting: Painting, time: Time, rng: random.Random) -> None:
    horizon = HORIZON["beach"]
    painting.paint(painting.below(horizon), time.lit((40, 140, 214), 0.95))
    painting.paint(painting.below(horizon + 1.5), time.lit((52, 170, 220)))
    sparkle(painting, time, rng, horizon + 0.6, 15.5, 5)
    shore = hills(painting, 16.6, 0.45, rng, 1.6)
    painting.paint(painting.below(shore - 0.5), time.lit((236, 250, 252)))
    painting.paint(painting.below(shore), time.lit((222, 190, 140)))
    painting.paint(painting.below(shore + 0.7), time.lit((246, 220, 168)))
    speckle(painting, time.lit((226, 196, 142)), rng, 9, 18.3, 0.2)


def sea(painting: Painting, time: Time, rng: random.Random) -> None:
    horizon = HORIZON["sea"]
    painting.paint(painting.below(horizon), time.lit((66, 160, 226), 0.85))
    for depth, colour in ((2.4, (44, 140, 214)), (5.4, (34, 120, 198)), (8.4, (26, 102, 180))):
        painting.paint(painting.below(hills(painting, horizon + depth, 0.28, rng, 4)), time.lit(colour))
    sparkle(painting, time, rng, horizon + 1, 23, 10)


def sparkle(painting: Painting, time: Time, rng: random.Random, top: float, bottom: float, count: int) -> None:
    for _ in range(count):
        y = rng.uniform(top, bottom)
        width = 0.5 + 1.1 * (y - top) / (bottom - top + 1)
        painting.paint(painting.ellipse(rng.uniform(1, 23), y, width, 0.14), time.lit((232, 248, 255)), 0.7)


def desert(painting: Painting, time: Time, rng: random.Random) -> None:
    mesa = rng.uniform(3, 21)
    for width, height in ((8, 3.4), (4.5, 5.2)):
        slope = 0.35 * (painting.y - 13.5 + height)
        flat = painting.soft(width / 2 + slope - np.abs(painting.x - mesa)) * painting.below(13.5 - height)
        painting.paint(flat, time.lit((206, 116, 82), 0.7))
        painting.paint(flat * painting.below(13.5 - 0.6 * height), time.lit((188, 98, 72), 0.7))
        mesa += rng.choice((-1, 1)) * rng.uniform(8, 11)
    painting.paint(painting.below(hills(painting, 13.2, 0.7, rng)), time.lit((232, 178, 104), 0.9))
    near = hills(painting, 16, 0.9, rng, 0.8)
    painting.paint(painting.below(near), time.lit((242, 196, 120)))
    painting.paint(painting.below(near + 3.6 + 0.5 * np.sin(painting.x * 0.7)), time.lit((234, 182, 104)))
    speckle(painting, time.lit((188, 134, 84)), rng, 6, 18, 0.25)


def snow(painting: Painting, time: Time, rng: random.Random) -> None:
    painting.paint(painting.below(hills(painting, 11.8, 0.9, rng)), time.lit((206, 224, 242), 0.8))
    line = hills(painting, 13.2, 0.6, rng)
    painting.paint(painting.below(line), time.lit((226, 238, 250), 0.95))
    for _ in range(rng.choice((3, 4, 5))):
        x, scale = rng.uniform(0.5, 23.5), rng.uniform(0.8, 1.15)
        foot = float(np.interp(x, painting.x[0], line[0])) + 0.6
        for lift, width in ((0.0, 2.0), (0.9, 1.6), (1.7, 1.1)):
            tier = painting.triangle(x, foot - lift * scale, width * scale, 1.5 * scale)
            painting.paint(tier, time.lit((74, 130, 120), 0.9))
    near = hills(painting, 16.2, 0.6, rng, 0.9)
    painting.paint(painting.below(near), time.lit((246, 250, 255)))
    painting.paint(painting.below(near + 4), time.lit((230, 240, 252)))


def mountains(painting: Painting, time: Time, rng: random.Random) -> None:
    for height, colour, share, count in ((11.0, (128, 150, 190), 0.6, 2), (7.4, (96, 118, 164), 0.9, 3)):
        line = peaks(painting, 15.5, height, rng, count)
        rock = painting.below(line)
        painting.paint(rock, time.lit(colour, share))
        jagged = 15.5 - 0.6 * height + 0.35 * np.abs((painting.x * 1.1) % 2 - 1)
        painting.paint(rock * (1 - painting.below(jagged)), time.lit((244, 248, 255), 0.95))
    painting.paint(painting.below(hills(painting, 14.6, 0.4, rng)), time.lit((70, 140, 96), 0.9))
    near = hills(painting, 16.6, 0.5, rng, 0.9)
    painting.paint(painting.below(near), time.lit((124, 186, 96)))
    painting.paint(painting.below(near + 3.8), time.lit((108, 172, 84)))


LANDS: dict[str, Callable[[Painting, Time, random.Random], None]] = {
    "meadow": meadow,
    "beach": beach,
    "snow": snow,
    "desert": desert,
    "mountains": mountains,
    "sea": sea,
}
HORIZON = {"meadow": 13, "beach": 12.5, "snow": 13, "desert": 13.5, "mountains": 14, "sea": 12}
