"""What a class model draws, by number or by name: the 1000 classes of ImageNet (ILSVRC 2012) in their usual order."""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path

IMAGENET = 1000  # classes; a model of so many has ImageNet's
FILE = Path(__file__).with_name("imagenet_classes.txt")  # a line a class: its number, then its names
LONGEST = 60  # characters of a label that are read; no name has as many


def class_number(label: str, rows: int) -> int:
    """The class that a label means, for a model with `rows` classes, the last of which is its null class.

    A label is a number from 0 or, for ImageNet's models, a name in any case. Raises ValueError.

    >>> class_number("207", 1001), class_number("Golden Retriever", 1001), class_number("4", 6)
    (207, 207, 4)
    """
    wanted, null = label.strip()[:LONGEST], rows - 1
    if wanted in map(str, range(rows)):
        return int(wanted)
    if null != IMAGENET:
        raise ValueError(f"There is no class {wanted!r:.100}; expected a number from 0 to {null - 1}.")
    found = [number for name, number in imagenet_names().items() if normalise(name) == normalise(wanted)]
    if not found:
        like = " or ".join(map(repr, nearest_names(wanted)))
        raise ValueError(
            f"There is no class {wanted!r:.100}; expected a number from 0 to {null - 1} or a name of ImageNet's, "
            + (f"is it {like}?" if like else "such as 'golden retriever'.")
        )
    return found[0]


@cache
def imagenet_names() -> dict[str, int]:
    """Every name of every class -> its number."""
    lines = (line.split(" ", 1) for line in FILE.read_text(encoding="utf-8").splitlines())
    return {name: int(number) for number, names in lines for name in names.split(", ")}


def normalise(name: str) -> str:
    """What of a name counts.

    >>> normalise("Jack-o'-lantern"), normalise("crane (bird)")
    ('jackolantern', 'cranebird')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def nearest_names(wanted: str) -> list[str]:
    """Names that have the wanted words in them, else those that are spelled most like them.

    >>> nearest_names("crane"), nearest_names("daisi")
    (['crane (bird)', 'crane (machine)'], ['daisy'])
    """
    names = imagenet_names()
    holding = [name for name in names if wanted and re.search(rf"\b{re.escape(wanted)}\b", name, re.IGNORECASE)]
    spelled = difflib.get_close_matches(wanted.lower(), [name.lower() for name in names], n=3, cutoff=0.7)
    return holding[:3] or [name for name in names if name.lower() in spelled]
