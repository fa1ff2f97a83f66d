"""What all nodes' schemas share: the one socket that ComfyUI does not have, and a schema that every host accepts."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

VQ_DIFFUSION = io.Custom("VQ_DIFFUSION")  # carries a model.VQModel

KNOWN = {field.name for field in dataclasses.fields(io.Schema)}


def schema(node_id: str, **parts: Any) -> io.Schema:
    """A node of this pack. Parts that the running ComfyUI has no word for yet are left out (0.3.75: search_aliases)."""
    return io.Schema(node_id, category="VQ-Diffusion", **{name: parts[name] for name in parts.keys() & KNOWN})
