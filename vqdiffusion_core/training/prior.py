"""What keeps a LoRA to its word: other words beside it, and, without it, images that the model drew before the lesson
(class-specific prior preservation: Ruiz et al. 2023).
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..diffusion.settings import Settings
from ..model import VQDiffusion
from ..networks.text_encoder import PAD_ID, TextEncoder
from .examples import Examples
from .tokens import draw_tokens

MOST_WORDS = 2  # that stand before the new one, or in its place
IMAGES = 32
SETTINGS = Settings(sampler="ancestral", steps=8, guidance=1.0)


class Prior:
    """Images that a model draws of a lesson's captions without its word, each when it is first asked for."""

    def __init__(self, model: VQDiffusion, examples: Examples, words: OtherWords):
        self.model, self.words = model, words
        self.captions = [ids_L for ids_CL in examples.ids for ids_L in ids_CL if words.begin(ids_L) is not None]
        self.drawn = dict[int, tuple[Tensor, Tensor]]()

    def draw(self, ticket: int) -> tuple[Tensor, Tensor]:
        """Tokens (N,) and ids (L,) of the image that follows from this number."""
        i = ticket % IMAGES
        if i not in self.drawn:
            rng = random.Random(i)
            ids_L = self.words.instead(rng.choice(self.captions), rng)
            tokens_1N = draw_tokens(self.model, ids_L[None].to(self.model.device), SETTINGS, [i])
            self.drawn[i] = tokens_1N[0].cpu(), ids_L
        return self.drawn[i]


class OtherWords:
    """Puts words that a model knows before a new one in a caption, or in its place."""

    def __init__(self, word: str, text_encoder: TextEncoder):
        self.word_ids = ids_of(word.lower(), text_encoder)
        self.end_id = text_encoder.tokenizer.eos_token_id
        self.text_encoder = text_encoder
        self.known = [known for known in words_of(text_encoder) if known != word.lower()]

    def before(self, ids_L: Tensor, rng: random.Random) -> Tensor:
        """a zimbo on red -> a green fox zimbo on red"""
        return self.replaced(ids_L, self.some(rng), self.word_ids)

    def instead(self, ids_L: Tensor, rng: random.Random) -> Tensor:
        """a zimbo on red -> a green fox on red"""
        return self.replaced(ids_L, self.some(rng), [])

    def some(self, rng: random.Random) -> list[int]:
        count = rng.randint(0, MOST_WORDS) if self.known else 0
        return ids_of(" ".join(rng.choice(self.known) for _ in range(count)), self.text_encoder)

    def replaced(self, ids_L: Tensor, others: list[int], word: list[int]) -> Tensor:
        """A caption with these tokens in the word's place, without the others where there is no room for them; itself
        where it does not have the word.
        """
        begin, ids = self.begin(ids_L), ids_L.tolist()
        if begin is None:
            return ids_L
        start, rest = ids[:begin], ids[begin + len(self.word_ids) : ids.index(self.end_id) + 1]
        room = len(ids) - len(start + word + rest)
        changed = start + (others if len(others) <= room else []) + word + rest
        return torch.tensor(changed + [PAD_ID] * (len(ids) - len(changed)))

    def begin(self, ids_L: Tensor) -> int | None:
        """Where the word stands in a caption."""
        ids, count = ids_L.tolist(), len(self.word_ids)
        places = range(len(ids) - count) if count else ()
        return next((i for i in places if ids[i : i + count] == self.word_ids), None)


def ids_of(words: str, text_encoder: TextEncoder) -> list[int]:
    return [i for word in text_encoder.words(words) for i in word.ids]


def words_of(text_encoder: TextEncoder) -> list[str]:
    """Those of the captions that a model was trained on; where nobody knows them, its tokenizer's whole ones."""
    if text_encoder.known_words is not None:
        return sorted(text_encoder.known_words)
    names = (token.removesuffix("</w>") for token in text_encoder.tokenizer.get_vocab() if token.endswith("</w>"))
    return sorted(name for name in names if name.isalpha() and name.isascii())
