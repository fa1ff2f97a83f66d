"""Files -> tensors, without trusting the files: nothing in them is executed, and what they claim to hold is compared
with their size before memory is taken. Tensors are mapped, not read: a weight that nobody uses costs no memory.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO, Any

import safetensors
import torch
from torch import Tensor

from ..networks.oom import is_out_of_memory
from .errors import CheckpointError
from .jit_archive import is_jit_archive, is_tensor_entry, read_jit_archive
from .unpickle import name_in, unpickle_archive, unpickle_legacy

# In bytes. What is read whole can take some thirty times as much memory: these leave that below 300 MB.
MAX_HEADER = 8 << 20  # of a safetensors file: 5,000 tensors need 0.7 MB
MAX_INDEX = 8 << 20  # of a PyTorch file, whose tensors lie beside it: 5,000 tensors need 1 MB
MAX_TEXT = 8 << 20  # JSON and vocabularies: the largest, CLIP's tokenizer.json, has 3.6 MB
MAX_DEPTH = 16  # of JSON: no file of a model nests deeper than 6
SHARED = 2  # how often the bytes of a file may be claimed: encoder and decoder share a codebook, for instance
AGAIN = "Copy or download it again."

# What is named in a file of tensors alone, which is read as PyTorch reads it
HARMLESS = {
    "collections.OrderedDict",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch.Size",
}
# What trainers leave beside their tensors: settings, numbers, callbacks. Something that does nothing takes its place,
# as it would that of any other class; but a name that is not known here is a reason to ask.
LEFTOVERS = (
    *HARMLESS,
    *(f"builtins.{name}" for name in ("bool", "complex", "dict", "float", "frozenset", "int", "list", "object", "set")),
    *(f"builtins.{name}" for name in ("slice", "str", "tuple")),
    "_codecs.encode",  # how bytes are written
    "addict.addict.Dict",
    "argparse.Namespace",
    "collections.*",
    "copyreg._reconstructor",
    "datetime.*",
    "decimal.Decimal",
    "easydict.EasyDict",
    "fractions.Fraction",
    "lightning.*",
    "lightning_fabric.*",
    "ml_collections.config_dict.*",
    "munch.Munch",
    "numpy.bool*",
    "numpy.dtype*",
    "numpy.float*",
    "numpy.int*",
    "numpy.longlong",
    "numpy.ndarray",
    "numpy.str_",
    "numpy.uint*",
    "numpy.*core.multiarray._reconstruct",
    "numpy.*core.multiarray.scalar",
    "numpy.*core.numeric._frombuffer",
    "omegaconf.*",
    "pathlib.*",
    "pytorch_lightning.*",
    "torch.bfloat16",
    "torch.bool",
    "torch.complex*",
    "torch.device",
    "torch.float*",
    "torch.int*",
    "torch.optim.*",
    "torch.uint*",
    "types.SimpleNamespace",
    "typing.*",
    "uuid.UUID",
    "yacs.config.CfgNode",
)
LEFT_OUT: ContextVar[dict[str, None] | None] = ContextVar("LEFT_OUT", default=None)  # see `leaving_out`
STORAGE = re.compile(r"torch\.(cuda\.)?[A-Z][A-Za-z0-9]*Storage")
LEGACY_PICKLES = 5  # magic number, version, system, content, names of the storages that follow

# The end of a zip file
END_SIGN, LARGE_END_SIGN = b"PK\5\6", b"PK\6\6"
DIRECTORY_END, MAX_COMMENT = 22, 65535  # bytes


def read_tensors(path: Path) -> dict[str, Any]:
    """The content of a safetensors file, {name: tensor}, of a torch.save file, often nested, or of a TorchScript
    archive. Raises CheckpointError.
    """
    head = read_head(path)
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        content = read_safetensors(path)
    elif head.startswith(b"PK"):
        content = read_zip(path)
    elif head.startswith(b"\x80"):
        content = read_legacy(path)
    else:
        raise CheckpointError(f"{path} is neither a safetensors nor a PyTorch file: {describe(head)} {AGAIN}")
    check_claims(path, content)
    return content


def check_claims(path: Path, content: dict[str, Any]) -> None:
    """Compare what the tensors of a file would take with its size: a tensor can repeat a single number for ever."""
    nested = [value for value in content.values() if isinstance(value, dict)]
    tensors = [tensor for part in [content, *nested] for tensor in part.values() if torch.is_tensor(tensor)]
    claimed, size = sum(tensor.numel() * tensor.element_size() for tensor in tensors), path.stat().st_size
    if claimed > SHARED * size:
        raise CheckpointError(
            f"{path} claims tensors of {claimed:,} bytes in a file of {size:,}. Not opened. "
            "Only take models from where their authors published them."
        )


def holds_tensors(path: Path) -> bool:
    """Whether a file looks like one for `read_tensors`, by its first bytes."""
    head = read_head(path)
    return head[8:9] == b"{" or head.startswith((b"PK", b"\x80"))


def read_head(path: Path) -> bytes:
    """The first bytes of a regular file of the model; a device or a pipe could be read for ever."""
    if not path.is_file():
        raise CheckpointError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; expected a file.")
    check_link(path)
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def check_link(path: Path) -> None:
    """Refuse a link that a stranger could have packed to have any file of this machine read.

    Files of one model and of models side by side may be shared; in the hub's cache, those of all versions of a model.
    The model's own folder may lie, or be linked, anywhere.
    """
    target = path.resolve()
    versions = [folder for folder in path.absolute().parents if folder.name == "snapshots"]
    allowed = [folder.resolve() for folder in (path.absolute().parents[1], *(found.parent for found in versions[:1]))]
    if not any(target.is_relative_to(folder) for folder in allowed):
        raise CheckpointError(f"{path} is a link out of its model, to {target}. Not opened. Put the file itself there.")


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
    check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            jit = is_jit_archive(entries)
            # of an archive with a program only the tensors and their index are read; its program is compressed
            check_zip(path, [entry for entry in entries if not jit or is_tensor_entry(entry)])
            pickles = [] if jit else [entry for entry in entries if entry.filename.endswith(".pkl")]
            indexes = {name_in(entry): archive.read(entry) for entry in pickles}
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path} is cut short or damaged: {error}. {AGAIN}") from error
    check = partial(check_name, path)
    if jit:
        return read_jit_archive(path, entries, check)
    if has_tensors_alone(path, list(indexes.values())):
        return unpickled(path, lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    index = io.BytesIO(indexes.get("data.pkl", b""))
    return unpickled(path, lambda: unpickle_archive(path, index, {name_in(entry): entry for entry in entries}, check))


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


def read_legacy(path: Path) -> dict[str, Any]:
    """A file of torch before 1.6: some pickles, one after the other, then the numbers."""
    with path.open("rb") as file:
        index = io.BytesIO(file.read(MAX_INDEX))
    if has_tensors_alone(path, [index] * LEGACY_PICKLES):
        return unpickled(path, lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=False))
    index.seek(0)
    return unpickled(path, lambda: unpickle_legacy(path, index, partial(check_name, path)))


def has_tensors_alone(path: Path, pickles: Iterable[bytes | IO[bytes]]) -> bool:
    """Whether some pickles name nothing but what belongs to tensors. Else PyTorch is not asked to open them: it runs no
    code of a file, but it makes objects of any size: `bytearray(10**11)`.
    """
    others: list[str] = []
    try:
        for content in pickles:
            for name in names_in(content):
                if not (name in HARMLESS or STORAGE.fullmatch(name)):
                    others.append(name)
    except (ValueError, EOFError) as error:
        for name in others:
            check_name(path, name)
        raise CheckpointError(f"{path} is cut short or damaged ({reason(error)}). {AGAIN}") from error
    return not others


def check_name(path: Path, name: str) -> None:
    """Refuse what trainers do not leave beside tensors, or note it, in `leaving_out`."""
    if any(fnmatchcase(name, pattern) for pattern in LEFTOVERS):
        return
    left_out = LEFT_OUT.get()
    if left_out is None:
        raise CheckpointError(
            f"{path} holds more than tensors and could run code; it was not opened ({name}). `vqdiffusion convert "
            "SOURCE FOLDER` writes what it has of a model without that, and runs nothing."
        )
    left_out[name] = None


@contextmanager
def leaving_out() -> Iterator[dict[str, None]]:
    """Within this, what is not known in a file is left out, instead of the file refused. Gives the names, as keys."""
    names: dict[str, None] = {}
    token = LEFT_OUT.set(names)
    try:
        yield names
    finally:
        LEFT_OUT.reset(token)


def names_in(content: bytes | IO[bytes]) -> Iterator[str]:
    """What a pickle wants to import; where it builds the name itself, as torch never does, "a name that it builds"."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield "a name that it builds"


def unpickled(path: Path, load: Callable[[], Any]) -> dict[str, Any]:
    try:
        content = load()
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and could run code; it was not opened ({reason(error)}). "
            "Only take models from where their authors published them."
        ) from error
    except Exception as error:  # a damaged pickle can raise anything that its instructions lead to
        if is_out_of_memory(error):
            raise
        raise CheckpointError(f"{path} is cut short or damaged ({reason(error)}). {AGAIN}") from error
    return content if isinstance(content, dict) else {"": content}


def reason(error: Exception) -> str:
    """The line of torch's long messages that names the cause."""
    told = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return (told.splitlines() or [type(error).__name__])[0][:300]


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
    check_depth(content, path)
    return content


def check_depth(content: Any, path: Path) -> None:
    layer = [content]
    for _ in range(MAX_DEPTH):
        layer = [child for value in layer for child in children(value)]
    if any(children(value) for value in layer):
        raise CheckpointError(f"{path} nests its JSON deeper than {MAX_DEPTH} levels. It is no file of a model.")


def children(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
