"""The models that lie in some folders, for a menu: told from file names alone, since a menu must be fast."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from .diffusers_config import INDEX, LIBRARY
from .diffusers_files import is_diffusers_folder
from .errors import CheckpointError, shortlist
from .original_files import is_called_like_weights, is_original_folder
from .read.text import read_text

MAX_DEPTH = 6  # folders between a place for models and a model
MAX_ENTRIES = 20_000  # files and folders looked at in one place
CACHED = "models--"  # what the hub's cache calls its folders: models--OWNER--NAME/snapshots/COMMIT
A_MODEL = "A model is a folder with model_index.json, or one with a checkpoint of the authors."


@dataclass
class Found:
    """The models by name, nested ones as `folder/name`, and for what is not listed a sentence that says why."""

    models: dict[str, Path] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)


def find(places: Iterable[str | os.PathLike[str]]) -> Found:
    """Every folder below some places that could be a model. The first of a name counts."""
    found = Found()
    for place in map(Path, places):
        if os.path.isdir(place):
            for name, path in sorted(search(place, found.unlisted)):
                found.models.setdefault(name, path)
    return found


def search(place: Path, unlisted: list[str]) -> list[tuple[str, Path]]:
    """The models of one place, upper folders first: a place may be a whole disk, and links may lead in circles."""
    top = entries_of(place, unlisted)
    unlisted += out_of_place(place, top)
    if (place / INDEX).is_file():
        top = [entry for entry in top if entry.name not in LIBRARY]  # parts of a model without a folder of its own
    models: list[tuple[str, Path]] = []
    seen, waiting, looked = {place.resolve()}, deque([("", top, 0)]), 0
    while waiting:
        prefix, entries, depth = waiting.popleft()
        looked += len(entries)
        if looked > MAX_ENTRIES or depth > MAX_DEPTH:
            unlisted.append(f"{place} was not searched to its end: it has too many files, or folders too deep.")
            break
        for child in folders_among(entries):
            name = prefix + child.name
            if could_be_model(child):
                models.append((name, child))
            elif versions := cached_versions(child):
                models += [(prefix + of_hub, version) for of_hub, version in versions.items()]
            elif (target := child.resolve()) not in seen:
                seen.add(target)
                waiting.append((f"{name}/", entries_of(child, unlisted), depth + 1))
    for child in folders_among(top):
        if not any(path.is_relative_to(child) for _, path in models):
            unlisted.append(f"{child} is not listed, since no model was found in it. {A_MODEL}")
    return models


def entries_of(folder: Path, unlisted: list[str]) -> list[os.DirEntry[str]]:
    """What lies in a folder, in order, without what is hidden."""
    try:
        with os.scandir(folder) as entries:
            shown = (entry for entry in entries if not entry.name.startswith("."))
            return sorted(islice(shown, MAX_ENTRIES + 1), key=lambda entry: entry.name)
    except OSError as error:
        unlisted.append(f"{folder} cannot be read: {error.strerror}.")
        return []


def folders_among(entries: list[os.DirEntry[str]]) -> list[Path]:
    return [Path(entry.path) for entry in entries if os.path.isdir(entry)]


def out_of_place(place: Path, entries: list[os.DirEntry[str]]) -> Iterator[str]:
    """What lies in a place for models without a folder of its own."""
    files = [entry.name for entry in entries if not os.path.isdir(entry)]
    if loose := [name for name in files if name == INDEX or is_called_like_weights(Path(name))]:
        yield f"{shortlist(loose)} in {place}: not listed. Put the files of a model into a folder of its own. {A_MODEL}"


def cached_versions(folder: Path) -> dict[str, Path]:
    """The versions of a model in the hub's cache: the one that is called main, else the newest, has the plain name."""
    if not folder.name.startswith(CACHED):
        return {}
    name = folder.name.removeprefix(CACHED).replace("--", "/")
    versions = [path for path in folders_among(entries_of(folder / "snapshots", [])) if could_be_model(path)]
    commit = main_commit(folder)
    plain = max(versions, key=lambda path: (path.name == commit, os.path.getmtime(path)), default=None)
    return {name if path == plain else f"{name}@{path.name[:8]}": path for path in versions}


def main_commit(folder: Path) -> str:
    """The version that the hub's cache calls main; "" where it does not say."""
    try:
        return read_text(folder / "refs" / "main").decode(errors="replace").strip()
    except (OSError, CheckpointError):
        return ""


def could_be_model(folder: Path) -> bool:
    """Told from file names alone. A folder that may not be read is none."""
    try:
        return is_diffusers_folder(folder) or is_original_folder(folder)
    except OSError:
        return False
