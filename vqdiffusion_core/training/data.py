"""Images with captions to learn from: a folder of them, and what any source of them gives."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..files.image_folder import Captions, ImageFolder, read_captions
from ..files.images import WHITE, Colour, open_image
from ..notices import notify

MOST_NAMED = 20  # bad files in one message


class Source(Protocol):
    """What a codec and a diffusion model can learn from: RGB images of `size` x `size` pixels, and captions."""

    size: int

    def image(self, rng: random.Random) -> Image.Image:
        """One image; everything random about it follows from `rng`."""
        ...

    def captions(self) -> Iterable[str]:
        """Every caption there is."""
        ...

    def __len__(self) -> int:
        """How many images `captioned` gives."""
        ...

    def captioned(self, first: int = 0, stride: int = 1) -> Iterable[tuple[Image.Image, list[str]]]:
        """Images, each with everything that it may be called: the same ones in the same order at every call. Only
        those of the numbers first, first + stride, ... are opened.
        """
        ...


class Folder:
    """Images of a folder at `size` x `size` pixels, scaled to the shorter side and cut to the middle.

    `image_folder` says where their captions come from, `images` how files become RGB, on `background` where they are
    transparent. Every file is looked at before the work begins; raises ValueError for a folder without images, and,
    naming all of them at once, for images that cannot be read, are too small, or have no caption where captions are
    wanted. What is passed over is said as a notice.
    """

    def __init__(self, folder: Path, size: int, *, captions: bool = True, background: Colour = WHITE):
        self.size = size
        self.background = background
        found = ImageFolder.of(folder)
        read = read_captions(found) if captions else Captions({path: [] for path in found.images})
        self.folder, self.paths, self.listed = folder, found.images, [*read.of.values()]
        for path in self.paths:
            try:
                check_size(path, open_image(path), size)
            except ValueError as error:
                read.wrong.append(str(error))
        if read.wrong:
            raise ValueError(together(folder, read.wrong))
        for line in found.notices() + read.notices:
            notify(line)

    def image(self, rng: random.Random) -> Image.Image:
        return self.open(rng.choice(self.paths))

    def captions(self) -> Iterable[str]:
        return chain.from_iterable(self.listed)

    def __len__(self) -> int:
        return len(self.paths)

    def captioned(self, first: int = 0, stride: int = 1) -> Iterable[tuple[Image.Image, list[str]]]:
        for path, captions in zip(self.paths[first::stride], self.listed[first::stride], strict=True):
            yield self.open(path), captions

    def open(self, path: Path) -> Image.Image:
        return ImageOps.fit(open_image(path, self.background), (self.size, self.size), Image.Resampling.LANCZOS)


def check_size(path: Path, image: Image.Image, size: int) -> None:
    if min(image.size) < size:
        raise ValueError(
            f"{path} is {image.width} x {image.height} pixels; expected {size} x {size} or more. "
            "Take it out, or train at a smaller size."
        )


def together(folder: Path, wrong: list[str]) -> str:
    """All that is wrong with a folder, a sentence each, in one line."""
    if len(wrong) == 1:
        return wrong[0]
    rest = [f"And {len(wrong) - MOST_NAMED} more."] if len(wrong) > MOST_NAMED else []
    return " ".join([f"{folder} cannot be learned from for {len(wrong)} reasons:", *wrong[:MOST_NAMED], *rest])


def to_tensor(image: Image.Image) -> Tensor:
    """RGB image -> (3, H, W) in -1..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def to_grid(rows: Iterable[Tensor]) -> Image.Image:
    """Rows of images, (B, 3, H, W) in -1..1 each, as one image."""
    joined = torch.cat([torch.cat([*row_B3HW], -1) for row_B3HW in rows], -2)
    pixels = ((joined.float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(np.asarray(pixels.permute(1, 2, 0)))
