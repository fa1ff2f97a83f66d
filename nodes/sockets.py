"""What all nodes' schemas share: the one socket that ComfyUI does not have, a schema that every host accepts, and the
input of a setting.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

from ..vqdiffusion_core.diffusion.settings import ABOUT, DEFAULTS

VQ_DIFFUSION = io.Custom("VQ_DIFFUSION")  # carries a model.ManagedModel

KNOWN = {field.name for field in dataclasses.fields(io.Schema)}


def schema(node_id: str, **parts: Any) -> io.Schema:
    """A node of this pack. Parts that the running ComfyUI has no word for yet are left out (0.3.75: search_aliases)."""
    return io.Schema(node_id, category="VQ-Diffusion", **{name: parts[name] for name in parts.keys() & KNOWN})


def setting_input(name: str, step: float = 1) -> Any:
    """The widget of a setting of `Settings`, with its range, default and help; `step` is that of its arrows."""
    about, default = ABOUT[name], getattr(DEFAULTS, name)
    usual: dict[str, Any] = {"default": default, "tooltip": about.help}
    if about.choices is not None:
        return io.Combo.Input(name, options=list(about.choices), **usual)
    if isinstance(default, bool):
        return io.Boolean.Input(name, **usual)
    usual |= {"min": about.low, "max": about.high}
    if isinstance(default, int):
        return io.Int.Input(name, **usual)
    return io.Float.Input(name, step=step, round=step / 10, **usual)
