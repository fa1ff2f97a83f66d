"""Times that can be compared: everything that is compared takes its turn, round after round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

now = time.perf_counter  # or `time.thread_time`, after `one_core`


@dataclass(frozen=True)
class Times:
    """Seconds of the same work, one number a round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """Half the range, as a share of the median."""
        return (max(self.rounds) - min(self.rounds)) / 2 / self.median

    def over(self, other: Times) -> float:
        """How many times as long `other` takes: the median of what each round says."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.rounds, other.rounds, strict=True))


def paired(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Each piece of work in turn, `rounds` times after one to warm up: a busy moment of the machine meets them all."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, call in work.items():
            seconds[name].append(timed(call))
    return {name: Times(tuple(each[1:])) for name, each in seconds.items()}


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call, with all work that it has given to a GPU."""
    wait()
    begin = now()
    call()
    wait()
    return now() - begin


def one_core() -> None:
    """From now on in seconds that the processor gives to one thread: other work on the machine hardly changes them."""
    global now
    now = time.thread_time
    torch.set_num_threads(1)


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
