"""VQ-Diffusion for ComfyUI, which calls `comfy_entrypoint` and serves what lies under WEB_DIRECTORY."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
