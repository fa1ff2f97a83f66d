"""Teaching a model by a LoRA: the trainer's objective and runs, with all but the adapters frozen."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..distributed import Processes
from ..lora import About, Lora
from ..lora.lora import shape_of, weights_mark
from ..model import VQDiffusion
from ..networks.text_encoder import TextEncoder
from ..notices import notify
from .adapters import AdaptedNetworks
from .data import Source
from .examples import Examples
from .recipe import read_examples, text_networks
from .teaching import Teaching, check_new_word, examples_of, notify_of_unsaid

STEPS, BATCH, LEARNING_RATE = 150, 8, 4e-3
MOST_RANK = 512


@dataclass(frozen=True)
class Lesson:
    """What is taught, and how; the numbers are those that were measured best on the pocket model (docs/teach.md)."""

    word: str = ""  # the new one, whose vectors learn too; without it, adapters alone
    rank: int = 8
    learn_null: bool = False
    start: Lora | None = None  # gone on with

    def __post_init__(self):
        if not 1 <= self.rank <= MOST_RANK:
            raise ValueError(f"rank is {self.rank}; expected a number from 1 to {MOST_RANK}.")


class LoraTraining(Teaching):
    """One run in which a LoRA learns."""

    def __init__(
        self,
        model: VQDiffusion,
        lesson: Lesson,
        examples: Examples,
        processes: Processes,
        *,
        learning_rate: float = LEARNING_RATE,
        mixed: bool = True,
        seed: int = 0,
        **settings: Any,
    ):
        assert model.text_encoder is not None
        lesson = with_room_for_start(lesson)
        self.lesson, self.base = lesson, (model.name, shape_of(model), weights_mark(model.transformer))
        ids = tokens_of(lesson.word, model.text_encoder)
        networks = AdaptedNetworks(model, lesson.rank, ids, learn_null=lesson.learn_null, start=lesson.start, seed=seed)
        if mixed and processes.device.type != "cpu":  # where they would be turned into that at every step
            networks.freeze_in(torch.bfloat16)
        settings |= {"learning_rate": learning_rate, "mixed": mixed, "seed": seed, "learn_null": lesson.learn_null}
        super().__init__(networks, model, lesson.word, examples, processes, **settings)

    @property
    def config(self) -> dict[str, Any]:
        lesson = {"rank": self.lesson.rank, "word": self.lesson.word, "null": self.lesson.learn_null}
        return {"lora": lesson, "base": self.base[1:]} | super().config

    def lora(self, name: str, steps: int) -> Lora:
        """What has been learned so far, with the averaged weights."""
        networks, lesson = self.ema, self.lesson
        assert isinstance(networks, AdaptedNetworks)
        words = [*(lesson.start.about.words if lesson.start else ()), *([lesson.word] if lesson.word else [])]
        recipe = {"steps": steps, "batch": self.batch, "learning_rate": self.learning_rate, "seed": self.seed}
        return networks.lora(name, About(lesson.rank, tuple(dict.fromkeys(words)), *self.base, recipe))


def lora_training(
    model: VQDiffusion,
    lesson: Lesson,
    source: Source,
    folder: Path,
    processes: Processes,
    new_data: bool = False,
    **settings: Any,
) -> LoraTraining:
    """Training of a LoRA of a model, which it changes. Raises ValueError for a model that cannot be taught so, and
    CheckpointError where the LoRA to go on with is of another model.
    """
    _, text_encoder = text_networks(model)
    check_lesson(lesson, model, [*source.captions()])
    examples = read_examples(model, text_encoder, source, folder, processes, new_data)
    return LoraTraining(model, lesson, examples, processes, **settings)


def lora_training_of(
    model: VQDiffusion,
    lesson: Lesson,
    images: Sequence[Image.Image],
    captions: Sequence[Sequence[str]],
    processes: Processes,
    **settings: Any,
) -> LoraTraining:
    """As `lora_training`, from images that are open already, see `examples_of`: of such a run nothing is kept."""
    _, text_encoder = text_networks(model)
    check_lesson(lesson, model, [*chain.from_iterable(captions)])
    examples = examples_of(model, text_encoder, images, captions, processes)
    return LoraTraining(model, lesson, examples, processes, **settings)


def check_lesson(lesson: Lesson, model: VQDiffusion, captions: Collection[str]) -> None:
    """Raise CheckpointError where the LoRA to go on with is of another model, and ValueError for a word that is no new
    one; say what may not be meant.
    """
    if lesson.start:
        lesson.start.check_fit(model)
    if lesson.word:
        check_new_word(lesson.word, model)
    notify_of_unsaid(lesson.word, captions)


def with_room_for_start(lesson: Lesson) -> Lesson:
    """The lesson, of no lower rank than the LoRA that it goes on with."""
    if lesson.start is None or lesson.start.about.rank <= lesson.rank:
        return lesson
    rank = lesson.start.about.rank
    notify(f"The rank stays {rank}, that of {lesson.start.name}: rank {lesson.rank} has no room for what that learned.")
    return replace(lesson, rank=rank)


def tokens_of(word: str, text_encoder: TextEncoder) -> list[int]:
    """The ids of what a word is made of."""
    return sorted({i for part in text_encoder.words(word.lower()) for i in part.ids})


def lora_name(word: str) -> str:
    """A file's name for a word.

    >>> lora_name("Pim / Pom"), lora_name("")
    ('Pim_Pom', 'lora')
    """
    return "_".join(re.findall(r"\w+", word)) or "lora"


def loss_curve(losses: Sequence[float], size: tuple[int, int] = (512, 256)) -> Image.Image:
    """The means of up to a hundred parts of a run's losses, as a line."""
    image = Image.new("RGB", size, "white")
    if len(losses) < 2:
        return image
    parts = [float(np.mean(part)) for part in np.array_split(np.asarray(losses), min(len(losses), 100))]
    low, high = min(parts), max(parts)
    width, height = size[0] - 16, size[1] - 16
    points = [
        (8 + width * i / (len(parts) - 1), 8 + height * (1 - (loss - low) / ((high - low) or 1.0)))
        for i, loss in enumerate(parts)
    ]
    draw = ImageDraw.Draw(image)
    draw.line(points, fill=(52, 120, 219), width=2)
    draw.text((10, size[1] - 18), f"{low:.3g}", fill=(90, 90, 90))
    draw.text((10, 4), f"{high:.3g}", fill=(90, 90, 90))
    return image
