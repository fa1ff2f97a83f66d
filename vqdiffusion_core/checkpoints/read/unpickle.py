"""The tensors of a pickle, without the rest that it asks for.

A pickle names functions and classes and has them called. Here no name is ever looked up: a few lead to the functions
below, which build tensors, and all others to an object that does nothing. So trainers may leave in a file what they
like. What a file has put into a dictionary is kept, since that is how it holds its tensors; all else is forgotten.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar
from zipfile import ZipInfo

import torch
from torch import Tensor

from .mapped_file import MappedFile, Storage

STORAGE = re.compile(r"torch\.(?:cuda\.)?([A-Z][A-Za-z0-9]*)Storage")
DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # of modules: protocol 2 writes those of Python 2

MAX_TENSORS = 100_000  # each takes a hundred times the bytes that ask for it; a run of 5,000 weights has 20,000
MAX_DIMENSIONS = 8
# Instructions that lead to registered classes, or to what lies outside of the file
REFUSED = {code[0] for code in (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)}

Check = Callable[[str], None]  # sees the name of what a pickle would import, and raises to refuse it


class StandIn(dict[str, Any]):
    """Stands for any object of a file, and does nothing. It is always made empty."""

    __slots__ = ()

    def __init__(self, *_: Any):
        super().__init__()

    def set_state(self, state: Any) -> None:
        """What the file says that the object's attributes are."""


def rebuild_tensor(flat: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if len(size) > MAX_DIMENSIONS:
        raise ValueError(f"a tensor of {len(size)} dimensions")
    return flat.as_strided(size, stride, offset)  # which checks the bounds


def identity(value: Any = None, *_: Any) -> Any:
    return value


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_parameter": identity,
    "torch._utils._rebuild_parameter_with_state": identity,
}


class Unpickler(pickle._Unpickler):
    """In Python, not in C: that one makes as many places for objects as the highest number that a file gives to one.

    `storage` finds numbers; `check` is asked about every name that is not of a tensor.
    """

    stack: list[Any]  # these are Python's own
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def __init__(self, file: IO[bytes], storage: Storage, check: Check):
        super().__init__(file)
        self.storage = storage
        self.check = check
        self.flat: dict[str, Tensor] = {}
        self.tensors = 0

    def find_class(self, module: str, name: str) -> Any:
        full = f"{OLD_NAMES.get(module, module)}.{name}"
        if full in FUNCTIONS:
            return FUNCTIONS[full]
        if (match := STORAGE.fullmatch(full)) and match[1] in DTYPES:
            return DTYPES[match[1]]
        self.check(full)
        return StandIn

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count, *_ = pid
        if not (isinstance(dtype, torch.dtype) and isinstance(key, str) and isinstance(count, int) and count >= 0):
            raise ValueError("a storage without a type, a name and a length")
        if key not in self.flat:
            self.flat[key] = self.storage(dtype, key, count)
        if (self.flat[key].dtype, len(self.flat[key])) != (dtype, count):
            raise ValueError(f"storage {key} has two types or lengths")
        return self.flat[key]

    # What instructions of a pickle do, where Python's own unpickler would let them do more

    def make(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if isinstance(function, type) and issubclass(function, StandIn):
            return self.append(function())
        self.tensors += 1
        if self.tensors > MAX_TENSORS or not isinstance(args, tuple):  # a tensor would be unrolled
            raise ValueError("too many tensors, or one made of something else")
        self.append(function(*args[:MAX_DIMENSIONS]))

    def make_with_keywords(self) -> None:
        self.stack.pop()
        self.make()

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, StandIn):
            target.set_state(state)

    def put(self, items: list[Any]) -> None:
        """Text and numbers alone are keys: the hash of others can take for ever."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ValueError("items for what is no dictionary")
        target.update((key, items[i + 1]) for i, key in enumerate(items) if i % 2 == 0 and isinstance(key, str | int))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.put([key, value])

    def new_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self.put(items)

    def pass_bytes(self) -> None:
        """Python's own makes room for as many as the file claims before it looks for them."""
        self.read(int.from_bytes(self.read(8), "little"))
        self.append(None)

    def extend(self, items: list[Any]) -> None:
        if isinstance(target := self.stack[-1], list):
            target.extend(items)

    dispatch: ClassVar[dict[int, Callable[..., Any]]] = {
        **{code: action for code, action in pickle._Unpickler.dispatch.items() if code not in REFUSED},
        pickle.REDUCE[0]: make,
        pickle.NEWOBJ[0]: make,
        pickle.NEWOBJ_EX[0]: make_with_keywords,
        pickle.BUILD[0]: build,
        pickle.DICT[0]: new_dict,
        pickle.SETITEM[0]: set_item,
        pickle.SETITEMS[0]: lambda self: self.put(self.pop_mark()),
        pickle.APPEND[0]: lambda self: self.extend([self.stack.pop()]),
        pickle.APPENDS[0]: lambda self: self.extend(self.pop_mark()),
        pickle.BYTEARRAY8[0]: pass_bytes,
        pickle.EMPTY_SET[0]: lambda self: self.append(None),
        pickle.ADDITEMS[0]: lambda self: self.pop_mark(),
        pickle.FROZENSET[0]: lambda self: (self.pop_mark(), self.append(None)),
    }


def unpickle_archive(path: Path, index: IO[bytes], entries: dict[str, ZipInfo], check: Check) -> Any:
    """The content of what torch.save writes."""
    return Unpickler(index, MappedFile(path).in_entries(entries), check).load()


def unpickle_legacy(path: Path, index: IO[bytes], check: Check) -> Any:
    """The content of a file of torch before 1.6, of which `index` is the beginning: magic number, version, system,
    content and the keys of the storages as five pickles, then the storages, each behind its length in eight bytes.
    """
    promised: dict[str, int] = {}
    starts: dict[str, int] = {}
    mapped = MappedFile(path)

    def promise(dtype: torch.dtype, key: str, count: int) -> Tensor:
        promised[key] = count * dtype.itemsize
        return torch.empty(count, dtype=dtype, device="meta")

    def stored(dtype: torch.dtype, key: str, count: int) -> Tensor:
        return mapped.numbers(dtype, starts[key], count).clone()  # to where numbers of this size may begin

    for _ in range(3):
        Unpickler(index, promise, check).load()
    content = index.tell()
    Unpickler(index, promise, check).load()
    keys = Unpickler(index, promise, check).load()
    end = index.tell()
    for key in keys:
        if not isinstance(key, str):
            raise ValueError("a storage without a name")
        starts[key] = end + 8
        end += 8 + promised[key]
    if end > path.stat().st_size:
        raise EOFError("its storages are not whole")
    index.seek(content)
    return Unpickler(index, stored, check).load()
