"""What the built-in scenes show. subjects.txt has one emoji a line, then what it is called, the plainest name first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Subject:
    glyph: str
    phrases: tuple[str, ...]  # each with the article that it takes: "an owl", "a unicorn", "bread"

    @property
    def phrase(self) -> str:
        return self.phrases[0]

    @property
    def name(self) -> str:
        """The plainest name, without an article."""
        return self.phrase.removeprefix("an ").removeprefix("a ")


def read_table(text: str) -> tuple[Subject, ...]:
    lines = (line.split(" ", 1) for line in text.strip().splitlines())
    return tuple(Subject(glyph, tuple(phrases.split(", "))) for glyph, phrases in lines)


SUBJECTS = read_table(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8"))
