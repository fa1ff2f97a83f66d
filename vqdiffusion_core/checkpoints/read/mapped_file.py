"""The numbers in a file, mapped: those that nobody uses are never read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast
from zipfile import ZipInfo

import torch
from torch import Tensor

Storage = Callable[[torch.dtype, str, int], Tensor]  # dtype, key and length of some numbers -> those


class MappedFile:
    """The numbers in a file, without reading those that nobody uses."""

    def __init__(self, path: Path):
        self.path = path
        self.bytes = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)

    def numbers(self, dtype: torch.dtype, start: int, count: int) -> Tensor:
        part = cast(torch.UntypedStorage, self.bytes[start : start + count * dtype.itemsize])
        return torch.empty(0, dtype=dtype).set_(part)

    def in_entries(self, entries: dict[str, ZipInfo]) -> Storage:
        """The storages of an archive, each an entry that is called as its key."""

        def storage(dtype: torch.dtype, key: str, count: int) -> Tensor:
            entry = entries[f"data/{key}"]
            if count * dtype.itemsize > entry.file_size:
                raise ValueError(f"storage {key} has {entry.file_size} bytes, {count} numbers were expected")
            return self.numbers(dtype, self.start_of(entry), count)

        return storage

    def start_of(self, entry: ZipInfo) -> int:
        """Where an entry's bytes begin: after its own header, whose last two fields are the lengths of what follows."""
        with self.path.open("rb") as file:
            file.seek(entry.header_offset + 26)
            name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        return entry.header_offset + 30 + name + extra


def name_in(entry: ZipInfo) -> str:
    """What an entry is called in the folder that the archive holds."""
    return entry.filename.partition("/")[2]
