"""What a pickle would import: what belongs to tensors, what trainers leave beside them, and what is a reason to ask."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from ..errors import CheckpointError, first_line
from .head import AGAIN

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
LEFT_OUT: ContextVar[dict[str, None] | None] = ContextVar("LEFT_OUT", default=None)  # see `skip_unknown_names`
STORAGE = re.compile(r"torch\.(cuda\.)?[A-Z][A-Za-z0-9]*Storage")


def names_in(content: bytes | IO[bytes]) -> Iterator[str]:
    """What a pickle wants to import; where it builds the name itself, as torch never does, "a name that it builds"."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield "a name that it builds"


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
        raise CheckpointError(f"{path} is cut short or damaged ({first_line(error)}). {AGAIN}") from error
    return not others


def check_name(path: Path, name: str) -> None:
    """Refuse what trainers do not leave beside tensors, or note it, in `skip_unknown_names`."""
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
def skip_unknown_names() -> Iterator[dict[str, None]]:
    """Within this, what is not known in a file is left out, instead of the file refused. Gives the names, as keys."""
    names: dict[str, None] = {}
    token = LEFT_OUT.set(names)
    try:
        yield names
    finally:
        LEFT_OUT.reset(token)
