"""The ComfyUI layer: each node has its schema here, and calls the core for the work."""

from comfy_api.latest import ComfyExtension, io

from .download import VQDiffusionDownload
from .inpainting import VQDiffusionTokenMask
from .inspector import VQDiffusionTokenInspector
from .load_images import VQDiffusionLoadImages
from .loaders import VQDiffusionLoader
from .lora import VQDiffusionLora
from .options import VQDiffusionEditOptions, VQDiffusionGuidanceOptions, VQDiffusionSamplerOptions
from .prompt import VQDiffusionClassEncode, VQDiffusionTextEncode
from .sampling import VQDiffusionSampler
from .teach import VQDiffusionTeach
from .tokens import VQDiffusionDecode, VQDiffusionEmptyTokens, VQDiffusionEncode

# In the order of the menu.
NODES: list[type[io.ComfyNode]] = [
    VQDiffusionLoader,
    VQDiffusionLora,
    VQDiffusionLoadImages,
    VQDiffusionTeach,
    VQDiffusionTextEncode,
    VQDiffusionClassEncode,
    VQDiffusionEmptyTokens,
    VQDiffusionSampler,
    VQDiffusionGuidanceOptions,
    VQDiffusionSamplerOptions,
    VQDiffusionEditOptions,
    VQDiffusionDecode,
    VQDiffusionEncode,
    VQDiffusionTokenMask,
    VQDiffusionTokenInspector,
    VQDiffusionDownload,
]


class VQDiffusionExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> VQDiffusionExtension:
    return VQDiffusionExtension()
