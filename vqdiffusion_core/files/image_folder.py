"""A folder of images with captions, in the layouts that people and the Hugging Face hub keep them in.

Captions are the lines of a text file beside an image (fox.png, fox.txt or fox.caption), or lines of a metadata.jsonl or
metadata.csv in any folder, with the image's file_name relative to that folder. Where there is neither, the names of the
folders are captions: fox/1.png, owl/1.png.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .images import SUFFIXES
from .texts import guess_notice, read_text

BESIDE = (".txt", ".caption")  # the first that is there speaks
METADATA = ("metadata.jsonl", "metadata.csv")
TEXT_COLUMNS = ("text", "caption", "captions", "prompt")  # likewise; else the only one that holds text
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
HELD_OUT = ("test", "validation", "valid", "val", "dev", "eval")  # folders beside one called train


@dataclass
class ImageFolder:
    """What a folder holds, everything in the order of paths."""

    folder: Path
    images: list[Path] = field(default_factory=list)
    texts: dict[Path, Path] = field(default_factory=dict)  # by the image's path without its suffix
    metadata: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)  # files that are none of these, by kind
    held_out: list[Path] = field(default_factory=list)  # folders

    @classmethod
    def of(cls, folder: Path) -> ImageFolder:
        """Look through a folder and those in it. Raises ValueError where there are no images."""
        found = cls(folder)
        for path in sorted(found.walk()):
            found.add(path)
        if not found.images:
            raise ValueError(
                f"{folder} has no images to learn from: it {found.describe()}. Expected a folder of .png, .jpg, .webp "
                "or other image files, unpacked."
            )
        return found

    def walk(self) -> Iterator[Path]:
        """The files of a training set; folders may be links."""
        seen: set[str] = set()
        for root, folders, files in os.walk(self.folder, followlinks=True):
            if (place := os.path.realpath(root)) in seen:
                folders.clear()
                continue
            seen.add(place)
            kept = sorted(name for name in folders if not name.startswith(".") and name not in SYSTEM_FOLDERS)
            aside = [name for name in kept if name in HELD_OUT and "train" in kept]
            self.held_out += [Path(root, name) for name in aside]
            folders[:] = [name for name in kept if name not in aside]
            yield from (Path(root, name) for name in files)

    def add(self, path: Path) -> None:
        name, suffix = path.name.lower(), path.suffix.lower()
        if name.startswith("."):
            if suffix in SUFFIXES:
                self.skipped["hidden"] += 1
        elif suffix in SUFFIXES:
            self.images.append(path)
        elif name in METADATA:
            self.metadata.append(path)
        elif suffix in BESIDE:
            stem = path.with_suffix("")
            if stem not in self.texts or suffix == BESIDE[0]:
                self.texts[stem] = path
        elif name not in SYSTEM_FILES:
            self.skipped[suffix or "without a suffix"] += 1

    def describe(self) -> str:
        if not self.folder.is_dir():
            return "is a file" if self.folder.exists() else "does not exist"
        if captions := len(self.texts) + len(self.metadata):
            return f"holds {captions} file{'s' * (captions > 1)} of captions"
        return f"holds {listed(self.skipped)}" if self.skipped else "is empty"

    def notices(self) -> list[str]:
        """What of the folder is left out, in lines."""
        lines = []
        if self.skipped:
            lines.append(f"{self.folder} has {len(self.images)} images; passed over: {listed(self.skipped)}.")
        if self.held_out:
            names = ", ".join(folder.name for folder in self.held_out)
            lines.append(f"{self.folder}: only train is learned from; what lies in {names} beside it is held out.")
        return lines


def listed(kinds: Counter[str]) -> str:
    """
    >>> listed(Counter({".zip": 1, "hidden": 3}))
    '1 file (.zip), 3 files (hidden)'
    """
    return ", ".join(f"{count} file{'s' * (count > 1)} ({kind})" for kind, count in sorted(kinds.items()))


@dataclass
class Captions:
    """The captions of images, and what was found out on the way to them."""

    of: dict[Path, list[str]]  # every image; an image without a caption has an empty list
    wrong: list[str] = field(default_factory=list)  # files and lines that cannot be read
    notices: list[str] = field(default_factory=list)


def read_captions(found: ImageFolder) -> Captions:
    """Everything that the images may be called."""
    captions = Captions({path: [] for path in found.images})
    guessed: list[Path] = []

    def read(path: Path) -> list[str] | None:
        try:
            text = read_text(path)
        except (ValueError, OSError) as error:
            captions.wrong.append(str(error))
            return None
        if text.guessed:
            guessed.append(path)
        return text.lines

    add_metadata(captions, {file: read(file) or [] for file in found.metadata})
    metadata_wrong = bool(captions.wrong)
    beside = {path: found.texts[path.with_suffix("")] for path in found.images if path.with_suffix("") in found.texts}
    if not found.metadata and not beside:
        caption_by_folders(captions, found.folder)
    for path, texts in captions.of.items():
        lines = read(beside[path]) if not texts and path in beside else []
        texts += clean_captions(lines or [])
        if not texts and lines is not None and not metadata_wrong:
            captions.wrong.append(
                f"{path} has no caption; expected {path.stem}.txt beside it, a caption a line, or a line in "
                "metadata.jsonl."
            )
    if guessed:
        captions.notices.append(guess_notice(guessed))
    return captions


def clean_captions(values: Iterable[Any]) -> list[str]:
    """
    >>> clean_captions([" a fox", "", None, 7])
    ['a fox', '7']
    """
    return [text for text in (str(value).strip() for value in values if value is not None) if text]


def add_metadata(captions: Captions, files: dict[Path, list[str]]) -> None:
    unknown: list[str] = []
    for file, lines in files.items():
        for number, entry in (read_table if file.suffix.lower() == ".csv" else read_objects)(lines):
            try:
                name, texts = read_entry(entry)
            except ValueError as error:
                captions.wrong.append(f"{file}, line {number}, {error}")
                continue
            image = Path(os.path.normpath(file.parent / name.replace("\\", "/")))
            if image in captions.of:
                captions.of[image] += texts
            else:
                unknown.append(f"{file}, line {number}: {name}")
    if unknown:
        more = f" and {len(unknown) - 1} more" * (len(unknown) > 1)
        captions.notices.append(f"{unknown[0]}{more}: named in metadata, but not among the images; passed over.")


def read_objects(lines: list[str]) -> Iterator[tuple[int, Any]]:
    """The lines of a JSON lines file, by number; a line that is no JSON as it stands."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, line


def read_table(lines: list[str]) -> Iterator[tuple[int, Any]]:
    """The rows of a CSV file, by the number of their last line; Excel separates by semicolons in half of Europe."""
    text = [f"{line}\n" for line in lines]
    delimiter = next((mark for mark in ",;\t" if "file_name" in next(csv.reader(text, delimiter=mark), [])), ",")
    table = csv.DictReader(text, delimiter=delimiter)
    try:
        for row in table:
            yield table.line_num, row
    except csv.Error as error:
        yield table.line_num, str(error)


def read_entry(entry: Any) -> tuple[str, list[str]]:
    """The image's name and the captions in an entry of metadata. Raises ValueError, which says what it is not."""
    columns = entry if isinstance(entry, dict) else {}
    name = columns.get("file_name")
    texts = [key for key, value in columns.items() if key not in ("file_name", None) and isinstance(value, str | list)]
    known = [key for key in TEXT_COLUMNS if key in columns] or (texts if len(texts) == 1 else [])
    value = columns[known[0]] if known else {}
    if not isinstance(name, str) or not name or isinstance(value, dict):
        found = f"; found {', '.join(map(str, columns))}" if columns else ""
        raise ValueError(f'is not {{"file_name": "an image", "text": "its caption"}}{found}.')
    return name, clean_captions(value if isinstance(value, list) else [value])


def caption_by_folders(captions: Captions, folder: Path) -> None:
    """Images that lie in two folders or more are called as their folders."""
    names = {path: re.sub(r"^\d+_", "", path.parent.name).replace("_", " ").strip() for path in captions.of}
    called = sorted(set(names.values()))
    if len(called) > 1 and all(path.parent != folder for path in captions.of):
        captions.of = {path: clean_captions([name]) for path, name in names.items()}
        shown = ", ".join(called[:5]) + ", ..." * (len(called) > 5)
        captions.notices.append(f"{folder} has no captions; images are called as their folders: {shown}.")
