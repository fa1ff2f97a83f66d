"""Foreign names -> ours, by a table of prefixes (`blocks.{}.ln1`), of which the longest that fits decides: `{}` is a
number and keeps its value; None is dropped on purpose; several targets share the rows of one tensor in equal parts.

What no row knows and what several names claim is kept, so that the network can be filled strictly: see misfit.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .key_maps import KeyMap

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # of training, by PyTorch
NUMBER = r"(0|[1-9][0-9]{0,3})"  # of a layer: longer ones, and the digits of other scripts, are no names of ours


@dataclass(frozen=True)
class Weights:
    """One part of a model under our names."""

    source: str  # the part and its file, for messages
    table: KeyMap
    tensors: Mapping[str, Tensor]
    origin: Mapping[str, Sequence[str]]  # our name -> the file's names for it: one, if all is well
    unknown: Sequence[str]  # names of the file


def rename(table: KeyMap, state: Mapping[str, Tensor], source: str) -> Weights:
    tensors: dict[str, Tensor] = {}
    origin: dict[str, list[str]] = {}
    names = translate(table, state)
    for theirs, targets in names.items():
        parts = state[theirs].chunk(len(targets)) if targets and len(targets) > 1 else [state[theirs]]
        for ours, tensor in zip(targets or [], parts, strict=False):  # rows that do not divide leave a name out
            tensors[ours] = tensor
            origin.setdefault(ours, []).append(theirs)
    return Weights(source, table, tensors, origin, [theirs for theirs, targets in names.items() if targets is None])


def rename_back(table: KeyMap, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ours under the names of a table's source."""
    names = translate(invert(table), state)
    return {theirs: state[ours] for ours, found in names.items() for theirs in found or []}


def translate(table: KeyMap, names: Iterable[str]) -> dict[str, list[str] | None]:
    """{name: its targets, none if it is dropped, None if no row knows it}."""
    rows = [(re.compile(pattern_of(row)), table[row]) for row in sorted(table, key=len, reverse=True)]
    return {name: targets_of(name, rows) for name in names}


def targets_of(name: str, rows: list[tuple[re.Pattern[str], str | tuple[str, ...] | None]]) -> list[str] | None:
    for pattern, target in rows:
        if match := pattern.match(name):
            targets = [target] if isinstance(target, str) else target or ()
            return [one.format(*match.groups()) + name[match.end() :] for one in targets]
    return None


def pattern_of(row: str) -> str:
    """
    >>> bool(re.match(pattern_of("blocks.{}.ln1"), "blocks.12.ln1.emb.weight"))
    True
    """
    return re.escape(row).replace(r"\{\}", NUMBER) + r"(?=\.|$)"


def invert(table: KeyMap) -> dict[str, str]:
    """Our names -> the source's; of several spellings of one name, the first in the table."""
    inverse: dict[str, str] = {}
    for source, target in table.items():
        for one in [target] if isinstance(target, str) else target or []:
            inverse.setdefault(one, source)
    return inverse


def strip_wrappers(name: str) -> str:
    """A name without what DataParallel, torch.compile and the like put into it.

    >>> strip_wrappers("module.encoder._orig_mod.conv_in.weight")
    'encoder.conv_in.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
