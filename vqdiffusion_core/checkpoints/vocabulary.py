"""CLIP's byte-pair vocabulary from the user's disk, in each of the forms that it is published in."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..networks.specs import TextSpec
from ..networks.text_encoder import END, START, TextEncoder
from .errors import CheckpointError
from .read.head import read_head
from .read.text import MAX_TEXT, read_json, read_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Merge = tuple[str, str]  # two tokens that become one
WORDS = "words.txt"  # beside a tokenizer: what the training's captions were made of, a word a line
OPENAI_MERGES = 49152 - 256 - 2  # OpenAI's file lists more than its models know


@dataclass(frozen=True)
class Vocabulary:
    ids: dict[str, int]
    merges: list[Merge]  # the best first
    words: frozenset[str] | None = None  # of the captions that a model was trained on, where they are known


def vocabulary_for(spec: TextSpec, folders: Sequence[Path]) -> Vocabulary:
    """The vocabulary in the first folder that has one. Raises CheckpointError if none has, or one of another size."""
    vocabulary = find_vocabulary(folders)
    folder = " or ".join(map(str, folders))
    if vocabulary is None:
        raise CheckpointError(
            f"There is no tokenizer in {folder}; expected vocab.json and merges.txt, tokenizer.json, or OpenAI's "
            "bpe_simple_vocab_16e6.txt.gz. Every released model uses the tokenizer of openai/clip-vit-base-patch32."
        )
    if len(vocabulary.ids) != spec.vocabulary:
        raise CheckpointError(
            f"The tokenizer in {folder} knows {len(vocabulary.ids)} tokens, the text encoder {spec.vocabulary}: they "
            "are not of one model."
        )
    return vocabulary


def find_vocabulary(folders: Iterable[Path]) -> Vocabulary | None:
    """The first vocabulary in one of the folders or directly below. Raises CheckpointError for a broken one."""
    for folder in map(Path.resolve, folders):
        children = sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []
        for place in [folder, *children]:
            if vocabulary := read_vocabulary(place):
                return vocabulary
    return None


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """vocab.json with merges.txt, tokenizer.json, or OpenAI's gzipped merges; None if there are none of them."""
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        merges = parse_merges(read_text(folder / "merges.txt"))
        return validate(Vocabulary(read_json(folder / "vocab.json"), merges, read_words(folder / WORDS)), folder)
    if (folder / "tokenizer.json").exists():
        return validate(vocabulary_of_tokenizer_json(read_json(folder / "tokenizer.json"), folder), folder)
    for file in sorted(folder.glob("[!.]*.gz")):
        return validate(vocabulary_of_openai(parse_merges(unzip(file))), file)
    return None


def read_words(file: Path) -> frozenset[str] | None:
    return frozenset(read_text(file).decode("utf-8", errors="replace").split()) if file.exists() else None


def vocabulary_of_tokenizer_json(content: dict[str, Any], folder: Path) -> Vocabulary:
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise CheckpointError(f"{folder / 'tokenizer.json'} has no byte-pair model; expected CLIP's tokenizer.")
    return Vocabulary(model["vocab"], [pair(merge) for merge in model.get("merges", [])])


def vocabulary_of_openai(merges: list[Merge]) -> Vocabulary:
    """OpenAI's file lists merges alone; the ids follow from their order."""
    merges = merges[:OPENAI_MERGES]
    letters = byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), START, END]
    return Vocabulary({word: i for i, word in enumerate(words)}, merges)


def byte_letters() -> list[str]:
    """The character that stands for each byte: itself where it is visible, else one above 255; visible ones first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = 256 - len(visible)
    return [chr(code) for code in [*visible, *range(256, 256 + hidden)]]


def parse_merges(data: bytes) -> list[Merge]:
    lines = data.decode("utf-8", errors="replace").split("\n")
    return [pair(line.strip()) for line in lines["#version" in lines[0] :] if line.strip()]


def pair(merge: str | list[str]) -> Merge:
    """Both ways to write a merge; what is none becomes one that no vocabulary knows.

    >>> pair("re d</w>"), pair(["re", "d</w>"]), pair("a b c")
    (('re', 'd</w>'), ('re', 'd</w>'), ('', ''))
    """
    tokens = merge.split(" ") if isinstance(merge, str) else merge
    if isinstance(tokens, list) and len(tokens) == 2 and all(isinstance(token, str) for token in tokens):
        return tokens[0], tokens[1]
    return "", ""


def unzip(file: Path) -> bytes:
    read_head(file)
    try:
        with gzip.open(file) as archive:
            data = archive.read(MAX_TEXT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CheckpointError(f"{file} is a broken gzip file ({error}). Copy or download it again.") from error
    if len(data) > MAX_TEXT:
        raise CheckpointError(f"{file} unfolds to more than {MAX_TEXT:,} bytes; CLIP's vocabulary has 3 MB.")
    return data


def validate(vocabulary: Vocabulary, source: Path) -> Vocabulary:
    """Raise CheckpointError unless ids are 0, 1, 2 ... and every merge joins two known tokens to a third."""
    ids, merges = vocabulary.ids, vocabulary.merges
    if {value for value in ids.values() if type(value) is int} != set(range(len(ids))):
        raise CheckpointError(f"{source}: the vocabulary's ids are not 0 to {len(ids) - 1}, each once. It is damaged.")
    if missing := [token for token in (START, END) if token not in ids]:
        raise CheckpointError(f"{source}: the vocabulary has no {missing[0]}; expected CLIP's.")
    for merge in merges:
        if not {*merge, "".join(merge)} <= ids.keys():
            raise CheckpointError(f"{source}: the merge {merge!r} does not join two known tokens to a third.")
    return vocabulary


def vocabulary_of(text: TextEncoder) -> Vocabulary:
    """What a text encoder's tokenizer was made from."""
    return replace(vocabulary_of_backend(text.tokenizer.backend_tokenizer), words=text.known_words)


def vocabulary_of_backend(tokenizer: Tokenizer) -> Vocabulary:
    model = json.loads(tokenizer.to_str())["model"]
    return Vocabulary(model["vocab"], [pair(merge) for merge in model["merges"]])


def write_vocabulary(vocabulary: Vocabulary, length: int, folder: Path) -> None:
    """Write a tokenizer folder that every version of transformers reads, with the words of the captions beside it."""
    folder.mkdir(parents=True)
    ordered = dict(sorted(vocabulary.ids.items(), key=lambda item: item[1]))
    write_json(ordered, folder / "vocab.json")
    merges = "".join(f"{a} {b}\n" for a, b in vocabulary.merges)
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8", newline="\n")
    if vocabulary.words is not None:
        words = "".join(f"{word}\n" for word in sorted(vocabulary.words))
        (folder / WORDS).write_text(words, encoding="utf-8", newline="\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": next(iter(ordered))}
    write_json(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **special}, folder / "tokenizer_config.json"
    )


def write_json(content: dict[str, Any], path: Path) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
