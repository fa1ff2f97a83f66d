"""Images with captions to learn from: a folder of them, and what any source of them gives."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..distributed import ALONE, Processes
from ..files.image_folder import Captions, ImageFolder, read_captions
from ..files.images import WHITE, Colour, open_image
from ..notices import notify

MOST_NAMED = 20  # bad files in one message
MOST_WORKERS = 8  # of a data loader


class Source(Protocol):
    """What a codec and a diffusion model can learn from: RGB images of `size` x `size` pixels, and captions."""

    size: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image.Image, list[str]]:
        """One image, with everything that it may be called."""
        ...

    def captions(self) -> Iterable[str]:
        """Every caption there is."""
        ...

    def random_image(self, rng: random.Random) -> Image.Image:
        """One image; everything random about it follows from `rng`."""
        ...


class RandomImages(Dataset[Tensor]):
    """Images (3, H, W) in -1..1 by tickets: all that is random about one follows from its number."""

    def __init__(self, source: Source):
        self.source = source

    def __getitem__(self, ticket: int) -> Tensor:
        return to_tensor(self.source.random_image(random.Random(ticket)))


def load_batches(dataset: Any, batches: Iterable[list[int]], processes: Processes) -> DataLoader[Any]:
    """The items of each batch of numbers, one batch after the other."""
    return DataLoader(dataset, batch_sampler=batches, num_workers=count_workers(processes))


def load_shard(source: Any, processes: Processes) -> DataLoader[Any]:
    """This process's images and their captions, in the order of the source."""
    numbers = range(processes.rank, len(source), processes.count)
    return DataLoader(source, batch_size=None, sampler=numbers, num_workers=count_workers(processes))


def count_workers(processes: Processes) -> int:
    """How many more processes open images ahead of time: none beside a CPU that trains, which has no core to spare."""
    cores = (os.cpu_count() or 1) // processes.count
    return min(cores, MOST_WORKERS) if processes.device.type == "cuda" else 0


class Folder:
    """Images of a folder at `size` x `size` pixels, scaled to the shorter side and cut to the middle.

    `image_folder` says where their captions come from, `images` how files become RGB, on `background` where they are
    transparent. Every file is looked at before the work begins, by `processes` together; raises ValueError for a folder
    without images, and, naming all of them at once, for images that cannot be read, are too small, or have no caption
    where captions are wanted. What is passed over or cut is said as a notice.
    """

    def __init__(
        self,
        folder: Path,
        size: int,
        *,
        captions: bool = True,
        background: Colour = WHITE,
        processes: Processes = ALONE,
    ):
        self.size = size
        self.background = background
        found = ImageFolder.of(folder)
        read = read_captions(found) if captions else Captions({path: [] for path in found.images})
        self.folder, self.paths, self.listed = folder, found.images, [*read.of.values()]
        shard = self.paths[processes.rank :: processes.count]
        checked = processes.gather_objects([look_at(path, size) for path in shard])
        if wrong := [*read.wrong, *(each for each in checked if isinstance(each, str))]:
            raise ValueError(summarize(folder, wrong))
        for line in found.notices() + read.notices:
            notify(line)
        notify_of_cut([each for each in checked if not isinstance(each, str)], (size, size))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, list[str]]:
        return self.open(self.paths[index]), self.listed[index]

    def captions(self) -> Iterable[str]:
        return chain.from_iterable(self.listed)

    def random_image(self, rng: random.Random) -> Image.Image:
        return self.open(rng.choice(self.paths))

    def open(self, path: Path) -> Image.Image:
        return ImageOps.fit(open_image(path, self.background), (self.size, self.size), Image.Resampling.LANCZOS)


def look_at(path: Path, size: int) -> tuple[int, int] | str:
    """An image's width and height, or why it cannot be learned from."""
    try:
        image = open_image(path)
    except ValueError as error:
        return str(error)
    if min(image.size) >= size:
        return image.size
    return (
        f"{path} is {image.width} x {image.height} pixels; expected {size} x {size} or more. "
        "Take it out, or train at a smaller size."
    )


def notify_of_cut(sizes: Sequence[tuple[int, int]], kept: tuple[int, int]) -> None:
    """Say of how many images, of these widths and heights, a part is lost where they are scaled and cut to `kept`."""
    if cut := sum(width * kept[1] != height * kept[0] for width, height in sizes):
        notify(
            f"{cut} of {len(sizes)} images are cut around their middle, to the shape of {kept[0]} x {kept[1]} pixels; "
            "cut them yourself where that loses something."
        )


def summarize(folder: Path, wrong: list[str]) -> str:
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
