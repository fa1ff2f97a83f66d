"""A training run in a folder: resumable to the same numbers, logged as CSV, safe to kill at any moment."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

from .workers import Workers


class Training(Protocol):
    """What a run repeats. Randomness must follow from the step number alone: that is what makes a resume exact."""

    workers: Workers

    @property
    def setup(self) -> dict[str, Any]:
        """What must be the same when a run goes on."""
        ...

    def step(self, step: int, progress: float) -> dict[str, float]:
        """Do one optimiser step; `progress` is the share of the run that is over, 0..1. Returns numbers to log."""
        ...

    def sheet(self) -> Image.Image:
        """Pictures that show what has been learned so far."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def run(
    training: Training,
    folder: Path,
    steps: int,
    *,
    save_every: int = 200,
    log_every: int = 50,
    report: Callable[[str], None] = print,
) -> None:
    """Bring the run in `folder` to `steps` steps, going on from its last checkpoint where there is one.

    Leaves checkpoint.pt, log.csv and sheets/<step>.png. The learning rate follows the share of `steps` that is over, so
    a run that is made longer later is not the run that was planned as long.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected 1 or more.")
    folder.mkdir(parents=True, exist_ok=True)
    done = resume(training, folder)
    leads = training.workers.leads
    log = Log(folder / "log.csv", done, steps, report) if leads else None
    for step in range(done, steps):
        numbers = training.step(step, step / steps)
        last = step + 1 == steps
        if log:
            log.add(numbers)
            if (step + 1) % log_every == 0 or last:
                log.write(step + 1)
        if (step + 1) % save_every == 0 or last:
            if leads:
                save(training, folder, step + 1)
            training.workers.wait()


def save(training: Training, folder: Path, step: int) -> None:
    """Write the checkpoint beside its place and move it there, so that a kill leaves the old one or the new one."""
    unfinished = folder / "checkpoint.pt.part"
    with unfinished.open("wb") as file:
        try:
            torch.save({"step": step, "setup": training.setup, "training": training.state_dict()}, file)
        except RuntimeError as error:  # torch says of a full disk that a position is unexpected
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
    os.replace(unfinished, folder / "checkpoint.pt")
    (folder / "sheets").mkdir(exist_ok=True)
    training.sheet().save(folder / "sheets" / f"{step:07}.png")


def resume(training: Training, folder: Path) -> int:
    """Load the folder's checkpoint, if any; the number of steps that it has behind it.

    Raises ValueError where the run was begun with another setup.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    begun, asked = checkpoint["setup"], training.setup
    if differences := [
        f"{name} {begun.get(name)}, now {asked[name]}" for name in asked if begun.get(name) != asked[name]
    ]:
        raise ValueError(
            f"The run in {folder} was begun with {'; '.join(differences)}. "
            "Give the same options to go on with it, or another folder to begin anew."
        )
    training.load_state_dict(checkpoint["training"])
    return checkpoint["step"]


class Log:
    """Means of the numbers since the last line, to a CSV file and to the person who waits."""

    def __init__(self, path: Path, done: int, steps: int, report: Callable[[str], None]):
        self.path = path
        self.steps = steps
        self.report = report
        self.rows: list[dict[str, float]] = []
        self.since = time.monotonic()
        self.forget_after(done)

    def forget_after(self, done: int) -> None:
        """Drop the lines of steps that were cut off and are about to be done again."""
        if self.path.exists():
            head, *lines = self.path.read_text().splitlines(keepends=True)
            kept = [line for line in lines if int(line.split(",", 1)[0]) <= done]
            self.path.write_text("".join([head, *kept]))

    def add(self, numbers: dict[str, float]) -> None:
        self.rows.append(numbers)

    def write(self, step: int) -> None:
        now = time.monotonic()
        means = {name: sum(row[name] for row in self.rows) / len(self.rows) for name in self.rows[-1]}
        line = {"step": step, **means, "steps_per_second": len(self.rows) / (now - self.since)}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, line, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(line)
        left = (self.steps - step) / line["steps_per_second"] / 60
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in line.items())
        self.report(f"{numbers}  minutes_left {left:.0f}")
        self.rows.clear()
        self.since = now


def cosine(progress: float, warm_up: float = 0.02, floor: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to `floor`."""
    if progress < warm_up:
        return max(progress / warm_up, 1e-3)
    angle = torch.pi * (progress - warm_up) / (1 - warm_up)
    return floor + (1 - floor) * 0.5 * (1 + float(torch.cos(torch.tensor(angle))))


@contextmanager
def precision(device: torch.device, mixed: bool) -> Iterator[None]:
    """Networks inside run in bfloat16 where that is safe, if `mixed`, their weights staying float32."""
    # On a CPU the backward pass of fused attention takes half of a step; with the plain one, steps are 1.6 times as
    # fast.
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed), attention:
        yield
