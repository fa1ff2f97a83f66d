"""A list of prompts, drawn by any number of processes on any number of machines (torchrun starts them).

Every line is one picture with a seed of its own, so it does not matter who draws it, or when: what is there already is
not drawn again, and the same command goes on where it was cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .model import VQDiffusion
from .pipeline import generate
from .settings import Settings
from .training.workers import ALONE, Workers


@dataclass(frozen=True)
class Job:
    """One picture to draw."""

    line: int  # where it stands in the list, from 1
    prompt: str
    negative: str | None
    seed: int
    settings: Settings
    path: Path


def read_jobs(file: Path, folder: Path, seed: int, settings: Settings, negative: str | None, model: str) -> list[Job]:
    """The pictures that a list asks for: one prompt a line, or, if its name ends in .jsonl, one JSON object a line with
    "prompt" and, if wanted, "name" (of the picture's file), "negative", "seed" and any of `Settings`. The arguments
    stand in for what a line leaves out; line n then has the seed `seed` + n - 1. Empty lines are passed over.

    A picture without a name is called by its line and by everything that it depends on, the model's name too, so that a
    changed line is drawn anew. Raises ValueError, which lists every line that is wrong.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no UTF-8 text: {error}. Save it as UTF-8.") from error
    jobs: list[Job] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        usual = Job(number, line.strip(), negative, (seed + number - 1) % 2**64, settings, folder)
        if not usual.prompt:
            continue
        try:
            job = read_line(line, usual) if file.suffix == ".jsonl" else usual
            jobs.append(job if job.path != folder else replace(job, path=folder / file_of(job, model)))
        except ValueError as error:
            wrong.append((number, str(error)))
    seen: dict[Path, int] = {}
    for job in jobs:
        if (first := seen.setdefault(job.path, job.line)) != job.line:
            wrong.append((job.line, f"its picture is called {job.path.name}, as that of line {first}."))
    if wrong:
        listed = [f"line {line}: {what}" for line, what in sorted(wrong)]
        raise ValueError("\n  ".join([f"{file} cannot be drawn:", *listed]))
    if not jobs:
        raise ValueError(f"{file} has no prompts; expected one a line.")
    return jobs


def read_line(line: str, usual: Job) -> Job:
    """A line of JSON over what a line usually says; `path` is still the folder, or ends in the given name."""
    try:
        given = json.loads(line)
    except ValueError as error:
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(given, dict) or not isinstance(given.get("prompt"), str):
        raise ValueError('expected a JSON object with a "prompt" in quotes.')
    choices = {field.name: getattr(usual.settings, field.name) for field in fields(Settings)}
    known = {"prompt": "", "name": "", "negative": "", "seed": 0} | choices
    if unknown := given.keys() - known.keys():
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(known)}.")
    for key, value in given.items():
        check_kind(key, value, known[key])
    settings = replace(usual.settings, **{key: value for key, value in given.items() if key in choices})
    seed = given.get("seed", usual.seed)
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}; expected a number from 0 to 2**64 - 1.")
    path = usual.path / file_name(given["name"]) if "name" in given else usual.path
    return Job(usual.line, given["prompt"], given.get("negative", usual.negative), seed, settings, path)


def check_kind(key: str, value: Any, like: Any) -> None:
    kinds = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}[type(like)]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        words = {str: "text in quotes", bool: "true or false", int: "a whole number", float: "a number"}
        raise ValueError(f"{key} is {json.dumps(value)}; expected {words[type(like)]}.")


def file_name(name: str) -> str:
    """The name of a picture's file, which stays in the folder.

    >>> file_name("fox")
    'fox.png'
    """
    if not name or name.startswith(".") or set(name) & set('/\\:*?"<>|\0\n'):
        raise ValueError(f"name is {name!r}; expected a plain file name, without folders.")
    return f"{name.removesuffix('.png')}.png"


def file_of(job: Job, model: str) -> str:
    """The file of a picture that was not given a name: another for any other picture."""
    content = [job.prompt, job.negative, job.seed, asdict(job.settings), model]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{job.line:05}-{digest[:8]}.png"


def draw(
    model: VQDiffusion, jobs: Sequence[Job], workers: Workers = ALONE, say: Callable[[str], None] = lambda line: None
) -> int:
    """Draw this process's part of the pictures that are not there yet; returns how many failed, of all processes.

    A picture that fails does not end the others: `say` is told of each that is drawn or fails. Call it in every
    process: it returns when all of them are done.
    """
    failed = 0
    for job in jobs[workers.rank :: workers.count]:
        if job.path.exists():
            continue
        try:
            (picture,) = generate(model, job.prompt, negative=job.negative, seed=job.seed, settings=job.settings)
            write_picture(picture, job.path)
        except Exception as error:  # whatever it is, the next prompt may be drawn
            failed += 1
            say(f"line {job.line} failed: {type(error).__name__}: {error}")
        else:
            say(str(job.path))
    return int(workers.gather(torch.tensor([failed], device=workers.device)).sum())


def write_picture(picture: Image.Image, path: Path) -> None:
    """Written beside its place and moved there: an earlier picture stays whole if this is cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    picture.save(unfinished, format="PNG")
    os.replace(unfinished, path)
