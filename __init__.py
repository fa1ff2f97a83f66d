"""VQ-Diffusion for ComfyUI, which calls `comfy_entrypoint` and serves what lies under WEB_DIRECTORY."""

from typing import Any

from .packages import complaint

WEB_DIRECTORY = "./web"

MISSING = complaint()

if MISSING:

    async def comfy_entrypoint() -> Any:
        raise ImportError(MISSING)  # which ComfyUI logs as one line; while it imports, it would log a traceback

else:
    from .nodes import comfy_entrypoint

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
