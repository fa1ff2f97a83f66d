"""CLIP's byte-pair vocabulary from the user's disk, in the forms that transformers publishes it in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..text_encoder import END, START, TextEncoder
from .errors import CheckpointError
from .read import read_json, read_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Merge = tuple[str, ...]  # two tokens that become one


@dataclass(frozen=True)
class Vocabulary:
    ids: dict[str, int]
    merges: list[Merge]  # the best first


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """vocab.json with merges.txt, or tokenizer.json; None if there is neither."""
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        merges = parse_merges(read_text(folder / "merges.txt"))
        return checked(Vocabulary(read_json(folder / "vocab.json"), merges), folder)
    if (folder / "tokenizer.json").exists():
        return checked(of_tokenizer_json(read_json(folder / "tokenizer.json"), folder), folder)
    return None


def of_tokenizer_json(content: dict, folder: Path) -> Vocabulary:
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise CheckpointError(f"{folder / 'tokenizer.json'} has no byte-pair model; expected CLIP's tokenizer.")
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", [])]
    return Vocabulary(model["vocab"], [tuple(merge) for merge in merges])


def parse_merges(data: bytes) -> list[Merge]:
    lines = data.decode("utf-8", errors="replace").split("\n")
    return [tuple(line.split()) for line in lines["#version" in lines[0] :] if line.strip()]


def checked(vocabulary: Vocabulary, source: Path) -> Vocabulary:
    """Raise CheckpointError unless ids are 0, 1, 2 ... and every merge joins two known tokens to a third."""
    ids, merges = vocabulary.ids, vocabulary.merges
    if {value for value in ids.values() if type(value) is int} != set(range(len(ids))):
        raise CheckpointError(f"{source}: the vocabulary's ids are not 0 to {len(ids) - 1}, each once. It is damaged.")
    if missing := [token for token in (START, END) if token not in ids]:
        raise CheckpointError(f"{source}: the vocabulary has no {missing[0]}; expected CLIP's.")
    for merge in merges:
        if len(merge) != 2 or not all(isinstance(token, str) for token in merge) or not known(merge, ids):
            raise CheckpointError(f"{source}: the merge {merge!r} does not join two known tokens to a third.")
    return vocabulary


def known(merge: Merge, ids: dict[str, int]) -> bool:
    return {*merge, "".join(merge)} <= ids.keys()


def vocabulary_of(text: TextEncoder) -> Vocabulary:
    """What a text encoder's tokenizer was made from."""
    return of_backend(text.tokenizer.backend_tokenizer)


def of_backend(tokenizer: Tokenizer) -> Vocabulary:
    model = json.loads(tokenizer.to_str())["model"]
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return Vocabulary(model["vocab"], [tuple(merge) for merge in merges])


def write_vocabulary(vocabulary: Vocabulary, length: int, folder: Path) -> None:
    """Write a tokenizer folder that every version of transformers reads."""
    folder.mkdir(parents=True)
    ordered = dict(sorted(vocabulary.ids.items(), key=lambda item: item[1]))
    write_json(ordered, folder / "vocab.json")
    merges = "".join(f"{a} {b}\n" for a, b in vocabulary.merges)
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8", newline="\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": next(iter(ordered))}
    write_json(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **special}, folder / "tokenizer_config.json"
    )


def write_json(content: dict, path: Path) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
