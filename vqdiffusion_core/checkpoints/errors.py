"""What loading says when a file is not what it should be."""

from __future__ import annotations

from collections.abc import Sequence

LISTED = 8  # names an error spells out; a wrong file would fill screens with the rest


class CheckpointError(ValueError):
    """A model file or folder that cannot be used: what came, what was expected, what to do next."""


def listed(names: Sequence[str]) -> str:
    """
    >>> listed(["a", "b"])
    'a, b'
    """
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
