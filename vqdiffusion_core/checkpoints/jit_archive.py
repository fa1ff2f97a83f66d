"""The tensors of a TorchScript archive, such as OpenAI's ViT-B-32.pt, without its program.

torch.jit.load would build and may run the program, and torch.load(weights_only=True) refuses such archives. Their
`data.pkl` is a plain pickle of modules and tensors, so it is read by an unpickler that knows no function but the four
harmless ones below: a name from the file never leads to an import or a call of anything else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from .errors import CheckpointError

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Module:
    """Stands for a module of the archive: only its attributes are of interest."""


def is_jit_archive(entries: list[zipfile.ZipInfo]) -> bool:
    return any(entry.filename.endswith("/constants.pkl") for entry in entries)


def is_tensor_entry(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename.partition("/")[2]
    return name == "data.pkl" or name.startswith("data/")


def read_jit_archive(path: Path, entries: list[zipfile.ZipInfo]) -> dict[str, Tensor]:
    """{name: tensor} by the names that the modules' state dict would have. Raises CheckpointError."""
    by_name = {entry.filename.partition("/")[2]: entry for entry in entries}
    try:
        with zipfile.ZipFile(path) as archive:
            index = archive.read(by_name["data.pkl"])
        return dict(walk(Unpickler(index, path, by_name).load(), ""))
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise anything that its instructions lead to
        raise CheckpointError(f"{path} is a damaged TorchScript archive: {error}. Download it again.") from error


def walk(root: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """All tensors below a module, each module visited once, however often the file refers to it."""
    seen: set[int] = set()
    pending = [(name, root)]
    while pending:
        prefix, module = pending.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        for attribute, value in vars(module).items():
            if torch.is_tensor(value):
                yield prefix + attribute, value
            elif isinstance(value, Module):
                pending.append((f"{prefix}{attribute}.", value))


class Unpickler(pickle._Unpickler):
    """In Python, not in C: that one makes as many places for objects as the highest number that a file gives to one."""

    def __init__(self, index: bytes, path: Path, entries: dict[str, zipfile.ZipInfo]):
        super().__init__(io.BytesIO(index))
        self.path = path
        self.entries = entries
        self.file = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return Module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch.jit._pickle":
            return unchanged
        if (module, name) in FUNCTIONS:
            return FUNCTIONS[module, name]
        raise CheckpointError(
            f"{self.path} names {module}.{name}, which has no business among tensors; it was not opened. "
            "Only take models from where their authors published them."
        )

    def persistent_load(self, pid: Any) -> Tensor:
        """The numbers of one storage, as a flat tensor in the mapped file."""
        _, dtype, key, _, count = pid
        entry = self.entries[f"data/{key}"]
        if count * dtype.itemsize > entry.file_size:
            raise ValueError(f"storage {key} has {entry.file_size} bytes, {count} numbers were expected")
        start = self.offset(entry)
        numbers = cast(torch.UntypedStorage, self.file[start : start + count * dtype.itemsize])
        return torch.empty(0, dtype=dtype).set_(numbers)

    def offset(self, entry: zipfile.ZipInfo) -> int:
        """Where an entry's bytes begin: after its own header, whose last two fields are the lengths of what follows."""
        with self.path.open("rb") as file:
            file.seek(entry.header_offset + 26)
            name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        return entry.header_offset + 30 + name + extra


def rebuild_tensor(flat: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    return flat.as_strided(size, stride, offset)  # which checks the bounds


def unchanged(value: Any = None, *_: Any) -> Any:
    return value


FUNCTIONS: dict[tuple[str, str], Callable] = {
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): unchanged,
    ("collections", "OrderedDict"): dict,
}
