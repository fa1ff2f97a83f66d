"""The pocket model's world: one Noto Color Emoji subject on a coloured background, and the caption that says so.

Noto Color Emoji is (c) Google, SIL Open Font License 1.1; Debian's package is fonts-noto-color-emoji. The font is read
from the machine when pictures are made for training or judging; nothing of it is part of this pack.
"""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT_PATHS = (
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf"),
)
STRIKE = 109  # the one pixel size of the font's bitmaps; they are 136 x 128
CANVAS = 96
GLYPH = 80  # the subject's height on the canvas

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

ANIMALS = "🐶🦊🐱🦁🐯🦄🐷🐭🐰🐻🐼🐸🐘🐢🐙🐬🐟🦋🐞🦀🐔🐧🦆🦉"
FOOD = "🍎🍋🍌🍉🍇🍓🍍🍅🥕🌽🍄🍞🧀🍔🍕🍩🎂☕"
PLANTS = "🌵🌴🌲🌷🌻🍁"
VEHICLES = "🚗🚌🚂🚀🚁⛵"
INSTRUMENTS = "🎸🎹🎺"
THINGS = "🧸⚽🎈🎁👑🔔🔑💡☂🏠⭐🌙🌈⛄🔥❤🎃👻🤖"

# Where the Unicode name is not what a person would say.
EVERYDAY_NAMES = {
    "🐞": "ladybug",
    "🌽": "corn",
    "🧀": "cheese",
    "🍕": "pizza",
    "🍩": "donut",
    "☕": "cup of coffee",
    "🌲": "fir tree",
    "🚗": "car",
    "🚂": "locomotive",
    "⛵": "sailing boat",
    "🎹": "piano",
    "💡": "light bulb",
    "☂": "umbrella",
    "🎁": "present",
    "🏠": "house",
    "⭐": "star",
    "🌙": "moon",
    "⛄": "snowman",
    "❤": "heart",
    "🎃": "pumpkin",
}

MASS_NOUNS = {"bread", "cheese", "corn", "fire", "grapes"}


@dataclass(frozen=True)
class Subject:
    glyph: str
    name: str

    @property
    def phrase(self) -> str:
        """The name with the article that it takes: "an owl", "a unicorn", "bread"."""
        if self.name in MASS_NOUNS:
            return self.name
        return f"{'an' if self.name[0] in 'aeiou' and not self.name.startswith('uni') else 'a'} {self.name}"


@dataclass(frozen=True)
class Scene:
    subject: Subject
    colour: str

    def caption(self, rng: random.Random | None = None) -> str:
        """The plain caption, or one of its wordings."""
        subject, colour = self.subject.phrase, self.colour
        wordings = (
            f"{subject} on a {colour} background",
            f"{subject} on {colour}",
            f"a picture of {subject} on a {colour} background",
            f"{self.subject.name}, {colour} background",
        )
        return rng.choices(wordings, weights=(6, 1, 2, 1))[0] if rng else wordings[0]


def everyday_name(glyph: str) -> str:
    return EVERYDAY_NAMES.get(glyph) or unicodedata.name(glyph).lower().removesuffix(" face")


SUBJECTS = tuple(
    Subject(glyph, everyday_name(glyph)) for glyph in ANIMALS + FOOD + PLANTS + VEHICLES + INSTRUMENTS + THINGS
)


def all_scenes() -> list[Scene]:
    """Every subject on every background, in a fixed order."""
    return [Scene(subject, colour) for subject in SUBJECTS for colour in COLOURS]


def render(scene: Scene) -> Image.Image:
    """The scene as the pocket model knows it: the subject centred at a fixed size, so that it meets the token grid
    alike in every picture (a token then means the same piece of the same subject, which eases the transformer's work).
    """
    margin = (CANVAS - GLYPH) // 2
    return compose(scene.subject.glyph, COLOURS[scene.colour], GLYPH, (margin, margin))


def compose(glyph: str, background: tuple[int, int, int], size: int, corner: tuple[int, int]) -> Image.Image:
    """A glyph of `size` pixels with its top left at `corner` on a canvas of one colour, as an RGB picture."""
    picture = Image.new("RGB", (CANVAS, CANVAS), background)
    drawn = draw_glyph(glyph).resize((size, size), Image.Resampling.LANCZOS)
    picture.paste(drawn, corner, drawn)
    return picture


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
