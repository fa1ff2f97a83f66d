"""`vqdiffusion`: the core without an editor."""

from .command import main

__all__ = ["main"]
