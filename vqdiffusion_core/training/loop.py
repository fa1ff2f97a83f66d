"""A training run in a folder: resumable to the same numbers, logged as CSV, safe to kill at any moment."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch


class Training(Protocol):
    """What a run repeats. Randomness must follow from the step number alone: that is what makes a resume exact."""

    def step(self, step: int, progress: float) -> dict[str, float]:
        """Do one optimiser step; `progress` is the share of the run that is over, 0..1. Returns numbers to log."""
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
    """Bring the run in `folder` to `steps` steps, going on from its last checkpoint where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    done = resume(training, folder)
    log = Log(folder / "log.csv", report)
    for step in range(done, steps):
        log.add(training.step(step, step / steps))
        if (step + 1) % log_every == 0:
            log.write(step + 1)
        if (step + 1) % save_every == 0 or step + 1 == steps:
            save(training, folder, step + 1)


def save(training: Training, folder: Path, step: int) -> None:
    """Write the checkpoint beside its place and move it there, so that a kill leaves the old one or the new one."""
    unfinished = folder / "checkpoint.pt.part"
    torch.save({"step": step, "training": training.state_dict()}, unfinished)
    os.replace(unfinished, folder / "checkpoint.pt")


def resume(training: Training, folder: Path) -> int:
    """Load the folder's checkpoint, if any; the number of steps that it has behind it."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    training.load_state_dict(checkpoint["training"])
    return checkpoint["step"]


class Log:
    """Means of the numbers since the last line, to a CSV file and to the person who waits."""

    def __init__(self, path: Path, report: Callable[[str], None]):
        self.path = path
        self.report = report
        self.rows: list[dict[str, float]] = []
        self.since = time.monotonic()

    def add(self, numbers: dict[str, float]) -> None:
        self.rows.append(numbers)

    def write(self, step: int) -> None:
        now = time.monotonic()
        means = {name: sum(row[name] for row in self.rows) / len(self.rows) for name in self.rows[-1]}
        line = {"step": step, **means, "steps_per_second": len(self.rows) / (now - self.since)}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, line)
            if new:
                writer.writeheader()
            writer.writerow(line)
        self.report("  ".join(f"{name} {value:.4g}" for name, value in line.items()))
        self.rows.clear()
        self.since = now


def cosine(progress: float, warm_up: float = 0.02, floor: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to `floor`."""
    if progress < warm_up:
        return max(progress / warm_up, 1e-3)
    angle = torch.pi * (progress - warm_up) / (1 - warm_up)
    return floor + (1 - floor) * 0.5 * (1 + float(torch.cos(torch.tensor(angle))))
