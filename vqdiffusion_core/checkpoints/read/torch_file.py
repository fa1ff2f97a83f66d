"""What torch.save wrote, in either of its formats: by PyTorch where there are tensors alone, else by unpickle.py."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...networks.oom import is_out_of_memory
from ..errors import CheckpointError, first_line
from .head import AGAIN
from .leftovers import check_name, has_tensors_alone
from .mapped_file import name_in
from .torchscript import is_jit_archive, is_tensor_entry, read_jit_archive
from .unpickle import unpickle_archive, unpickle_legacy
from .zip_file import MAX_INDEX, check_directory, check_zip

LEGACY_PICKLES = 5  # magic number, version, system, content, names of the storages that follow


def read_zip(path: Path) -> dict[str, Any]:
    """An archive: pickles, and the numbers that they speak of."""
    entries, pickles = read_pickles(path)
    check = partial(check_name, path)
    if is_jit_archive(entries):
        return read_jit_archive(path, entries, check)
    if has_tensors_alone(path, pickles.values()):
        return load_pickle(path, lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    index = io.BytesIO(pickles.get("data.pkl", b""))
    return load_pickle(path, lambda: unpickle_archive(path, index, {name_in(entry): entry for entry in entries}, check))


def read_pickles(path: Path) -> tuple[list[zipfile.ZipInfo], dict[str, bytes]]:
    """What an archive lists, and its pickles by their names. Of one with a program only the tensors and their index are
    read, since its program is compressed.
    """
    check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if is_jit_archive(entries):
                check_zip(path, [entry for entry in entries if is_tensor_entry(entry)])
                return entries, {}
            check_zip(path, entries)
            pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
            return entries, {name_in(entry): archive.read(entry) for entry in pickles}
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path} is cut short or damaged: {error}. {AGAIN}") from error


def read_legacy(path: Path) -> dict[str, Any]:
    """A file of torch before 1.6: some pickles, one after the other, then the numbers."""
    with path.open("rb") as file:
        index = io.BytesIO(file.read(MAX_INDEX))
    if has_tensors_alone(path, [index] * LEGACY_PICKLES):
        return load_pickle(path, lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=False))
    index.seek(0)
    return load_pickle(path, lambda: unpickle_legacy(path, index, partial(check_name, path)))


def load_pickle(path: Path, load: Callable[[], Any]) -> dict[str, Any]:
    try:
        content = load()
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and could run code; it was not opened ({first_line(error)}). "
            "Only take models from where their authors published them."
        ) from error
    except Exception as error:  # a damaged pickle can raise anything that its instructions lead to
        if is_out_of_memory(error):
            raise
        raise CheckpointError(f"{path} is cut short or damaged ({first_line(error)}). {AGAIN}") from error
    return content if isinstance(content, dict) else {"": content}
