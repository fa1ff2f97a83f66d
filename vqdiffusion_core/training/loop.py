"""A training run in a folder: resumable to the same numbers, logged as CSV, safe to kill at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from tqdm import tqdm

from ..distributed import Interrupted, Processes
from ..files.atomic import atomic_write
from .checkpoint import Resumable, resume, save_checkpoint
from .log import Log, Metrics
from .signals import stop_signals


class Training(Resumable, Protocol):
    """What a run repeats. Randomness must follow from the step number alone: that is what makes a resume exact."""

    processes: Processes

    def batches(self, steps: range) -> Iterable[Any]:
        """What this process learns from in each of the steps."""
        ...

    def step(self, step: int, progress: float, batch: Any) -> Metrics:
        """Do one optimiser step; `progress` is the share of the run that is over, 0..1."""
        ...

    def sample_grid(self) -> Image.Image:
        """Images that show what has been learned so far."""
        ...


def run(
    training: Training,
    folder: Path,
    steps: int,
    *,
    save_every: int = 200,
    log_every: int = 50,
    report: Callable[[str], None] = tqdm.write,
) -> None:
    """Bring the run in `folder` to `steps` steps, going on from its last checkpoint where there is one.

    Leaves checkpoint.pt, log.csv and sheets/<step>.png. The learning rate follows the share of `steps` that is over, so
    a run that is made longer later is not the run that was planned as long. Ctrl-C and signals like it end it with a
    checkpoint and raise Interrupted.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected 1 or more.")
    folder.mkdir(parents=True, exist_ok=True)
    begin = kept = resume(training, folder)
    processes, rest = training.processes, range(begin, steps)
    log = Log(folder / "log.csv", begin, steps, report) if processes.is_main else None
    if log and not rest:
        report(f"{folder} has its {steps} steps already, {begin}; more --steps go on with it.")
    progress_bar = tqdm(rest, initial=begin, total=steps, unit="step", disable=processes.quiet)
    with stop_signals() as stop_signal:
        for step, batch in zip(progress_bar, training.batches(rest), strict=False):
            with breakdown_as_error(folder, step, kept):
                metrics = training.step(step, step / steps, batch)
            done = step + 1
            stop = processes.max(stop_signal())
            is_last = stop or done == steps
            if is_last or done % save_every == 0:
                save(training, folder, done)
                kept = done
            if log:
                log.add(metrics)
                if is_last or done % log_every == 0:
                    log.write(done)
            if stop:
                message = f"stopped at step {done} of {steps}, which is kept; the same command goes on from it."
                raise Interrupted(message, stop)


@contextmanager
def breakdown_as_error(folder: Path, step: int, kept: int) -> Iterator[None]:
    try:
        yield
    except FloatingPointError as error:
        raise ValueError(
            f"The run in {folder} broke down in step {step + 1}: {error}. What is kept of it, {kept} steps, is whole: "
            "go on with a lower --learning-rate, or with --precision float32."
        ) from error


def save(training: Training, folder: Path, step: int) -> None:
    """A checkpoint and a sheet of samples, by the main process while the others wait."""
    try:
        if training.processes.is_main:
            save_checkpoint(training, folder, step)
            (folder / "sheets").mkdir(exist_ok=True)
            with atomic_write(folder / "sheets" / f"{step:07}.png") as part:
                training.sample_grid().save(part, "png")
    except OSError as error:
        raise OSError(f"{error}. What was kept before is whole: mend this, and the same command goes on.") from error
    training.processes.barrier()
