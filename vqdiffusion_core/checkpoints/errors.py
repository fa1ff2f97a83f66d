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
        super().__init__(escape(head + middle + tail))


def escape(text: str) -> str:
    r"""
    >>> print(escape("a\nb\x1b[2J"))
    a\nb\x1b[2J
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shortlist(names: Sequence[str]) -> str:
    """
    >>> shortlist(["a", "b"])
    'a, b'
    """
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")


def first_line(error: Exception) -> str:
    """What an error says first; of torch's long messages the line that names the cause."""
    cause = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return (cause.splitlines() or [type(error).__name__])[0][:300]
