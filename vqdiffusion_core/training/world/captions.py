"""What a scene may be called: many wordings, some of which leave the look or the ground open."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .grounds import Ground, Land, Plain
from .scenes import Group, Scene
from .subjects import Name


@dataclass(frozen=True)
class LookWords:
    adjectives: tuple[str, ...]  # "a 3D fox"
    media: tuple[str, ...]  # "a 3D render of a fox"
    styles: tuple[str, ...]  # "a fox, 3D style"
    nouns: tuple[tuple[str, str], ...] = ()  # "a fox sticker"


LOOK_WORDS = {
    "3D": LookWords(("3D", "glossy"), ("a 3D render of", "a 3D model of"), ("3D", "in 3D", "3D style")),
    "flat": LookWords(
        ("flat",), ("a flat illustration of", "a flat drawing of"), ("flat", "in flat style", "flat design")
    ),
    "noto": LookWords(
        ("noto", "cartoon"), ("a noto emoji of", "a cartoon of"), ("noto style", "in noto style", "cartoon")
    ),
    "twemoji": LookWords(
        ("twemoji", "clip-art"), ("a twemoji of", "clip art of"), ("twemoji style", "in twemoji style")
    ),
    "sticker": LookWords((), ("a sticker of",), ("as a sticker", "sticker style"), (("sticker", "stickers"),)),
    "outline": LookWords(
        ("outlined", "comic"),
        ("a comic drawing of", "an ink drawing of"),
        ("outlined", "comic style", "with thick outlines"),
    ),
    "pixel": LookWords(
        ("pixel-art", "8-bit", "pixelated"), ("pixel art of",), ("pixel art", "in pixel art style", "as pixel art")
    ),
}
OPEN_MEDIA = ("a picture of", "an image of", "a drawing of", "an illustration of", "an emoji of")
SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}

LAND_WORDS = {  # of what stands there; of what flies there
    "meadow": (("in a meadow", "on a meadow", "in the grass", "in a field"), ("above a meadow", "over a meadow")),
    "beach": (("on a beach", "on the beach", "at the beach"), ("above a beach", "over the beach")),
    "snow": (("in the snow", "in a snowy landscape", "on snow"), ("above the snow", "over a snowy landscape")),
    "desert": (("in a desert", "in the desert", "in the sand"), ("above a desert", "over the desert")),
    "mountains": (
        ("in the mountains", "below mountains", "in front of mountains"),
        ("above the mountains", "in the mountains"),
    ),
    "sea": (("at sea", "on the sea", "in the sea", "on the water"), ("above the sea", "over the sea")),
}
TIME_WORDS = {
    "day": ("by day", "on a sunny day", "during the day", "in daylight"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "night": ("at night", "on a starry night", "under the stars"),
    "morning": ("in the morning", "at dawn", "at sunrise"),
}
LANDS_ALONE = {  # where nothing stands there
    "meadow": ("a meadow", "an empty meadow", "a field"),
    "beach": ("a beach", "an empty beach"),
    "snow": ("a snowy landscape", "snow"),
    "desert": ("a desert", "sand"),
    "mountains": ("mountains", "a mountain landscape"),
    "sea": ("the sea", "the open sea"),
}
SPARE_LANDS = {name: name for name in LAND_WORDS} | {"snow": "snowy landscape"}  # "a fox, meadow, night"
PLAIN_WORDS = ("on a {} background", "on {}", "in front of a {} background", "with a {} background")
GRADIENT_WORDS = ("on a gradient from {} to {}", "on a background from {} to {}", "on a {} to {} gradient")
PLAIN_ALONE = ("a {} background", "a plain {} background", "plain {}")
GRADIENT_ALONE = ("a gradient from {} to {}", "a background from {} to {}", "a {} to {} gradient")
COLOUR_NAMES = {
    "gray": ("gray", "grey"),
    "purple": ("purple", "violet"),
    "navy": ("navy", "dark blue"),
    "turquoise": ("turquoise", "teal"),
    "beige": ("beige", "cream"),
}

PLACES = {
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
    "": ("in the middle", "in the center", "in the centre"),
}
ROWS = (  # left, right
    "{0} and {1}",
    "{0} on the left and {1} on the right",
    "{0} to the left of {1}",
    "{0} left of {1}",
    "{1} to the right of {0}",
    "{1} right of {0}",
    "{0} next to {1}",
    "{0} beside {1}",
)
COLUMNS = ("{0} above {1}", "{1} below {0}", "{0} over {1}", "{1} under {0}", "{0} on top of {1}")
TRIPLES = ("{0}, {1} and {2}", "{0} and {1} and {2}", "{0} on the left, {1} in the middle and {2} on the right")


PLACED = {1: ("{0}",), 2: ROWS, 3: TRIPLES}

Choose = Callable[[Sequence[Any]], Any]  # one of several; what is likelier stands there more often
RARELY, SELDOM, OFTEN = (False,) * 9 + (True,), (False, False, True), (True, True, False)


@dataclass(frozen=True)
class Said:
    """What a caption says."""

    look: bool = True
    ground: bool = True
    time: bool = True
    article: bool = True


def caption(scene: Scene) -> str:
    """The plainest one that says everything: "a small 3D fox on the left in a meadow at sunset"."""
    return compose(scene, Said(), lambda several: several[0])


def say(scene: Scene, rng: random.Random) -> str:
    """One of the many ways: one in seven is the plainest, one in three leaves the look open, one in four the ground."""
    chance = rng.random()
    if chance < 0.14:
        return caption(scene)
    if chance < 0.2:
        return compose(scene, Said(False, False, False, article=rng.random() < 0.5), rng.choice)
    look, ground, article = rng.random() < 0.7, rng.random() < 0.82, rng.random() < 0.93
    return compose(scene, Said(look, ground, rng.random() < time_share(scene.ground, ground), article), rng.choice)


def time_share(ground: Ground, said: bool) -> float:
    """How often a time is told: day goes without saying, half of the time."""
    usual = 0.5 if isinstance(ground, Land) and ground.time == "day" else 0.85
    return usual if said else 0.4


def compose(scene: Scene, said: Said, choose: Choose) -> str:
    if not scene.groups:
        return scenery(scene.ground, said, choose)
    words = LOOK_WORDS[scene.look]
    way = choose(ways(words)) if said.look else ""
    adjectives = (choose(words.adjectives),) if way == "adjective" else ()
    noun = choose(words.nouns) if way == "noun" else ("", "")
    every = choose((False, True))  # of the objects is told the look, or only of the first
    phrases = [
        phrase(group, adjectives if every or not i else (), noun if every or not i else ("", ""), said.article, choose)
        for i, group in enumerate(scene.groups)
    ]
    text = placed(scene, phrases, choose)
    if way == "medium":
        text = f"{choose(words.media)} {text}"
    elif not said.look and choose(SELDOM):
        text = f"{choose(OPEN_MEDIA)} {text}"
    text += grounded(scene, said, choose)
    return f"{text}{styled(choose(words.styles))}" if way == "style" else text


def ways(words: LookWords) -> list[str]:
    """How a look may be told, the plainest first."""
    ways = {"adjective": words.adjectives, "noun": words.nouns, "medium": words.media, "style": words.styles}
    return [way for way, found in ways.items() if found]


def phrase(group: Group, adjectives: tuple[str, ...], noun: tuple[str, str], article: bool, choose: Choose) -> str:
    """One group: "three small 3D owls", "a fox sticker"."""
    names = group.subject.names
    name = names[0] if choose(OFTEN) else choose(names)
    if noun[0]:
        name = Name(name.article or "a", f"{name.one} {noun[0]}", f"{name.one} {noun[1]}")
    size = (choose(SIZES[group.size]),) if group.size else ()
    return name.phrase(group.count, *size, *adjectives, article=article)


def placed(scene: Scene, phrases: list[str], choose: Choose) -> str:
    if len(phrases) > 1:
        patterns = COLUMNS if scene.place == "above" else PLACED[len(phrases)]
        return choose(patterns).format(*phrases)
    told = scene.place or (scene.groups[0].count == 1 and choose(RARELY))
    return f"{phrases[0]} {choose(PLACES[scene.place])}" if told else phrases[0]


def grounded(scene: Scene, said: Said, choose: Choose) -> str:
    """The words for the ground and the time, with what divides them from the others."""
    ground = scene.ground
    if isinstance(ground, Land):
        flies = all(group.subject.flies for group in scene.groups)
        if said.ground and choose(RARELY):
            return "".join(f", {word}" for word in (SPARE_LANDS[ground.name], *([ground.time] * said.time)))
        told = [choose(LAND_WORDS[ground.name][flies])] if said.ground else []
        told += [choose(TIME_WORDS[ground.time])] if said.time else []
        return "".join(f" {words}" for words in told)
    if not said.ground:
        return ""
    colours = colour_names(ground, choose)
    if choose(RARELY):
        return f", {' to '.join(colours)} background"
    return f" {coloured(PLAIN_WORDS if isinstance(ground, Plain) else GRADIENT_WORDS, colours, choose)}"


def scenery(ground: Ground, said: Said, choose: Choose) -> str:
    """A ground alone, which is told in any case: "a meadow at sunset", "a gradient from red to blue"."""
    if not isinstance(ground, Land):
        patterns = PLAIN_ALONE if isinstance(ground, Plain) else GRADIENT_ALONE
        return coloured(patterns, colour_names(ground, choose), choose)
    land = choose(LANDS_ALONE[ground.name])
    return f"{land} {choose(TIME_WORDS[ground.time])}" if said.time else land


def colour_names(ground: Ground, choose: Choose) -> list[str]:
    return [choose(COLOUR_NAMES.get(colour, (colour,))) for colour in ground.parts]


def coloured(patterns: Sequence[str], colours: list[str], choose: Choose) -> str:
    """One of the patterns with the colours of a ground in it."""
    return re.sub(r"\ba orange", "an orange", choose(patterns).format(*colours))


def styled(style: str) -> str:
    return f" {style}" if style.startswith(("in ", "as ", "with ")) else f", {style}"
