"""A graphics card for ComfyUI that is not there: what its modules ask the command line, answered."""

from __future__ import annotations

import contextlib
from unittest import mock
from weakref import WeakValueDictionary

import comfy.model_management as management
from comfy.cli_args import args
from pack.nodes import loaders
from pack.tests.device.card import ROOM, Card

FLAGS = {  # as comfy/model_management.py reads them when it is imported
    "": ("NORMAL_VRAM", []),
    "--lowvram": ("LOW_VRAM", []),
    "--novram": ("NO_VRAM", []),
    "--highvram": ("HIGH_VRAM", []),
    "--gpu-only": ("HIGH_VRAM", ["gpu_only"]),
    "--cpu-vae": ("NORMAL_VRAM", ["cpu_vae"]),
    "--force-fp16": ("NORMAL_VRAM", ["force_fp16"]),
    "--disable-smart-memory": ("NORMAL_VRAM", ["disable_smart_memory"]),
}


@contextlib.contextmanager
def graphics_card(flag: str = "", total: int = ROOM, *, float64: bool = True):
    """ComfyUI as it is when it has been started with this flag on a machine with a card of so many bytes."""
    state, on = FLAGS[flag]
    card = Card(total, float64=float64)
    host = {
        "cpu_state": management.CPUState.GPU,
        "vram_state": management.VRAMState[state],
        "DISABLE_SMART_MEMORY": "disable_smart_memory" in on,
        "MIN_WEIGHT_MEMORY_RATIO": 0.0,  # as for NVIDIA's
        "current_loaded_models": [],
    }
    with contextlib.ExitStack() as stack:
        stack.callback(management.cleanup_models)  # what goes meanwhile is crossed off the card's list alone
        for where, values in (
            (management, host),
            (args, {"cpu": False, **dict.fromkeys(on, True)}),
            (loaders, {"LOADED": WeakValueDictionary()}),
        ):
            for name, value in values.items():
                stack.enter_context(mock.patch.object(where, name, value))
        yield stack.enter_context(card)
