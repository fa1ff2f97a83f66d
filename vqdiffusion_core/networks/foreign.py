"""Ways of writing in a prompt that other programs act on, and that are words like any others here."""

from __future__ import annotations

import re

COMMANDS = r"\b(?:BREAK|AND|ADDCOMM|ADDBASE|ADDCOL|ADDROW)\b"  # in capitals alone
SIGNS = re.compile(
    r"""
      embedding:[^\s,():<>]+    # textual inversion
    | <\w+:[^<>]*>              # <lora:name:1>, <hypernet:name:1>, <wildcard:name>
    | \[[^\[\]]+\]              # [weaker], [one|other], [from:to:when]
    | \{[^{}]*\|[^{}]*\}        # {one|other}, which the editor has chosen from before a node sees it
    | __[\w./*-]+__             # a wildcard's file
    | ::-?\d+(?:\.\d+)?         # a part's weight
    | (?<!\S)--[a-z]+\b         # an option: --ar 16:9
    """,
    re.VERBOSE,
)


def foreign_words(text: str) -> list[str]:
    """What other programs would take for a command in this prompt, each once.

    >>> foreign_words("a (fox:1.2) <lora:fur:0.8> BREAK snow, [day|night], A & B"), foreign_words("SALT AND PEPPER")
    (['BREAK', '<lora:fur:0.8>', '[day|night]'], [])
    """
    commands = [] if text.isupper() else re.findall(COMMANDS, text)  # who shouts means the word
    return list(dict.fromkeys([*commands, *SIGNS.findall(text)]))
