"""A graphics card that is not there: a device with all that ComfyUI asks its driver."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from unittest import mock

import torch

from .fake import Attention, FakeDevice, is_cuda

ROOM = 8 << 30  # bytes of a card with room for everything


class Stream:
    """All that is sent or launched is done at once."""

    def __init__(self, **how):
        pass

    def wait_stream(self, other):
        pass


class Card(FakeDevice):
    """Adds up the bytes of what is sent to it."""

    def __init__(self, total: int = ROOM, *, float64: bool = True):
        super().__init__(float64=float64)
        self.total = total
        self.sent = 0

    def __enter__(self):
        super().__enter__()
        properties = SimpleNamespace(name="NVIDIA", major=9, minor=0, total_memory=self.total)
        pinning = SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda *_: 0)
        driver = {
            "get_device_properties": lambda *_: properties,
            "get_device_name": lambda *_: properties.name,
            "is_bf16_supported": lambda *_: True,
            "mem_get_info": lambda *_: (self.total - self.used, self.total),
            "memory_stats": lambda *_: dict.fromkeys(
                ["active_bytes.all.current", "reserved_bytes.all.current"], self.used
            ),
            "Stream": Stream,
            "stream": lambda _: contextlib.nullcontext(),
            "current_stream": lambda *_: Stream(),
            "cudart": lambda: pinning,
            **dict.fromkeys(["synchronize", "ipc_collect"], lambda *_: None),
        }
        for name, value in driver.items():
            self.undo.enter_context(mock.patch.object(torch.cuda, name, value))
        return self

    @contextlib.contextmanager
    def in_this_thread(self):
        """What belongs to a thread, and other threads than the first have to be told."""
        torch._C._set_only_lift_cpu_tensors(True)
        with Attention(), self.on_duty():
            yield

    def copy(self, function, x, named):
        result = super().copy(function, x, named)
        self.sent += result.nbytes * (is_cuda(result.device) and not is_cuda(x.device))
        return result

    def copy_into(self, function, into, source, *rest, **named):
        self.sent += source.nbytes * (is_cuda(into.device) and not is_cuda(source.device))
        return super().copy_into(function, into, source, *rest, **named)
