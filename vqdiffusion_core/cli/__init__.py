"""`vqdiffusion`: the core without an editor."""

from .main import main

__all__ = ["main"]
