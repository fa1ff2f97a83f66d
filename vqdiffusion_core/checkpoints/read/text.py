"""Text and JSON of bounded size."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .head import AGAIN, describe, read_head

MAX_TEXT = 8 << 20  # bytes of JSON and vocabularies: the largest, CLIP's tokenizer.json, has 3.6 MB
MAX_DEPTH = 16  # of JSON: no file of a model nests deeper than 6


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
