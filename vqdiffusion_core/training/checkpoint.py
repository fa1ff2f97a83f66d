"""The checkpoint of a run in its folder: whole at any moment, and taken up again by the run that it is of alone."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, Protocol

import torch

from ..files.atomic import atomic_write
from ..notices import notify

FILE = "checkpoint.pt"
KINDS = {  # by what their config has
    "codec": "a codec",
    "lora": "a LoRA",
    "transformer": "a diffusion model",
    "gpt": "an autoregressive model",
    "matching": "a text encoder",
}
MAY_CHANGE = ("learning_rate", "mixed", "token_shares", "blank_share")  # when a run goes on


class Resumable(Protocol):
    @property
    def config(self) -> dict[str, Any]:
        """What must be the same when a run goes on, but for MAY_CHANGE."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def save_checkpoint(training: Resumable, folder: Path, step: int) -> None:
    write_tensors({"step": step, "setup": training.config, "training": training.state_dict()}, folder / FILE)


def resume(training: Resumable, folder: Path) -> int:
    """Load the folder's checkpoint, if any; the number of steps that it has behind it.

    Raises ValueError where the run was begun with another config, but for what may change on the way.
    """
    if not (folder / FILE).exists():
        return 0
    checkpoint = read_tensors(folder / FILE)
    before, now = checkpoint["setup"], training.config
    differences = {
        name: f"{name} {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]
    }
    if fixed := [line for name, line in differences.items() if name not in MAY_CHANGE]:
        raise ValueError(
            f"The run in {folder} was begun with {'; '.join(fixed)}. "
            "Give the same options to go on with it, or another folder to begin anew."
        )
    try:
        training.load_state_dict(checkpoint["training"])
    except (RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"The run in {folder} was begun with another model or other captions: {line:.300}") from error
    if differences:
        notify(f"The run in {folder} had {'; '.join(differences.values())}.")
    return checkpoint["step"]


def find_run(folder: Path, kind: str) -> dict[str, Any] | None:
    """The checkpoint of the run in a folder, its tensors unread; None where no run is. Raises ValueError where it is
    the run of another kind than `kind`, one of KINDS.
    """
    if not (folder / FILE).exists():
        return None
    checkpoint = read_tensors(folder / FILE, mapped=True)
    found = next((name for name in KINDS if name in checkpoint.get("setup", {})), None)
    if found != kind:
        holds = f"the run of {KINDS[found]}" if found else "a checkpoint that is not of a run"
        raise ValueError(f"{folder} holds {holds}; expected one of {KINDS[kind]}, or a folder without a run.")
    return checkpoint


def write_tensors(content: Any, path: Path) -> None:
    with atomic_write(path) as part, part.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch says of a full disk that a position is unexpected
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file


def read_tensors(path: Path, *, mapped: bool = False) -> Any:
    """What `write_tensors` wrote; `mapped`: its tensors are read from the file when they are looked at. Raises
    ValueError for any other file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged or cut short, at {path.stat().st_size:,} bytes; put back a whole copy of it, or delete "
            "it to have it made anew."
        ) from error
