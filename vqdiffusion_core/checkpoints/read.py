"""Files -> tensors, without trusting the files: nothing in them is executed, and what they claim to hold is compared
with their size before memory is taken. Tensors are mapped, not read: a weight that nobody uses costs no memory.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from .errors import CheckpointError
from .jit_archive import is_jit_archive, is_tensor_entry, read_jit_archive

MAX_HEADER = 100 << 20  # safetensors' own limit
MAX_INDEX = 64 << 20  # of a PyTorch file, whose tensors lie beside it: 5,000 tensors need 1 MB
MAX_TEXT = 32 << 20  # JSON and vocabularies: the largest, CLIP's tokenizer.json, has 3.6 MB
AGAIN = "Copy or download it again."

# Classes that published checkpoints name beside their weights. An empty one takes their place: nothing is imported.
INERT = ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",)


class Inert:
    """Stands for an object that is of no interest here."""


def read_tensors(path: Path) -> dict[str, Any]:
    """The content of a safetensors file, {name: tensor}, of a torch.save file, often nested, or of a TorchScript
    archive. Raises CheckpointError.
    """
    head = read_head(path)
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return read_safetensors(path)
    if head.startswith(b"PK"):
        return read_zip(path)
    if head.startswith(b"\x80"):
        return unpickle(path, mmap=False)  # torch before 1.6
    raise CheckpointError(f"{path} is neither a safetensors nor a PyTorch file: {describe(head)} {AGAIN}")


def holds_tensors(path: Path) -> bool:
    """Whether a file looks like one for `read_tensors`, by its first bytes."""
    head = read_head(path)
    return head[8:9] == b"{" or head.startswith((b"PK", b"\x80"))


def read_head(path: Path) -> bytes:
    """The first bytes of a regular file; a device or a pipe could be read for ever."""
    if not path.is_file():
        raise CheckpointError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; expected a file.")
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def describe(head: bytes) -> str:
    """What a file is that is no model, as far as its first bytes tell.

    >>> describe(b"<!DOCTYPE html>")
    'it is a web page, which a server sent in place of the file.'
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not text:
        return "it is empty."
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page, which a server sent in place of the file."
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not yet the file that it stands for (git lfs pull fetches that)."
    return f"it begins with {head[:16]!r}."


# safetensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    check_safetensors(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is a broken safetensors file: {error}. {AGAIN}") from error


def check_safetensors(path: Path) -> None:
    """Compare what the header claims with the size of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        if length > min(size - 8, MAX_HEADER):
            raise CheckpointError(
                f"{path} is no whole safetensors file: by its first bytes its header has {length:,} bytes, the file "
                f"has {size:,}; {describe(head + file.read(64))} {AGAIN}"
            )
        header = parse_json(file.read(length), path)
    try:
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        promised = 8 + length + int(end)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f"{path} has a header that is not of the safetensors format. {AGAIN}") from error
    if promised != size:
        raise CheckpointError(f"{path} has {size:,} bytes where its header promises {promised:,}. {AGAIN}")


# PyTorch


def read_zip(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is cut short: the directory at its end is missing. {AGAIN}") from error
    jit = is_jit_archive(entries)
    # of an archive with a program only the tensors and their index are read; its program is compressed
    check_zip(path, [entry for entry in entries if not jit or is_tensor_entry(entry)])
    return read_jit_archive(path, entries) if jit else unpickle(path, mmap=True)


def check_zip(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """torch puts its tensors side by side, uncompressed; anything else could unfold to any size."""
    size = path.stat().st_size
    total = sum(entry.file_size for entry in entries)
    if total > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(
            f"{path} unfolds to {total:,} bytes from {size:,}: it is compressed, which PyTorch's files never are. "
            "Not opened. A .zip around a model must be unpacked first."
        )
    index = max((entry.file_size for entry in entries if entry.filename.endswith(".pkl")), default=0)
    if index > MAX_INDEX:
        raise CheckpointError(f"{path} has an index of {index:,} bytes; at most {MAX_INDEX:,} are allowed. Not opened.")


def unpickle(path: Path, mmap: bool) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals([(Inert, name) for name in INERT]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and could run code; it was not opened ({reason(error)}). "
            "Only take models from where their authors published them."
        ) from error
    except Exception as error:  # a damaged pickle can raise anything that its instructions lead to
        raise CheckpointError(f"{path} is cut short or damaged ({reason(error)}). {AGAIN}") from error
    return content if isinstance(content, dict) else {"": content}


def reason(error: Exception) -> str:
    """The line of torch's long messages that names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "GLOBAL" in line or "nsupported" in line]
    return (telling or lines or [type(error).__name__])[0][:300]


# Text


def read_text(path: Path) -> bytes:
    """A file of bounded size. Raises CheckpointError."""
    read_head(path)
    size = path.stat().st_size
    if size > MAX_TEXT:
        raise CheckpointError(f"{path} has {size:,} bytes; at most {MAX_TEXT:,} are allowed for such a file.")
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size. Raises CheckpointError."""
    return parse_json(read_text(path), path)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has no readable JSON: {describe(data[:64])} ({error}) {AGAIN}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a JSON {type(content).__name__}; expected an object.")
    return content
