"""Zip files, which torch.save writes, before anything in them is read."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..errors import CheckpointError
from .head import AGAIN

MAX_INDEX = 8 << 20  # bytes of the pickle beside the tensors, which take thirty times as much memory: 5,000 need 1 MB

# The end of a zip file
END_SIGN, LARGE_END_SIGN = b"PK\5\6", b"PK\6\6"
DIRECTORY_END, MAX_COMMENT = 22, 65535  # bytes


def check_directory(path: Path) -> None:
    """The size of a zip file's directory, which comes last and is read whole before anything else is known."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, DIRECTORY_END + MAX_COMMENT), os.SEEK_END)
        tail = file.read()
    plain = tail[-DIRECTORY_END:].startswith(END_SIGN) and tail.endswith(b"\0\0")  # no comment
    end = len(tail) - DIRECTORY_END if plain else tail.rfind(END_SIGN)
    if end < 0:
        raise CheckpointError(f"{path} is cut short: the directory at its end is missing. {AGAIN}")
    size = int.from_bytes(tail[end + 12 : end + 16], "little")
    if size == 0xFFFFFFFF:  # then a longer record stands before the short one
        large = tail.rfind(LARGE_END_SIGN, 0, end)
        size = int.from_bytes(tail[large + 40 : large + 48], "little")
    if size > MAX_INDEX:
        raise CheckpointError(
            f"{path} has a directory of {size:,} bytes; at most {MAX_INDEX:,} are allowed. Not opened."
        )


def check_zip(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """torch puts its tensors side by side, uncompressed; anything else could unfold to any size."""
    size = path.stat().st_size
    total = sum(entry.file_size for entry in entries)
    if total > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(
            f"{path} unfolds to {total:,} bytes from {size:,}: it is compressed, which PyTorch's files never are. "
            "Not opened. A .zip around a model must be unpacked first."
        )
    if len({entry.filename.casefold() for entry in entries}) < len(entries):
        raise CheckpointError(f"{path} has two entries of one name, which PyTorch's files never have. Not opened.")
    index = max((entry.file_size for entry in entries if entry.filename.endswith(".pkl")), default=0)
    if index > MAX_INDEX:
        raise CheckpointError(f"{path} has an index of {index:,} bytes; at most {MAX_INDEX:,} are allowed. Not opened.")
