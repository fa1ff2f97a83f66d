"""A CLIP vocabulary of one's own, learned from captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tokenizers import pre_tokenizers, trainers

from ..checkpoints.vocabulary import Vocabulary, vocabulary_of_backend
from ..networks.text_encoder import END, START, clip_tokenizer, spelled_words


def learn_vocabulary(captions: Iterable[str], merges: int) -> Vocabulary:
    """Byte-pair encoding with at most `merges` merges, ids laid out as OpenAI's: the 256 bytes ("!" first, which is the
    padding), the bytes as the end of a word, the merges, start and end of text. With the words of the captions.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = alphabet + [letter + "</w>" for letter in alphabet]
    backend = clip_tokenizer({START: 0, END: 1}, []).backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + merges,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        show_progress=False,
    )
    known: set[str] = set()

    def read() -> Iterator[str]:
        for caption in captions:
            known.update(spelled_words(caption))
            yield caption

    backend.train_from_iterator(read(), trainer)
    learned = vocabulary_of_backend(backend).merges
    words = letters + ["".join(merge) for merge in learned] + [START, END]
    return Vocabulary({word: i for i, word in enumerate(dict.fromkeys(words))}, learned, frozenset(known))
