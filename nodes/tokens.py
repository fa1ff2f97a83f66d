"""Token grids: an empty one, and the way from and to images."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..vqdiffusion_core.diffusion.windows import Grid
from ..vqdiffusion_core.notices import notify
from . import latents
from .model import ManagedModel
from .sockets import VQ_DIFFUSION, schema
from .vae import Vae
from .validation import validate_inputs

MAX_SIDE = 8192  # pixels


class VQDiffusionEmptyTokens(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionEmptyTokens",
            display_name="VQ-Diffusion Empty Tokens",
            description="An empty canvas: every token is masked, to be drawn by the sampler. Larger than the model's "
            "own size, it is drawn through windows that slide over it.",
            search_aliases=["empty latent", "empty canvas", "batch size"],
            inputs=[
                VQ_DIFFUSION.Input("vq_model", tooltip="The model that will draw; it sets the size."),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="How many images to draw at once."),
                side_input("width"),
                side_input("height"),
            ],
            outputs=[io.Latent.Output(tooltip="The empty canvas, for the sampler.")],
        )

    @classmethod
    @validate_inputs
    def execute(cls, vq_model: ManagedModel, batch_size: int, width: int = 0, height: int = 0) -> io.NodeOutput:
        return io.NodeOutput(latents.empty(batch_size, canvas_grid(vq_model, width, height), vq_model.spec.mask_id))


def canvas_grid(vq_model: ManagedModel, width: int, height: int) -> Grid:
    """Rows and columns of a canvas of so many pixels; 0 is the model's own size. Raises ValueError if it is smaller."""
    cell, (rows, columns) = vq_model.cell, vq_model.spec.grid
    grid = height // cell or rows, width // cell or columns
    if grid[0] < rows or grid[1] < columns:
        least = latents.size((rows * cell, columns * cell))
        raise ValueError(
            f"width and height are {width} and {height} pixels; {vq_model.name} draws {least} or more. Set what "
            "is too small to 0, the model's own."
        )
    if width % cell or height % cell:
        whole = latents.size((grid[0] * cell, grid[1] * cell))
        notify(f"width and height are {width} and {height} pixels; the canvas has {whole}, whole tokens.")
    return grid


def side_input(name: str) -> io.Int.Input:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=MAX_SIDE,
        step=8,
        optional=True,
        tooltip=f"The image's {name} in pixels, cut to whole tokens. 0: the model's own.",
    )


class VQDiffusionDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionDecode",
            display_name="VQ-Diffusion Decode",
            description="Turns drawn tokens into an image. VAE Decode does the same.",
            search_aliases=["vae decode", "tokens to image", "vqgan decode"],
            inputs=[
                io.Latent.Input("samples", tooltip="Tokens without a masked one among them."),
                io.Vae.Input("vae", tooltip="From the loader of the model that drew them."),
            ],
            outputs=[io.Image.Output(tooltip="The image.")],
        )

    @classmethod
    @validate_inputs
    def execute(cls, samples: latents.Latent, vae: Vae) -> io.NodeOutput:
        return io.NodeOutput(vae.decode(samples["samples"]))


class VQDiffusionEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionEncode",
            display_name="VQ-Diffusion Encode",
            description="Turns an image into tokens, always the same ones. VAE Encode does the same.",
            search_aliases=["vae encode", "image to tokens", "vqgan encode", "codebook indices"],
            inputs=[
                io.Image.Input(
                    "pixels",
                    tooltip="The image. It is cut around its middle to whole tokens, not scaled: scale it to the "
                    "model's size first.",
                ),
                io.Vae.Input("vae", tooltip="From the loader of the model that is to work on the tokens."),
            ],
            outputs=[io.Latent.Output(tooltip="The tokens of the image.")],
        )

    @classmethod
    @validate_inputs
    def execute(cls, pixels: Tensor, vae: Vae) -> io.NodeOutput:
        return io.NodeOutput({"samples": vae.encode(pixels)})
