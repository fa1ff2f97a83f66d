"""Whether a run's images and captions are still those that it began with. Its folder keeps a record of them.

A file of the same size and time is the same: a run of 100,000 images starts in seconds. Contents are read and compared
where one of the two differs, as after a copy to another machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..distributed import Processes
from ..files.atomic import atomic_write
from ..notices import notify
from .data import Folder, Source


class Mark(NamedTuple):
    """What an image is known by."""

    size: int
    modified: int  # in nanoseconds
    content: str
    captions: str


class Record(NamedTuple):
    """All that is learned from; nothing of images that are drawn by code, which cannot change."""

    images: Mapping[str, Mark]  # by the path in their folder
    background: tuple[int, ...] = ()  # RGB, of what is transparent


def check_data(source: Source, folder: Path, accept: bool, processes: Processes) -> str:
    """Compare the source with the record of the run in `folder`, and bring that up to date: for the main process,
    which gets a digest of all contents and captions. Raises ValueError where they changed since, unless `accept`.
    """
    if not processes.is_main:
        return ""
    path = folder / "data.json"
    known = read(path) if path.exists() else Record({})
    now = record(source, known)
    learned_from = path.exists() and (folder / "checkpoint.pt").exists()
    if learned_from and (said := changes(known, now)):
        if not accept:
            raise ValueError(
                f"The images changed since the run in {folder} began: {said}. Put back what was there, or give "
                "--new-data to go on with what is there now."
            )
        notify(f"The images changed since the run in {folder} began: {said}. It goes on with what is there now.")
    if now != known or not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            part.write_text(json.dumps(now._asdict()))
    return digest([now.background, *sorted((name, mark.content, mark.captions) for name, mark in now.images.items())])


def read(path: Path) -> Record:
    try:
        kept = json.loads(path.read_text())
        images = {name: Mark(*mark) for name, mark in kept["images"].items()}
        return Record(images, tuple(kept["background"]))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} is not what a run writes there ({error}); delete it.") from error


def record(source: Source, known: Record) -> Record:
    """What there is to learn from now. Files that are `known` as they are, are not read."""
    if not isinstance(source, Folder):
        return Record({})
    images = {}
    for path, captions in zip(source.paths, source.listed, strict=True):
        name, stat = path.relative_to(source.folder).as_posix(), path.stat()
        size, modified, before = stat.st_size, stat.st_mtime_ns, known.images.get(name)
        same = before is not None and (before.size, before.modified) == (size, modified)
        content = before.content if before and same else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        images[name] = Mark(size, modified, content, digest(captions))
    return Record(images, tuple(source.background))


def digest(content: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def changes(known: Record, now: Record) -> str:
    """What differs between two records, in words; nothing where they are of the same images and captions.

    >>> fox, wet_fox, owl = Mark(1, 1, "fox", "a"), Mark(1, 1, "wet fox", "b"), Mark(1, 1, "owl", "c")
    >>> changes(Record({"1.png": fox, "2.png": owl}), Record({"1.png": wet_fox, "3.png": owl}))
    '1 added, 1 removed, 1 replaced, 1 with other captions'
    """
    common = known.images.keys() & now.images.keys()
    pairs = [(known.images[name], now.images[name]) for name in common]
    counts = {
        "added": len(now.images) - len(common),
        "removed": len(known.images) - len(common),
        "replaced": sum(before.content != after.content for before, after in pairs),
        "with other captions": sum(before.captions != after.captions for before, after in pairs),
    }
    said = [f"{count} {what}" for what, count in counts.items() if count]
    if known.background != now.background:
        said.append(f"the background {known.background}, now {now.background}")
    return ", ".join(said)
