"""Foreign names -> ours, by a table, strictly: a name that is unknown, missing or claimed twice is listed in an error.

A table maps name prefixes (`blocks.{}.ln1`) to ours. `{}` is a number and keeps its value; `{-}` is one that is counted
from the other end; None is dropped on purpose; several targets share the rows of one tensor in equal parts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .errors import CheckpointError, listed
from .key_maps import KeyMap

Target = str | tuple[str, ...] | None

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # of training, by PyTorch
NUMBER = r"([0-9]{1,4})"  # of a layer: longer ones, and the digits of other scripts, are no names of ours


@dataclass
class Renamed:
    """Tensors under our names, where each came from, and what did not fit the table."""

    what: str  # the part and its file, for messages
    table: KeyMap
    levels: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor that the part cannot be recognised without. Raises CheckpointError."""
        if name not in self.tensors:
            raise CheckpointError(f"{self.what}: {self.foreign(name)} is missing. {self.complaint([name])}".strip())
        shape = tuple(self.tensors[name].shape)
        if len(shape) != dimensions or 0 in shape:
            raise CheckpointError(f"{self.what}: {self.foreign(name)} is {shape}; expected {dimensions} sizes above 0.")
        return shape

    def count(self, pattern: str) -> int:
        """How many numbers stand at the one `{}` of the pattern among our names. Raises CheckpointError on a gap."""
        shape = re.compile(pattern_of(pattern))
        numbers = {int(match[1]) for name in self.tensors if (match := shape.match(name))}
        if gaps := set(range(len(numbers))) - numbers:
            gap = self.foreign(pattern.format(min(gaps)))
            raise CheckpointError(f"{self.what}: {gap} is missing, though later ones exist. Was it cut short?")
        return len(numbers)

    def foreign(self, name: str) -> str:
        """What the source would call one of our names."""
        return self.origin.get(name) or next(iter(apply_names(invert(self.table), [name], self.levels)[name] or [name]))

    def complete(self, expected: Iterable[str]) -> dict[str, Tensor]:
        """The tensors, if they are exactly the expected ones. Raises CheckpointError."""
        expected = set(expected)
        self.unknown += [self.origin.pop(name) for name in list(self.tensors) if name not in expected]
        missing = sorted(expected - self.origin.keys())
        if missing or self.unknown or self.doubled:
            raise CheckpointError(f"{self.what} does not fit: {self.complaint(missing)}")
        return self.tensors

    def complaint(self, missing: list[str]) -> str:
        """Unknown, missing and doubled names, each unknown one with the missing name that it resembles most."""
        wanted = [self.foreign(name) for name in missing]
        parts = []
        if self.unknown:
            parts.append(f"unknown names: {listed([nearest(name, wanted) for name in sorted(self.unknown)])}.")
        if wanted:
            parts.append(f"missing names: {listed(wanted)}.")
        if self.doubled:
            parts.append(f"claimed twice: {listed(self.doubled)}.")
        return " ".join(parts)


def apply(table: KeyMap, state: Mapping[str, Tensor], what: str, levels: int = 0) -> Renamed:
    """Rename a state dict. `levels`: how many there are of what `{-}` counts."""
    renamed = Renamed(what, table, levels)
    for source, targets in apply_names(table, state, levels).items():
        if targets is None:
            renamed.unknown.append(source)
            continue
        parts = state[source].chunk(len(targets)) if len(targets) > 1 else [state[source]]
        for target, tensor in zip(targets, parts, strict=False):
            if target in renamed.tensors:
                renamed.doubled.append(f"{target} by {renamed.origin[target]} and {source}")
            renamed.tensors[target] = tensor
            renamed.origin[target] = source
    return renamed


def unwrapped(name: str) -> str:
    """A name without what DataParallel, torch.compile and the like put into it.

    >>> unwrapped("module.encoder._orig_mod.conv_in.weight")
    'encoder.conv_in.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def rename_back(table: KeyMap, state: Mapping[str, Tensor], levels: int = 0) -> dict[str, Tensor]:
    """A state dict of ours under the names of a table's source."""
    names = apply_names(invert(table), state, levels)
    return {theirs: state[ours] for ours, found in names.items() for theirs in found or []}


def apply_names(table: KeyMap, names: Iterable[str], levels: int) -> dict[str, list[str] | None]:
    """{name: its targets, none if it is dropped, None if no row knows it}; the longest prefix decides."""
    rows = [(re.compile(pattern_of(row)), row, table[row]) for row in sorted(table, key=len, reverse=True)]
    return {name: translate(rows, name, levels) for name in names}


def translate(rows: list[tuple[re.Pattern, str, Target]], name: str, levels: int) -> list[str] | None:
    for pattern, row, target in rows:
        if match := pattern.match(name):
            numbers = mirrored(row, match.groups(), levels)
            targets = [target] if isinstance(target, str) else target or []
            return [written(one, numbers, levels) + name[match.end() :] for one in targets]
    return None


def pattern_of(row: str) -> str:
    """
    >>> bool(re.match(pattern_of("blocks.{}.ln1"), "blocks.12.ln1.emb.weight"))
    True
    """
    return re.escape(row).replace(r"\{\}", NUMBER).replace(r"\{\-\}", NUMBER) + r"(?=\.|$)"


def mirrored(row: str, numbers: Iterable[str], levels: int) -> list[int]:
    """The numbers found at a row's braces, `{-}` counted from the other end of `levels`."""
    braces = re.findall(r"\{-?\}", row)
    return [levels - 1 - int(n) if brace == "{-}" else int(n) for brace, n in zip(braces, numbers, strict=True)]


def written(target: str, numbers: list[int], levels: int) -> str:
    values = iter(mirrored(target, map(str, numbers), levels))
    return re.sub(r"\{-?\}", lambda _: str(next(values)), target)


def invert(table: KeyMap) -> dict[str, str]:
    """Our names -> the source's; of several spellings of one name, the first in the table."""
    inverse: dict[str, str] = {}
    for source, target in table.items():
        for one in [target] if isinstance(target, str) else target or []:
            inverse.setdefault(one, source)
    return inverse


def nearest(name: str, wanted: list[str]) -> str:
    close = difflib.get_close_matches(name, wanted, n=1)
    return f"{name} (is it {close[0]}?)" if close else name
