"""Pictures with captions to learn from: a folder of them, and what any source of them gives."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


class Source(Protocol):
    """What a codec and a diffusion model can learn from: RGB pictures of `size` x `size` pixels, and captions."""

    size: int

    def picture(self, rng: random.Random) -> Image.Image:
        """One picture; everything random about it follows from `rng`."""
        ...

    def captions(self) -> Iterable[str]:
        """Every caption there is."""
        ...

    def __len__(self) -> int:
        """How many pictures `captioned` gives."""
        ...

    def captioned(self, first: int = 0, stride: int = 1) -> Iterable[tuple[Image.Image, list[str]]]:
        """Pictures, each with everything that it may be called: the same ones in the same order at every call. Only
        those of the numbers first, first + stride, ... are opened.
        """
        ...


class Folder:
    """Pictures of a folder at `size` x `size` pixels, scaled to the shorter side and cut to the middle.

    Captions are the lines of a text file of the picture's name (fox.png, fox.txt), or of metadata.jsonl, a line of
    {"file_name": "fox.png", "text": "a fox"} a caption. Every file is looked at before the work begins; raises
    ValueError for an empty folder, and for pictures that cannot be read, are too small, or have no caption where
    captions are wanted.
    """

    def __init__(self, folder: Path, size: int, *, captions: bool = True):
        self.folder = folder
        self.size = size
        self.paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise ValueError(
                f"{folder} has no pictures to learn from; expected a folder of {', '.join(sorted(SUFFIXES))}."
            )
        for path in self.paths:
            check_picture(path, size)
        if captions:
            metadata = read_metadata(folder)
            self.listed = [metadata.get(path) or read_lines(path) for path in self.paths]

    def picture(self, rng: random.Random) -> Image.Image:
        return self.open(rng.choice(self.paths))

    def captions(self) -> Iterable[str]:
        return chain.from_iterable(self.listed)

    def __len__(self) -> int:
        return len(self.paths)

    def captioned(self, first: int = 0, stride: int = 1) -> Iterable[tuple[Image.Image, list[str]]]:
        for path, captions in zip(self.paths[first::stride], self.listed[first::stride], strict=True):
            yield self.open(path), captions

    def open(self, path: Path) -> Image.Image:
        return ImageOps.fit(Image.open(path).convert("RGB"), (self.size, self.size), Image.Resampling.LANCZOS)


def check_picture(path: Path, size: int) -> None:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a picture ({error}); mend it or take it out.") from error
    if min(width, height) < size:
        raise ValueError(
            f"{path} is {width} x {height} pixels; expected {size} x {size} or more. "
            "Take it out, or train at a smaller size."
        )


def read_metadata(folder: Path) -> dict[Path, list[str]]:
    """The captions of a metadata.jsonl, by picture; empty without one."""
    file = folder / "metadata.jsonl"
    captions: dict[Path, list[str]] = {}
    if not file.exists():
        return captions
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            captions.setdefault(folder / entry["file_name"], []).append(str(entry["text"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{file}, line {number}, is not {{"file_name": "a picture of the folder", "text": "its caption"}}.'
            ) from error
    return captions


def read_lines(picture: Path) -> list[str]:
    """The captions in the text file beside a picture, one a line."""
    file = picture.with_suffix(".txt")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    captions = [line.strip() for line in lines if line.strip()]
    if not captions:
        raise ValueError(
            f"{picture} has no caption; expected {file.name} beside it, a caption a line, or a line in metadata.jsonl."
        )
    return captions


def to_tensor(picture: Image.Image) -> Tensor:
    """RGB picture -> (3, H, W) in -1..1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1


def to_sheet(rows: Iterable[Tensor]) -> Image.Image:
    """Rows of pictures, (B, 3, H, W) in -1..1 each, as one picture."""
    joined = torch.cat([torch.cat([*row_B3HW], -1) for row_B3HW in rows], -2)
    pixels = ((joined.float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(np.asarray(pixels.permute(1, 2, 0)))
