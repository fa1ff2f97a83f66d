"""A training run in a folder: resumable to the same numbers, logged as CSV, safe to kill at any moment."""

from __future__ import annotations

import csv
import math
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from ..distributed import Interrupted, Workers
from ..notices import notify

MAY_CHANGE = ("learning_rate", "mixed")  # when a run goes on


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

    def sample_grid(self) -> Image.Image:
        """Images that show what has been learned so far."""
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
    done = resume(training, folder)
    workers = training.workers
    log = Log(folder / "log.csv", done, steps, report) if workers.is_main else None
    if log and done >= steps:
        report(f"{folder} has its {steps} steps already, {done}; more --steps go on with it.")
    kept = done
    with asked_to_stop() as asked:
        for step in tqdm(range(done, steps), initial=done, total=steps, unit="step", disable=workers.quiet):
            try:
                numbers = training.step(step, step / steps)
            except FloatingPointError as error:
                raise ValueError(
                    f"The run in {folder} broke down in step {step + 1}: {error}. What is kept of it, {kept} steps, is "
                    "whole: go on with a lower --learning-rate, or with --precision float32."
                ) from error
            stop, last = workers.max(asked()), step + 1 == steps
            if stop or last or (step + 1) % save_every == 0:
                if workers.is_main:
                    save(training, folder, step + 1)
                workers.wait()
                kept = step + 1
            if log:
                log.add(numbers)
                if stop or last or (step + 1) % log_every == 0:
                    log.write(step + 1)
            if stop:
                raise Interrupted(
                    f"stopped at step {step + 1} of {steps}, which is kept; the same command goes on from it.", stop
                )


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], int]]:
    """The number of the first signal to end that came since, or 0: Ctrl-C, a kill, a terminal that was closed. A second
    one acts as it does elsewhere.
    """
    heard: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers}
    if threading.current_thread() is not threading.main_thread():  # no signals come here, and none may be caught
        before.clear()

    def hear(number: int, frame: object) -> None:
        heard.append(number)
        signal.signal(number, before[number])

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, hear)
    try:
        yield lambda: heard[0] if heard else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def clip(weights: list[nn.Parameter]) -> float:
    """Bring the norm of all gradients down to 1; the norm before. Raises FloatingPointError where it is not a number,
    before anything of it is learned.
    """
    norm = float(nn.utils.clip_grad_norm_(weights, 1.0))
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradient is {norm}")
    return norm


def save(training: Training, folder: Path, step: int) -> None:
    try:
        write_tensors(
            {"step": step, "setup": training.setup, "training": training.state_dict()}, folder / "checkpoint.pt"
        )
        (folder / "sheets").mkdir(exist_ok=True)
        with beside(folder / "sheets" / f"{step:07}.png") as unfinished:
            training.sample_grid().save(unfinished, "png")
    except OSError as error:
        raise OSError(f"{error}. What was kept before is whole: mend this, and the same command goes on.") from error


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Where to write what takes the place of `path` when the block is over: at any moment the old file is there or the
    new one. What fails, as on a full disk, leaves nothing behind, and the error names the file.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_tensors(content: Any, path: Path) -> None:
    with beside(path) as unfinished, unfinished.open("wb") as file:
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


KINDS = {"codec": "a codec", "transformer": "a diffusion model"}  # by what their setup has


def begun(folder: Path, kind: str) -> dict[str, Any] | None:
    """The checkpoint of the run in a folder, its tensors unread; None where no run is. Raises ValueError where it is a
    run of another kind than "codec" or "transformer".
    """
    if not (folder / "checkpoint.pt").exists():
        return None
    checkpoint = read_tensors(folder / "checkpoint.pt", mapped=True)
    found = next((name for name in KINDS if name in checkpoint.get("setup", {})), None)
    if found != kind:
        holds = f"the run of {KINDS[found]}" if found else "a checkpoint that is not of a run"
        raise ValueError(f"{folder} holds {holds}; expected one of {KINDS[kind]}, or a folder without a run.")
    return checkpoint


def resume(training: Training, folder: Path) -> int:
    """Load the folder's checkpoint, if any; the number of steps that it has behind it.

    Raises ValueError where the run was begun with another setup, but for what may change on the way.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    checkpoint = read_tensors(path)
    before, asked = checkpoint["setup"], training.setup
    differences = {
        name: f"{name} {before[name]}, now {asked[name]}"
        for name in asked
        if before.get(name, asked[name]) != asked[name]
    }
    if fixed := [said for name, said in differences.items() if name not in MAY_CHANGE]:
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
            head, *lines = self.path.read_text().splitlines(keepends=True) or [""]
            steps = [(line, line.partition(",")[0]) for line in lines if line.endswith("\n")]
            kept = [line for line, step in steps if step.isdecimal() and int(step) <= done]
            with beside(self.path) as unfinished:
                unfinished.write_text("".join([head, *kept]))

    def add(self, numbers: dict[str, float]) -> None:
        self.rows.append(numbers)

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
