"""Teaching a model by a LoRA: the trainer's objective and runs, with all but the adapters frozen."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..distributed import Processes
from ..lora import About, Lora
from ..lora.lora import shape_of, weights_mark
from ..model import VQDiffusion
from ..networks.text_encoder import TextEncoder
from ..networks.vqgan import VQGAN
from ..notices import notify
from .adapters import AdaptedNetworks
from .data import Source, to_tensor
from .diffusion import Batch, DiffusionTraining
from .examples import Examples, fingerprint, notify_of_cut_captions
from .prior import OtherWords, Prior
from .recipe import read_examples, text_networks
from .tokens import frozen_copy

STEPS, BATCH, LEARNING_RATE = 150, 8, 4e-3
MOST_RANK = 512
UNKNOWN = -1  # in the place of x_0


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


class LoraTraining(DiffusionTraining):
    """One run in which a LoRA learns.

    Where it teaches a word, every second row is one of the prior, without that word. Of those it learns to say what the
    networks said before (Li and Hoiem 2016): the same loss, with their probabilities in the place of x_0.
    """

    def __init__(
        self,
        model: VQDiffusion,
        lesson: Lesson,
        examples: Examples,
        vqgan: VQGAN,
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
        settings |= {"learning_rate": learning_rate, "mixed": mixed, "seed": seed}
        super().__init__(networks, model.schedule, examples, vqgan, processes, **settings)
        self.before, self.words = frozen_copy(self.networks), OtherWords(lesson.word, model.text_encoder)
        self.prior = Prior(self.model_of(self.before), examples, self.words)

    @property
    def config(self) -> dict[str, Any]:
        lesson = {"rank": self.lesson.rank, "word": self.lesson.word, "null": self.lesson.learn_null}
        return {"lora": lesson, "base": self.base[1:]} | super().config

    def prior_rows(self, step: int) -> Tensor:
        """Which of this process's rows of a step are of the prior (B,)."""
        second_B = (torch.arange(self.batch) + step) % 2 == 1
        return self.processes.shard(second_B if self.prior.captions else torch.zeros_like(second_B))

    def rows(self, step: int, tickets: list[int]) -> list[tuple[Tensor, Tensor]]:
        rows = zip(self.prior_rows(step).tolist(), tickets, strict=True)
        return [self.prior.draw(ticket) if is_prior else self.example(ticket) for is_prior, ticket in rows]

    def example(self, ticket: int) -> tuple[Tensor, Tensor]:
        """Of what is taught, with other words before the new one now and then."""
        rng = random.Random(ticket)
        x0_N, ids_L = self.examples.draw(rng.getrandbits(62))
        return x0_N, self.words.before(ids_L, rng)

    def noisy_batch(self, step: int, progress: float) -> Batch:
        """The null, too, stays what it was, so that guidance pushes towards what is taught, unless it is taught."""
        batch, is_prior_B = super().noisy_batch(step, progress), self.prior_rows(step)
        x0_BN = torch.where(is_prior_B[:, None], UNKNOWN, batch.x0_BN)
        return batch._replace(x0_BN=x0_BN, drop_B=batch.drop_B & (is_prior_B ^ self.lesson.learn_null))

    def truth(self, batch: Batch, x0_M: Tensor) -> Tensor:
        is_prior_B, is_prior_M = batch.x0_BN[:, 0] == UNKNOWN, x0_M == UNKNOWN
        if not is_prior_B.any():
            return x0_M
        with torch.no_grad():
            said_mK = self.logits(self.before, Batch(*(rows[is_prior_B] for rows in batch))).float().softmax(-1)
        x0_MK = said_mK.new_zeros(len(x0_M), said_mK.shape[1]).scatter_(1, x0_M.clamp(min=0)[:, None], 1.0)
        return x0_MK.masked_scatter_(is_prior_M[:, None], said_mK)

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
    return LoraTraining(model, lesson, examples, model.vqgan, processes, **settings)


def lora_training_of(
    model: VQDiffusion,
    lesson: Lesson,
    images: Sequence[Image.Image],
    captions: Sequence[Sequence[str]],
    processes: Processes,
    **settings: Any,
) -> LoraTraining:
    """As `lora_training`, from RGB images of the model's size that are open already, each with what it may be called:
    of such a run nothing is kept.
    """
    _, text_encoder = text_networks(model)
    every = [*chain.from_iterable(captions)]
    check_lesson(lesson, model, every)
    notify_of_cut_captions(every, text_encoder)
    vqgan = model.vqgan.to(processes.device).eval().requires_grad_(False)
    tokens = [vqgan.encode(to_tensor(image)[None].to(processes.device)).flatten(1).int().cpu() for image in images]
    ids = [torch.tensor([text_encoder.tokenize(caption) for caption in each]) for each in captions]
    examples = Examples(torch.cat(tokens), ids, fingerprint(vqgan))
    return LoraTraining(model, lesson, examples, vqgan, processes, **settings)


def check_lesson(lesson: Lesson, model: VQDiffusion, captions: Collection[str]) -> None:
    """Raise CheckpointError where the LoRA to go on with is of another model; say what may not be meant."""
    if lesson.start:
        lesson.start.check_fit(model)
    if lesson.word and not any(lesson.word.lower() in caption.lower() for caption in captions):
        notify(f"No caption has the word {lesson.word!r}, so that it is not learned; write it into the captions.")


def notify_of_one(images: int) -> None:
    if images == 1:
        notify("There is one image to learn from: the word comes to mean that image. Five or more show what stays.")


def with_room_for_start(lesson: Lesson) -> Lesson:
    """The lesson, of no lower rank than the LoRA that it goes on with."""
    if lesson.start is None or lesson.start.about.rank <= lesson.rank:
        return lesson
    rank = lesson.start.about.rank
    notify(f"The rank stays {rank}, that of {lesson.start.name}: rank {lesson.rank} has no room for what that learned.")
    return replace(lesson, rank=rank)


def check_new_word(word: str, model: VQDiffusion) -> None:
    """Raise ValueError for a word that the model's captions had: it would lose what that means."""
    text = model.text_encoder
    if text and text.known_words is not None and not text.unknown_words(word):
        raise ValueError(
            f"{model.name} knows the word {word!r} already and would forget what it means; choose a new one, such as "
            "zimbo."
        )


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
