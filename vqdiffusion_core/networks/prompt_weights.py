"""Prompt weights as artists write them, (word) (word:1.3) ((word)), by the rules of ComfyUI's own encoder."""

from __future__ import annotations

import re

STEP = 1.1  # what one pair of parentheses weighs
WEIGHT = re.compile(r":\s*([+-]?\d{0,9}\.?\d{0,9})\s*$")  # at the end of a group
LONGEST_WEIGHT = 32  # letters


def parse_weights(text: str) -> list[tuple[str, float]]:
    r"""The pieces of a prompt with their weights. A weight that is written holds as it is; pairs of parentheses without
    one multiply. A parenthesis without its partner, or with a backslash, is a letter.

    >>> parse_weights(r"a (red:1.3) cat \(big\)")
    [('a ', 1.0), ('red', 1.3), (' cat (big)', 1.0)]
    """
    partner = pairs(text)
    pieces: list[tuple[str, float]] = []
    weights, ends, begin = [1.0], [len(text)], 0

    def flush(end: int) -> None:
        if end > begin:
            pieces.append((text[begin:end].replace("\\(", "(").replace("\\)", ")"), weights[-1]))

    for i in sorted([*partner, *partner.values()]):
        flush(min(i, ends[-1]))
        if i in partner:
            close = partner[i]
            written = written_weight(text, i + 1, close)
            weights.append(weights[-1] * STEP if written is None else written[0])
            ends.append(close if written is None else written[1])
        else:
            weights.pop()
            ends.pop()
        begin = i + 1
    flush(len(text))
    return pieces


def pairs(text: str) -> dict[int, int]:
    """Where each parenthesis that has a partner opens -> where it closes."""
    partner, opened = {}, []
    for match in re.finditer(r"\\[()]|[()]", text):
        if match[0] == "(":
            opened.append(match.start())
        elif match[0] == ")" and opened:
            partner[opened.pop()] = match.start()
    return partner


def written_weight(text: str, begin: int, end: int) -> tuple[float, int] | None:
    """The weight at the end of a group, and where the words before it end."""
    tail = max(begin, end - LONGEST_WEIGHT)
    match = WEIGHT.search(text[tail:end])
    if match is None or not re.search(r"\d", match[1]) or tail + match.start() == begin:
        return None
    return float(match[1]), tail + match.start()
