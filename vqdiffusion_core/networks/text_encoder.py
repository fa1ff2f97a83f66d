"""Prompt -> text vectors, as VQ-Diffusion's transformers were trained on them. The one file that uses transformers."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..notices import notify
from .foreign import foreign_words
from .prompt_weights import parse_weights
from .specs import TextSpec

if TYPE_CHECKING:
    from transformers import CLIPTextModel, PreTrainedTokenizerFast

MOST_NAMED = 8  # unknown words in one notice
PAD_ID = 0  # not the end-of-text id that other CLIP users pad with: these models were trained on 0 ("!")


class Token(NamedTuple):
    """A token of a prompt. ComfyUI's nodes know it by the same order."""

    id: int
    weight: float = 1.0
    word: int = 0  # which word of the prompt it belongs to, from 1; 0: start, end or padding


class Word(NamedTuple):
    """A word of a text, or some signs between words."""

    ids: list[int]
    begin: int  # where in the text


class TextEncoder(nn.Module):
    """CLIP's text tower and its tokenizer. `known_words`: those of the captions that the model was trained on; None
    where nobody knows them.
    """

    def __init__(
        self, model: CLIPTextModel, tokenizer: PreTrainedTokenizerFast, known_words: frozenset[str] | None = None
    ):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.known_words = known_words

    @property
    def length(self) -> int:
        """L, the tokens of one prompt with start, end and padding: 77 in every release."""
        return self.model.config.max_position_embeddings

    @property
    def width(self) -> int:
        """D, the width of a text vector: 512 in every release."""
        return self.model.config.hidden_size

    def tokenize(self, text: str) -> list[int]:
        """Plain text -> L ids: start, at most L - 2 tokens (the rest of a longer prompt is dropped), end, padding."""
        words = [i for word in self.words(clean(text)) for i in word.ids][: self.length - 2]
        ids: list[Any] = [self.tokenizer.bos_token_id, *words, self.tokenizer.eos_token_id]
        return ids + [PAD_ID] * (self.length - len(ids))

    def weigh(self, text: str) -> list[Token]:
        """Prompt with weights (prompt_weights.py) -> L tokens, their ids as `tokenize` makes them. Tells what of it the
        model does not read, or not as it may be meant.
        """
        tokens: list[Token] = []
        dropped, count, first = [], 0, 1
        for piece, weight in parse_weights(text):
            plain, room = clean(piece), self.length - 2 - len(tokens)
            words = self.words(plain)
            coded = [(Token(i, weight, n), word.begin) for n, word in enumerate(words, first) for i in word.ids]
            tokens += [token for token, _ in coded[:room]]
            if len(coded) > room:
                dropped.append(plain[coded[room][1] :])
            count, first = count + len(coded), first + len(words)
        if dropped:
            notify(
                f"A prompt has {count} tokens and this model reads {self.length - 2}: {quote(' '.join(dropped))} is "
                "left out. Shorten the prompt."
            )
        foreign = foreign_words(text)
        if foreign:
            notify(
                f"{', '.join(map(quote, foreign))}: read as words, for this model has no commands in prompts but "
                "weights such as (word:1.2)."
            )
        if unknown := self.unknown_words(reduce(lambda rest, word: rest.replace(word, " "), foreign, text)):
            rest = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
            notify(
                f"This model does not know {', '.join(map(quote, unknown[:MOST_NAMED]))}{rest}: the captions that it "
                "was trained on never had such words. What it draws of them is chance."
            )
        start, end = map(Token, self.tokenize("")[:2])
        return [start, *tokens, end] + [Token(PAD_ID)] * (self.length - 2 - len(tokens))

    def unknown_words(self, text: str) -> list[str]:
        """Of a prompt with weights, each once, in their order; none where nobody knows which words the captions had."""
        pieces = (clean(piece) for piece, _ in parse_weights(text))
        asked = dict.fromkeys(word for piece in pieces for word in spelled_words(piece))
        return [] if self.known_words is None else [word for word in asked if word not in self.known_words]

    def words(self, plain: str) -> list[Word]:
        """The words of a cleaned text. START and END are what they say where they stand alone, as in the original."""
        backend = self.tokenizer.backend_tokenizer
        alone = {word: [i] for word in (START, END) if (i := backend.token_to_id(word)) is not None}
        return [
            Word(alone.get(piece) or [token.id for token in backend.model.tokenize(piece)], begin)
            for piece, (begin, _) in backend.pre_tokenizer.pre_tokenize_str(plain)
        ]

    def embed_weighted(
        self, prompts: Sequence[Sequence[tuple[Any, ...]]], device: torch.device | None = None
    ) -> Tensor:
        """Prompts of L tokens as `weigh` makes them, each (id, weight, ...) -> text vectors (B, L, D), float32. A
        weight moves the vector of its token away from that of the empty prompt, or towards it. Worked out where the
        weights lie, or on the device that a host brings them to.
        """
        device = device or self.model.device
        ids_BL = torch.tensor([[token[0] for token in prompt] for prompt in prompts], device=device)
        weight_BL1 = torch.tensor([[token[1] for token in prompt] for prompt in prompts], device=device)[..., None]
        text_BLD = self.embed(ids_BL)
        if (weight_BL1 == 1).all():
            return text_BLD
        empty_1LD = self.embed(torch.tensor([self.tokenize("")], device=device))
        return torch.where(weight_BL1 == 1, text_BLD, empty_1LD + weight_BL1 * (text_BLD - empty_1LD))

    def embed(self, ids_BL: Tensor) -> Tensor:
        """Ids (B, L) -> the last hidden state after the final norm, each vector scaled to length 1: (B, L, D)."""
        positions_1L = torch.arange(ids_BL.shape[1], device=ids_BL.device)[None]
        return F.normalize(self.model(ids_BL, position_ids=positions_1L).last_hidden_state.float(), dim=-1)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Prompts, with weights where they have them -> text vectors (B, L, D), float32."""
        return self.embed_weighted([self.weigh(text) for text in texts])


def quote(text: str) -> str:
    """
    >>> quote("a fox"), quote("abc" * 100)
    ('"a fox"', '"abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc ..."')
    """
    return f'"{text}"' if len(text) <= 100 else f'"{text[:60]} ..."'


def clean(text: str) -> str:
    """The original's cleaning: lower case, broken Unicode mended, HTML entities read (twice), white space single, and
    lower case again for what came out of them.
    """
    import ftfy  # here, because it is slow to import and only prompts need it

    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text.lower()))).split()).lower()


SINGLE = "\u3040-\u30ff\u3400-\u9fff"  # scripts that leave no space between words: a letter stands for one
SPELLED = re.compile(rf"[{SINGLE}]|[^\W\d_{SINGLE}]+")


def spelled_words(text: str) -> list[str]:
    """The words of letters alone, in lower case. Other forms of a word are other words, as they are to the tokenizer.

    >>> spelled_words("Two foxes, 3D!")
    ['two', 'foxes', 'd']
    """
    return SPELLED.findall(unicodedata.normalize("NFC", text.lower()))


START, END = "<|startoftext|>", "<|endoftext|>"
# The original ignores case: a long s is an s to it, and the iota subscript, a letter by case alone, is nothing.
WORD = (
    rf"{re.escape(START)}|{re.escape(END)}".replace("s", "[s\u017f]")
    + r"|'[s\u017f]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u0345]+"
)


def clip_tokenizer(ids: dict[str, int], merges: Sequence[tuple[str, ...]]) -> PreTrainedTokenizerFast:
    """CLIP's byte-pair tokenizer over a vocabulary {token: id}, which has START and END, and its merges, best first.

    Built from the bare data, since transformers 4 and 5 read and write different files.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pairs = [(first, second) for first, second in merges]
    bpe = models.BPE(ids, pairs, unk_token=END, continuing_subword_prefix="", end_of_word_suffix="</w>")
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END, unk_token=END)


def clip_text_model(spec: TextSpec, context: AbstractContextManager[Any] | None = None) -> CLIPTextModel:
    """CLIP's text tower with weights as torch makes them, in the context if one is given."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=spec.vocabulary,
        max_position_embeddings=spec.length,
        hidden_size=spec.width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.mlp_width,
        hidden_act=spec.activation,
        bos_token_id=spec.vocabulary - 2,
        eos_token_id=spec.vocabulary - 1,
    )
    with context or nullcontext():  # not around the imports: there transformers 4 makes tensors that it reads
        return CLIPTextModel(config)
