"""The processes that train one model together, each on its part of every batch (torchrun starts them).

Every process draws the random numbers of the whole batch and works on its own rows, so that any number of processes
takes the same steps as one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Workers:
    rank: int = 0  # this process, counted from 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks to the person who waits."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of the batch."""
        if len(rows) % self.count:
            raise ValueError(f"A batch of {len(rows)} does not divide among {self.count} processes; choose a multiple.")
        return rows[self.rank :: self.count]

    def gather(self, mine: Tensor) -> Tensor:
        """Everybody's rows, in the order of the batch: the inverse of `share`. Without gradients."""
        if self.count == 1:
            return mine.detach()
        parts = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(parts, mine.detach().contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def together(self, module: nn.Module) -> nn.Module:
        """The module, its gradients the mean over the processes."""
        return module if self.count == 1 else nn.parallel.DistributedDataParallel(module)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()


ALONE = Workers()


def device_of(name: str = "auto") -> torch.device:
    """A device by name; auto: cuda where there is one, else cpu. Of several GPUs, this process's own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(name)
    return torch.device(name)


@contextmanager
def joined(device: str = "auto", patience: timedelta | None = None) -> Iterator[Workers]:
    """This process among those that torchrun started, or alone, on the device that `device_of` says. `patience`: how
    long the others may be waited for, if not PyTorch's usual minutes.
    """
    place = device_of(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Workers(device=place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=patience)
    try:
        yield Workers(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()
