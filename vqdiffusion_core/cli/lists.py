"""A list of prompts: the images that it asks for, one a line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..diffusion.noise import SEEDS
from ..diffusion.settings import Settings
from ..files.image_output import FORMATS, check_output
from ..files.texts import guess_notice, read_text
from ..notices import notify

HALF = re.compile("[\ud800-\udfff]")  # half of a letter, as "\\ud83d" in JSON, which no file can be called


@dataclass(frozen=True)
class Job:
    """One image to draw."""

    line: int  # where it stands in the list, from 1
    prompt: str
    negative: str | None
    seed: int
    settings: Settings
    path: Path


def read_jobs(file: Path, folder: Path, seed: int, settings: Settings, negative: str | None, model: str) -> list[Job]:
    """The images that a list asks for: one prompt a line, or, if its name ends in .jsonl, one JSON object a line with
    "prompt" and, if wanted, "name" (of the image's file), "negative", "seed" and any of `Settings`. The arguments
    stand in for what a line leaves out; line n then has the seed `seed` + n - 1. Empty lines are passed over.

    An image without a name is called by its line and by everything that it depends on, the model's name too, so that a
    changed line is drawn anew. Raises ValueError, which lists every line that is wrong.
    """
    text = read_text(file)
    if text.guessed:
        notify(guess_notice([file]))
    jobs: list[Job] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(text.lines, 1):
        defaults = Job(number, line.strip(), negative, (seed + number - 1) % SEEDS, settings, folder)
        if not defaults.prompt:
            continue
        try:
            job = read_line(line, defaults) if file.suffix == ".jsonl" else defaults
            jobs.append(job if job.path != folder else replace(job, path=folder / file_of(job, model)))
        except ValueError as error:
            wrong.append((number, str(error)))
    if wrong := sorted([*wrong, *shared_names(jobs)]):
        listed = [f"line {line}: {what}" for line, what in wrong]
        raise ValueError("\n  ".join([f"{file} cannot be drawn:", *listed]))
    if not jobs:
        raise ValueError(f"{file} has no prompts; expected one a line.")
    return jobs


def shared_names(jobs: Iterable[Job]) -> Iterator[tuple[int, str]]:
    """The lines whose image would take the place of an earlier one's, each with what is wrong."""
    seen: dict[Path, int] = {}
    for job in jobs:
        if (first := seen.setdefault(job.path, job.line)) != job.line:
            yield job.line, f"its image is called {job.path.name}, as that of line {first}."


def read_line(line: str, defaults: Job) -> Job:
    """A line of JSON over what a line usually says; `path` is still the folder, or ends in the given name."""
    try:
        given = json.loads(line)
    except ValueError as error:
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(given, dict) or not isinstance(given.get("prompt"), str):
        raise ValueError('expected a JSON object with a "prompt" in quotes.')
    choices = {field.name: getattr(defaults.settings, field.name) for field in fields(Settings)}
    known = {"prompt": "", "name": "", "negative": "", "seed": 0} | choices
    if unknown := given.keys() - known.keys():
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(known)}.")
    for key, value in given.items():
        check_type(key, value, known[key])
    settings = replace(defaults.settings, **{key: value for key, value in given.items() if key in choices})
    seed = given.get("seed", defaults.seed)
    if not 0 <= seed < SEEDS:
        raise ValueError(f"seed is {seed}; expected a number from 0 to 2**64 - 1.")
    path = defaults.path / file_name(given["name"]) if "name" in given else defaults.path
    return Job(defaults.line, given["prompt"], given.get("negative", defaults.negative), seed, settings, path)


def check_type(key: str, value: Any, like: Any) -> None:
    kinds = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}[type(like)]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        words = {str: "text in quotes", bool: "true or false", int: "a whole number", float: "a number"}
        raise ValueError(f"{key} is {json.dumps(value)}; expected {words[type(like)]}.")


def file_name(name: str) -> str:
    """The name of an image's file, which stays in the folder.

    >>> file_name("fox"), file_name("fox.jpg"), file_name("fox 1.5")
    ('fox.png', 'fox.jpg', 'fox 1.5.png')
    """
    if not name or name.startswith(".") or HALF.search(name) or set(name) & set('/\\:*?"<>|\0\n'):
        raise ValueError(f"name is {name!r}; expected a plain file name, without folders.")
    suffix = Path(name).suffix.lower()
    return name if suffix and suffix in FORMATS else f"{name}.png"


def file_of(job: Job, model: str) -> str:
    """The file of an image that was not given a name: another for any other image."""
    content = [job.prompt, job.negative, job.seed, asdict(job.settings), model]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{job.line:05}-{digest[:8]}.png"


def check_outputs(jobs: Sequence[Job]) -> None:
    """Raises ValueError or OSError where images that are not there yet cannot be written: all go to one folder, and
    the longest name shows whether it takes them.
    """
    if wanted := [job for job in jobs if not job.path.exists()]:
        check_output(max(wanted, key=lambda job: len(job.path.name.encode())).path)
