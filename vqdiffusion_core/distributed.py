"""The processes that train one model together, each on its part of every batch (torchrun starts them).

Every process draws the random numbers of the whole batch and works on its own rows, so that any number of processes
takes the same steps as one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

PATIENCE = timedelta(days=365)  # with a process that encodes, writes or draws while the others wait
Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    rank: int = 0  # this process, counted from 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    patient: dist.ProcessGroup | None = None  # all of them again, on the CPU, with PATIENCE

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and talks to the person who waits."""
        return self.rank == 0

    @property
    def quiet(self) -> bool | None:
        """Of progress bars: None, which tqdm takes for quiet unless on a terminal, or True beside the main process."""
        return None if self.is_main else True

    def check_batch(self, batch: int) -> None:
        """Raise ValueError for a batch that cannot be sharded."""
        if batch % self.count:
            raise ValueError(f"A batch of {batch} does not divide among {self.count} processes; choose a multiple.")

    def shard(self, rows: Tensor) -> Tensor:
        """This process's rows of the batch."""
        self.check_batch(len(rows))
        return rows[self.rank :: self.count]

    def accumulate(self, module: nn.Module, parts: Sequence[Item]) -> Iterator[Item]:
        """The parts of a batch in turn, each to be taken back through the module, a `distribute`d one: the sum of their
        gradients is averaged over the processes once, with the last.
        """
        for i, part in enumerate(parts):
            is_last = i + 1 == len(parts)
            many = isinstance(module, nn.parallel.DistributedDataParallel)
            with module.no_sync() if many and not is_last else nullcontext():
                yield part

    def all_gather(self, mine: Tensor) -> Tensor:
        """Everybody's rows, in the order of the batch: the inverse of `shard`. Without gradients."""
        if self.count == 1:
            return mine.detach()
        sent = mine.detach().to(self.device).contiguous()  # GPUs talk to each other only of what lies on them
        parts = [torch.empty_like(sent) for _ in range(self.count)]
        dist.all_gather(parts, sent)
        return torch.stack(parts, 1).flatten(0, 1).to(mine.device)

    def gather_objects(self, mine: Sequence[Item]) -> list[Item]:
        """For the main process, everything of a list of which each process has every `count`-th; else nothing."""
        if self.count == 1:
            return list(mine)
        parts: list[Sequence[Item]] = [[] for _ in range(self.count if self.is_main else 0)]
        dist.gather_object(mine, parts or None, group=self.patient)
        return [part[i] for i in range(len(mine)) for part in parts if i < len(part)]

    def max(self, number: int) -> int:
        """The largest of everybody's numbers."""
        return self.all_reduce(number, dist.ReduceOp.MAX)

    def sum(self, number: int) -> int:
        """Everybody's numbers together."""
        return self.all_reduce(number, dist.ReduceOp.SUM)

    def all_reduce(self, number: int, operation: Any) -> int:
        if self.count == 1:
            return number
        reduced = torch.tensor(number)
        dist.all_reduce(reduced, operation, group=self.patient)
        return int(reduced)

    def distribute(self, module: nn.Module) -> nn.Module:
        """The module, its gradients the mean over the processes."""
        self.barrier()  # what the wrapper sends at once has PyTorch's own patience, minutes
        return module if self.count == 1 else nn.parallel.DistributedDataParallel(module)

    def barrier(self) -> None:
        """Until every process is here, for as long as that takes."""
        if self.count > 1:
            dist.barrier(group=self.patient)


ALONE = Processes()


def choose_device(name: str = "auto") -> torch.device:
    """A device by name; auto: cuda where there is one, else cpu. Of several GPUs, this process's own. Raises ValueError
    for one that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        gpus = torch.cuda.device_count()
        raise ValueError(
            f"device {name} cannot be used ({str(error).splitlines()[0]:.200}); this machine has cpu and {gpus} GPUs "
            "of CUDA. Of several processes each needs a GPU of its own."
        ) from error
    if place.type == "cuda":
        torch.cuda.set_device(place)
    return place


class Interrupted(KeyboardInterrupt):
    """Someone asked a command to end, by the signal of this number; what it says is how to go on."""

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.number = number


@contextmanager
def init_processes(device: str = "auto") -> Iterator[Processes]:
    """This process among those that torchrun started, or alone, on the device that `choose_device` says.

    When several fail, as the others do when one is gone, the first says why and the others end in silence.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Processes(device=choose_device(device))
        return
    store, rank, count = next(rendezvous("env://"))
    try:
        place = choose_device(device)
        backend = "nccl" if place.type == "cuda" else "gloo"
        groups = PrefixStore("groups", store)
        dist.init_process_group(backend, store=groups, rank=rank, world_size=count)
        patient = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=PATIENCE))
        yield Processes(rank, count, place, patient)
    except (Exception, KeyboardInterrupt) as error:
        if store.add("failures", 1) > 1:
            sys.exit(128 + getattr(error, "number", signal.SIGINT) if isinstance(error, KeyboardInterrupt) else 1)
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise ConnectionError("Another process of this run ended and did not say why; was it killed?") from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
