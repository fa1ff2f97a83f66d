"""The pocket model's world: one emoji or two on a background of one colour or a gradient, and captions that say so.

Noto Color Emoji is (c) Google, SIL Open Font License 1.1; Debian's package is fonts-noto-color-emoji. The font is read
from the machine when images are made for training or judging; nothing of it is part of this pack.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .subjects import SUBJECTS, Subject

FONT_PATHS = (
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf"),
)
STRIKE = 109  # the one pixel size of the font's bitmaps; they are 136 x 128
CANVAS = 96
LARGE, SMALL = 80, 44  # a subject's height on the canvas: large fills it, two small ones stand side by side

COLOURS = {
    "red": (214, 48, 49),
    "orange": (243, 146, 55),
    "yellow": (250, 218, 94),
    "green": (76, 175, 80),
    "blue": (52, 120, 219),
    "purple": (142, 68, 173),
    "pink": (248, 165, 194),
    "brown": (121, 85, 61),
    "gray": (140, 145, 150),
    "white": (250, 250, 250),
}
NAMES_OF_COLOURS = {"gray": ("gray", "grey"), "purple": ("purple", "violet")}  # of the others, the one name

# Every subject meets the token grid alike wherever it stands: its corner is a whole number of tokens of 8 pixels away
# from any other place of the same size. A token then means the same piece of the same subject.
PLACES = {
    ("large", 1): ((8, 8),),
    ("small", 1): ((26, 26),),
    ("small", 2): ((2, 26), (50, 26)),
}


@dataclass(frozen=True)
class Scene:
    """One subject, large or small in the middle, or two small ones, left and right."""

    subjects: tuple[Subject, ...]
    background: tuple[str, ...]  # one colour, or those of the top and the bottom
    size: str = "large"

    @property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """Where each subject is, in pixels: left, top, right, bottom."""
        height = LARGE if self.size == "large" else SMALL
        return [(x, y, x + height, y + height) for x, y in PLACES[self.size, len(self.subjects)]]

    @property
    def caption(self) -> str:
        """The plainest one: "a tiger and a red apple on a pink background"."""
        words = " and ".join(subject.phrase for subject in self.subjects)
        if self.size == "small" and len(self.subjects) == 1:
            words = sized("small", words)
        return f"{words} {ground(self.background, BACKGROUND_WORDINGS[0])}"


def plain(subject: Subject, colour: str) -> Scene:
    """One large subject on one colour."""
    return Scene((subject,), (colour,))


def held_out(subject: Subject, colour: str) -> bool:
    """Combinations that no training image has, one in ten, so that a judge can ask for what was never seen."""
    return (SUBJECTS.index(subject) + 3 * list(COLOURS).index(colour)) % 10 == 0


def is_seen(scene: Scene) -> bool:
    """Whether training may show it: none of its subjects stands on a colour that is held out for it."""
    return not any(held_out(subject, colour) for subject in scene.subjects for colour in scene.background)


def any_scene(rng: random.Random, kind: str) -> Scene:
    """A scene at random: "one" large subject, a "small" one, or "two"; one background in six is a gradient."""
    chosen = rng.sample(SUBJECTS, 2 if kind == "two" else 1)
    background = rng.sample(list(COLOURS), 2 if rng.random() < 1 / 6 else 1)
    return Scene(tuple(chosen), tuple(background), "large" if kind == "one" else "small")


# Words

BACKGROUND_WORDINGS = ("on a {} background", "on {}", "in front of a {} background", "with a {} background")
GRADIENT_WORDINGS = ("on a background from {} to {}", "on a {} to {} gradient", "on a {} and {} gradient")
STYLES = ("an image of", "an emoji of", "a drawing of", "a cartoon of", "an icon of")
PAIRS = (  # left, right
    "{0} and {1}",
    "{0} on the left and {1} on the right",
    "{0} to the left of {1}",
    "{1} to the right of {0}",
    "{1} on the right and {0} on the left",
    "{0} next to {1}",
)
SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big")}


def wording(scene: Scene, rng: random.Random, silent: float = 0.04) -> str:
    """One of the many ways to say what a scene shows; the plain one more often than any other. `silent` is the share of
    the others that leave the background open.
    """
    if rng.random() < 0.25:
        return scene.caption
    names = [rng.choice(subject.phrases) if rng.random() < 0.5 else subject.phrase for subject in scene.subjects]
    if len(names) == 2:
        words = rng.choices(PAIRS, weights=(4, 3, 2, 2, 1, 1))[0].format(*names)
    elif scene.size == "small" or rng.random() < 0.15:
        words = sized(rng.choice(SIZES[scene.size]), names[0])
    else:
        words = names[0]
    if rng.random() < 0.3:
        words = f"{rng.choice(STYLES)} {words}"
    chance = rng.random()
    if chance < silent:
        return words
    colours = tuple(rng.choice(NAMES_OF_COLOURS.get(colour, (colour,))) for colour in scene.background)
    if chance < 0.15:
        return f"{words}, {' to '.join(colours)} background"
    return f"{words} {ground(colours, rng.choices(BACKGROUND_WORDINGS, weights=(5, 2, 1, 1))[0], rng)}"


def ground(colours: tuple[str, ...], pattern: str, rng: random.Random | None = None) -> str:
    """The words for a background: "on a blue background", "on a background from red to blue"."""
    if len(colours) == 2:
        pattern = rng.choice(GRADIENT_WORDINGS) if rng else GRADIENT_WORDINGS[0]
    return pattern.format(*colours).replace(" a orange", " an orange")


def sized(word: str, phrase: str) -> str:
    """The phrase with an adjective: "an owl" becomes "a small owl", "grapes" become "small grapes"."""
    article, _, name = phrase.partition(" ")
    if article not in ("a", "an", "the"):
        return f"{word} {phrase}"
    return f"{'the' if article == 'the' else 'a'} {word} {name}"


# Images


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB image, 96 x 96."""
    image = backdrop([COLOURS[colour] for colour in scene.background])
    for subject, box in zip(scene.subjects, scene.boxes, strict=True):
        place(image, subject.glyph, box[2] - box[0], box[:2])
    return image


def backdrop(colours: list[tuple[int, int, int]]) -> Image.Image:
    """One colour, or a straight gradient from the first at the top to the last at the bottom."""
    share = np.linspace(0, 1, CANVAS)[:, None]
    rows = (1 - share) * np.array(colours[0]) + share * np.array(colours[-1])
    return Image.fromarray(np.repeat(rows.round().astype(np.uint8)[:, None], CANVAS, axis=1))


def place(image: Image.Image, glyph: str, size: int, corner: tuple[int, int]) -> None:
    """Draw an emoji of `size` pixels with its top left at `corner`."""
    drawn = resized_glyph(glyph, size)
    image.paste(drawn, corner, drawn)


@lru_cache(maxsize=2048)
def resized_glyph(glyph: str, size: int) -> Image.Image:
    return draw_glyph(glyph).resize((size, size), Image.Resampling.LANCZOS)


@cache
def draw_glyph(glyph: str) -> Image.Image:
    """The font's own bitmap of one emoji, cut square: RGBA, 128 x 128."""
    bitmap = Image.new("RGBA", (136, 128))
    ImageDraw.Draw(bitmap).text((0, 0), glyph, font=emoji_font(), embedded_color=True)
    return bitmap.crop((4, 0, 132, 128))


@lru_cache(maxsize=1)
def emoji_font() -> ImageFont.FreeTypeFont:
    path = next((path for path in FONT_PATHS if path.exists()), None)
    if path is None:
        raise FileNotFoundError(
            "Noto Color Emoji is not installed, and the built-in scenes are drawn with it. "
            "Install the Debian package fonts-noto-color-emoji, or the font from Google Fonts."
        )
    return ImageFont.truetype(str(path), STRIKE)
