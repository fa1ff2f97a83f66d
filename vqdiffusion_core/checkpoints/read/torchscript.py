"""The tensors of a TorchScript archive, such as OpenAI's ViT-B-32.pt, without its program.

torch.jit.load would build and may run the program, and torch.load(weights_only=True) refuses such archives. Their
`data.pkl` is a plain pickle of modules and tensors, so its classes are of no need (see unpickle.py).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .mapped_file import MappedFile, name_in
from .unpickle import Check, StandIn, Unpickler, identity


class Module(StandIn):
    """Stands for a module of the archive: only its attributes are of interest."""

    __slots__ = ("attributes",)

    def __init__(self):
        super().__init__()
        self.attributes: dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class ModuleUnpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return Module
        if module == "torch.jit._pickle":
            return identity
        return super().find_class(module, name)


def is_jit_archive(entries: list[zipfile.ZipInfo]) -> bool:
    return any(entry.filename.endswith("/constants.pkl") for entry in entries)


def is_tensor_entry(entry: zipfile.ZipInfo) -> bool:
    return name_in(entry) == "data.pkl" or name_in(entry).startswith("data/")


def read_jit_archive(path: Path, entries: list[zipfile.ZipInfo], check: Check) -> dict[str, Tensor]:
    """{name: tensor} by the names that the modules' state dict would have; `check`: see Unpickler. Raises
    CheckpointError.
    """
    by_name = {name_in(entry): entry for entry in entries}
    try:
        with zipfile.ZipFile(path) as archive:
            index = io.BytesIO(archive.read(by_name["data.pkl"]))
        return dict(walk(ModuleUnpickler(index, MappedFile(path).in_entries(by_name), check).load(), ""))
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
        for attribute, value in module.attributes.items():
            if torch.is_tensor(value):
                yield f"{prefix}{attribute}", value
            elif isinstance(value, Module):
                pending.append((f"{prefix}{attribute}.", value))
