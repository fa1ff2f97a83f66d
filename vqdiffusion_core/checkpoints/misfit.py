"""What of a renamed part does not fit its network, told in the file's own names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

from .errors import CheckpointError, shortlist
from .rename import Weights, invert, translate


def check_names(weights: Weights, expected: Collection[str]) -> None:
    """Raise CheckpointError unless the names are the expected ones, all of them and each claimed once."""
    missing = sorted(set(expected) - weights.tensors.keys())
    homeless = [names[0] for ours, names in weights.origin.items() if ours not in expected]
    if told := complaint(weights, missing, [*weights.unknown, *homeless]):
        raise CheckpointError(f"{weights.source} does not fit: {told}")


def complaint(weights: Weights, missing: Sequence[str], unknown: Iterable[str]) -> str:
    """The names that are unknown, each with the missing one that it resembles most, missing, and claimed twice; "" if
    there are none.
    """
    wanted = [name_in_file(weights, name) for name in missing]
    told = {
        "unknown names": [with_nearest(name, wanted) for name in sorted(unknown)],
        "missing names": wanted,
        "claimed twice": [
            f"{ours} by {' and '.join(names)}" for ours, names in weights.origin.items() if len(names) > 1
        ],
    }
    return " ".join(f"{what}: {shortlist(names)}." for what, names in told.items() if names)


def name_in_file(weights: Weights, name: str) -> str:
    """What the file calls one of our names, or would call it."""
    if name in weights.origin:
        return weights.origin[name][0]
    return next(iter(translate(invert(weights.table), [name])[name] or [name]))


def with_nearest(name: str, wanted: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, wanted, n=1)
    return f"{name} (is it {close[0]}?)" if close else name
