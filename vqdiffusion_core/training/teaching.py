"""Teaching a model something new by a word: the trainer's objective, and a prior that holds on to the rest."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..distributed import Processes
from ..model import VQDiffusion
from ..networks.text_encoder import TextEncoder, spelled_words
from ..notices import notify
from .data import to_tensor
from .diffusion import Batch, DiffusionTraining, Networks
from .examples import Examples, fingerprint, notify_of_cut_captions
from .memory import Memory, bytes_of
from .prior import OtherWords, Prior
from .recipe import text_networks
from .tokens import frozen_copy

UNKNOWN = -1  # in the place of x_0
WHOLE_RATE = 1 / 16  # of the rate at which a LoRA learns: at a tenth 93 % of the other subjects are kept, here 99


class Teaching(DiffusionTraining):
    """One run in which networks learn what a word means.

    Where there is a word, every second row is one of the prior, without that word. Of those they learn to say what they
    said before (Li and Hoiem 2016): the same loss, with their probabilities in the place of x_0.
    """

    def __init__(
        self,
        networks: Networks,
        model: VQDiffusion,
        word: str,
        examples: Examples,
        processes: Processes,
        *,
        learn_null: bool = False,
        **settings: Any,
    ):
        assert model.text_encoder is not None
        super().__init__(networks, model.schedule, examples, model.vqgan, processes, **settings)
        self.learn_null = learn_null
        self.before, self.words = frozen_copy(self.networks), OtherWords(word, model.text_encoder)
        self.prior = Prior(self.model_of(self.before), examples, self.words)

    def memory(self, accumulate: int, checkpoint_activations: bool) -> Memory:
        memory = super().memory(accumulate, checkpoint_activations)
        return replace(memory, weights=memory.weights + bytes_of(self.weights))  # as they were before

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
        return batch._replace(x0_BN=x0_BN, drop_B=batch.drop_B & (is_prior_B ^ self.learn_null))

    def truth(self, batch: Batch, x0_M: Tensor) -> Tensor:
        is_prior_B, is_prior_M = batch.x0_BN[:, 0] == UNKNOWN, x0_M == UNKNOWN
        if not is_prior_B.any():
            return x0_M
        with torch.no_grad():
            said_mK = self.logits(self.before, Batch(*(rows[is_prior_B] for rows in batch))).float().softmax(-1)
        x0_MK = said_mK.new_zeros(len(x0_M), said_mK.shape[1]).scatter_(1, x0_M.clamp(min=0)[:, None], 1.0)
        return x0_MK.masked_scatter_(is_prior_M[:, None], said_mK)


def model_teaching_of(
    model: VQDiffusion,
    word: str,
    images: Sequence[Image.Image],
    captions: Sequence[Sequence[str]],
    processes: Processes,
    **settings: Any,
) -> Teaching:
    """Teaching of all weights of a model but its codec, which this changes; see `examples_of`."""
    transformer, text_encoder = text_networks(model)
    check_new_word(word, model)
    notify_of_unsaid(word, [*chain.from_iterable(captions)])
    examples = examples_of(model, text_encoder, images, captions, processes)
    null_1LD = model.null()
    assert isinstance(null_1LD, Tensor)
    networks = Networks(transformer.float(), text_encoder.float(), null_1LD)
    teaching = Teaching(networks, model, word, examples, processes, **settings)
    if (known := text_encoder.known_words) is not None:  # the prior has those from before
        teaching.ema.text_encoder.known_words = known.union(*map(spelled_words, chain.from_iterable(captions)))
    return teaching


def examples_of(
    model: VQDiffusion,
    text_encoder: TextEncoder,
    images: Sequence[Image.Image],
    captions: Sequence[Sequence[str]],
    processes: Processes,
) -> Examples:
    """Of RGB images of the model's size that are open already, each with what it may be called. Nothing is kept."""
    notify_of_cut_captions([*chain.from_iterable(captions)], text_encoder)
    vqgan = model.vqgan.to(processes.device).eval().requires_grad_(False)
    tokens = [vqgan.encode(to_tensor(image)[None].to(processes.device)).flatten(1).int().cpu() for image in images]
    ids = [torch.tensor([text_encoder.tokenize(caption) for caption in each]) for each in captions]
    return Examples(torch.cat(tokens), ids, fingerprint(vqgan))


def check_new_word(word: str, model: VQDiffusion) -> None:
    """Raise ValueError for a word that the model's captions had: it would lose what that means."""
    text = model.text_encoder
    if text and text.known_words is not None and not text.unknown_words(word):
        raise ValueError(
            f"{model.name} knows the word {word!r} already and would forget what it means; choose a new one, such as "
            "zimbo."
        )


def notify_of_unsaid(word: str, captions: Iterable[str]) -> None:
    if word and not any(word.lower() in caption.lower() for caption in captions):
        notify(f"No caption has the word {word!r}, so that it is not learned; write it into the captions.")


def notify_of_one(images: int) -> None:
    if images == 1:
        notify("There is one image to learn from: the word comes to mean that image. Five or more show what stays.")
