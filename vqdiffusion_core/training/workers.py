"""The processes that train one model together, each on its part of every batch (torchrun starts them).

Every process draws the random numbers of the whole batch and works on its own rows, so that any number of processes
takes the same steps as one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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


@contextmanager
def joined(device: str = "auto") -> Iterator[Workers]:
    """This process among those that torchrun started, or alone. `device` auto: cuda where there is one, else cpu."""
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind == "cuda":
        kind = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(kind)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Workers(device=torch.device(kind))
        return
    dist.init_process_group("nccl" if kind.startswith("cuda") else "gloo")
    try:
        yield Workers(dist.get_rank(), dist.get_world_size(), torch.device(kind))
    finally:
        dist.destroy_process_group()
