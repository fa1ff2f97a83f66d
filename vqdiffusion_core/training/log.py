"""The log of a run, as CSV."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

from ..files.atomic import atomic_write

Metrics = dict[str, float]


class Log:
    """Means of the metrics since the last line, to a file and to the person who waits."""

    def __init__(self, path: Path, done: int, steps: int, report: Callable[[str], None]):
        self.path = path
        self.steps = steps
        self.report = report
        self.rows: list[Metrics] = []
        self.since = time.monotonic()
        self.forget_after(done)

    def forget_after(self, done: int) -> None:
        """Drop the lines of steps that were cut off and are about to be done again."""
        if self.path.exists():
            head, *lines = self.path.read_text().splitlines(keepends=True) or [""]
            steps = [(line, line.partition(",")[0]) for line in lines if line.endswith("\n")]
            kept = [line for line, step in steps if step.isdecimal() and int(step) <= done]
            with atomic_write(self.path) as part:
                part.write_text("".join([head, *kept]))

    def add(self, metrics: Metrics) -> None:
        self.rows.append(metrics)

    def write(self, step: int) -> None:
        now = time.monotonic()
        means = {name: sum(row[name] for row in self.rows) / len(self.rows) for name in self.rows[-1]}
        line = {"step": step, **means, "steps_per_second": len(self.rows) / (now - self.since)}
        new = not self.path.exists() or not self.path.stat().st_size
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
