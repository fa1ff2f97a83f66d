"""A graphics card for ComfyUI that is not there: what its modules ask the driver and its command line, answered."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from unittest import mock
from weakref import WeakValueDictionary

import comfy.model_management as management
import torch
from comfy.cli_args import args
from pack.nodes import loaders
from pack.tests.device.fake import FakeDevice, is_cuda

ROOM = 8 << 30  # bytes of a card with room for everything
FLAGS = {  # as comfy/model_management.py reads them when it is imported
    "": ("NORMAL_VRAM", []),
    "--lowvram": ("LOW_VRAM", []),
    "--novram": ("NO_VRAM", []),
    "--highvram": ("HIGH_VRAM", []),
    "--gpu-only": ("HIGH_VRAM", ["gpu_only"]),
    "--cpu-vae": ("NORMAL_VRAM", ["cpu_vae"]),
}


class Card(FakeDevice):
    """Adds up the bytes of what is sent to it."""

    def __init__(self, total: int = ROOM):
        super().__init__()
        self.total = total
        self.sent = 0

    def copy(self, function, x, named):
        result = super().copy(function, x, named)
        self.sent += result.nbytes * (is_cuda(result.device) and not is_cuda(x.device))
        return result

    def copy_into(self, function, into, source, *rest, **named):
        self.sent += source.nbytes * (is_cuda(into.device) and not is_cuda(source.device))
        return super().copy_into(function, into, source, *rest, **named)


@contextlib.contextmanager
def graphics_card(flag: str = "", total: int = ROOM):
    """ComfyUI as it is when it has been started with this flag on a machine with a card of so many bytes."""
    state, on = FLAGS[flag]
    card = Card(total)
    properties = SimpleNamespace(name="NVIDIA", major=9, minor=0, total_memory=total)
    driver = {
        "get_device_properties": lambda *_: properties,
        "get_device_name": lambda *_: properties.name,
        "is_bf16_supported": lambda *_: True,
        "mem_get_info": lambda *_: (card.total - card.used, card.total),
        "memory_stats": lambda *_: dict.fromkeys(["active_bytes.all.current", "reserved_bytes.all.current"], card.used),
        **dict.fromkeys(["synchronize", "ipc_collect", "current_stream"], lambda *_: None),
    }
    host = {
        "cpu_state": management.CPUState.GPU,
        "vram_state": management.VRAMState[state],
        "MIN_WEIGHT_MEMORY_RATIO": 0.0,  # as for NVIDIA's
        "current_loaded_models": [],
    }
    with contextlib.ExitStack() as stack:
        for where, values in (
            (torch.cuda, driver),
            (management, host),
            (args, {"cpu": False, **dict.fromkeys(on, True)}),
            (loaders, {"LOADED": WeakValueDictionary()}),
        ):
            for name, value in values.items():
                stack.enter_context(mock.patch.object(where, name, value))
        yield stack.enter_context(card)
