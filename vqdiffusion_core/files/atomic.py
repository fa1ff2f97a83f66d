"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Where to write what takes the place of `path` when the block is over: at any moment the old file is there or the
    new one. What fails, as on a full disk, leaves nothing behind, and the error names the file.
    """
    part = part_of(path)
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
