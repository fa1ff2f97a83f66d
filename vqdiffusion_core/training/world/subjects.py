"""What the world shows, and what it is called: subjects.txt has a subject a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ARTICLES = ("a", "an", "the")
COUNTS = ("", "one", "two", "three", "four")


@dataclass(frozen=True)
class Name:
    """One of a subject's names: "an owl" and "owls". What is not counted has no article: "popcorn"."""

    article: str
    one: str
    several: str

    def phrase(self, count: int = 1, *adjectives: str, article: bool = True) -> str:
        """ "an owl", "a small owl", "three small owls"; without its article "small owl"."""
        words = " ".join([*adjectives, self.one if count == 1 else self.several])
        if count > 1:
            return f"{COUNTS[count]} {words}"
        return f"{self.article_before(adjectives)} {words}".lstrip() if article else words

    def article_before(self, adjectives: tuple[str, ...]) -> str:
        if not adjectives or self.article not in ("a", "an"):
            return self.article
        return "an" if adjectives[0][0] in "aeiou8" else "a"  # an 8-bit owl


@dataclass(frozen=True)
class Subject:
    icon: str  # as all icon sets call it
    flies: bool  # its place in a land is the sky
    names: tuple[Name, ...]  # the plainest first
    chosen: bool  # the built-in model learns it

    @property
    def name(self) -> str:
        """The plainest name, without an article."""
        return self.names[0].one


def read_table(text: str) -> Iterator[Subject]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            icon, names = line.split(": ", 1)
            yield Subject(icon.rstrip("^*"), "^" in icon, tuple(map(read_name, names.split(", "))), "*" in icon)


def read_name(text: str) -> Name:
    one, several = text.split("/")
    article, _, noun = one.partition(" ")
    return Name(article, noun, several) if article in ARTICLES else Name("", one, several)


SUBJECTS = tuple(read_table(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")))
