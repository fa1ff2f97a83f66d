"""What loading says when a file is not what it should be."""

from __future__ import annotations

from collections.abc import Sequence

LISTED = 8  # names an error spells out; a wrong file would fill screens with the rest
LONGEST = 2000  # characters of a message, of which the end says what to do next


class CheckpointError(ValueError):
    """A model file or folder that cannot be used: what came, what was expected, what to do next.

    Names out of a file are a stranger's: they cannot fill a screen, nor send commands to a terminal.
    """

    def __init__(self, message: str):
        middle = " [...] " if len(message) > LONGEST else ""
        head, tail = message[: LONGEST - 500], message[LONGEST - 500 :][-500:]
        super().__init__(printable(head + middle + tail))


def printable(text: str) -> str:
    r"""
    >>> print(printable("a\nb\x1b[2J"))
    a\nb\x1b[2J
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def listed(names: Sequence[str]) -> str:
    """
    >>> listed(["a", "b"])
    'a, b'
    """
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
