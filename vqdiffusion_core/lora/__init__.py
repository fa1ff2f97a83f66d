"""LoRA (Hu et al. 2021): small files that teach a model a character or a style, stacked and weighed."""

from .file import read_lora, write_lora
from .lora import About, Lora
from .merge import apply_loras

__all__ = ["About", "Lora", "apply_loras", "read_lora", "write_lora"]
