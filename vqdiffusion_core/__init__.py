"""VQ-Diffusion on PyTorch, without an editor: load a model, generate images.

Shape letters, everywhere: B images, N tokens of the grid, h and w its rows and columns, M tokens that are asked for,
K codebook size (the mask is id K), L tokens of a text, D width of a text vector or a code, W width of the transformer,
H and W pixels where C channels stand beside them.
"""

from .checkpoints import POCKET_FOLDER, STICKERS_FOLDER, load
from .diffusion.settings import Settings
from .editing import Inpaint, RegionalPrompt
from .lora import apply_loras, read_lora
from .model import VQDiffusion
from .pipeline import generate

__all__ = [
    "POCKET_FOLDER",
    "STICKERS_FOLDER",
    "Inpaint",
    "RegionalPrompt",
    "Settings",
    "VQDiffusion",
    "apply_loras",
    "generate",
    "load",
    "read_lora",
]
