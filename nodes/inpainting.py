"""Which part of an image is drawn anew."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..vqdiffusion_core import preview
from ..vqdiffusion_core.diffusion.inpainting import feather_mask
from ..vqdiffusion_core.editing import notify_of_extent
from . import latents, painting
from .sockets import schema
from .vae import Vae
from .validation import validate_inputs

CANVAS = "VQ_DIFFUSION_PAINTING"  # the widget of the editor that shows and changes `painted`; web/js/vqdiffusion.js


class VQDiffusionTokenMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionTokenMask",
            display_name="VQ-Diffusion Token Mask",
            description="Marks the tokens that the sampler draws anew; all others come out exactly as they are. Paint "
            "them on the image, connect a mask, or both.",
            is_output_node=True,  # else the canvas gets no image from a run in which nothing is new
            search_aliases=["inpaint", "paint tokens", "set latent noise mask", "region", "mask editor"],
            inputs=[
                io.Latent.Input("samples", tooltip="The tokens of the image."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What to draw anew, of any size: it is laid over the whole image. A token counts as soon "
                    "as any part of it is marked, however faintly. What is painted here is added.",
                ),
                io.Vae.Input(
                    "vae", optional=True, tooltip="From the loader of the model. With it you paint on the image."
                ),
                io.Int.Input(
                    "grow", default=0, min=0, max=64, tooltip="Widens the region by so many tokens on every side."
                ),
                painted_input(),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=256,
                    optional=True,
                    tooltip="Over how many pixels the output region fades in from its edge, so that the new image "
                    "blends into the old one. What the sampler draws is the same.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="samples", tooltip="The tokens with their region, for the sampler."),
                io.Mask.Output(
                    display_name="region",
                    tooltip="The region as it is really drawn anew, in pixels: whole tokens, feathered inside of its "
                    "edge. Use it to lay the new image over the old one.",
                ),
            ],
        )

    @classmethod
    @validate_inputs
    def execute(
        cls,
        samples: latents.Latent,
        grow: int,
        mask: Tensor | None = None,
        vae: Vae | None = None,
        painted: str = "",
        feather: int = 0,
    ) -> io.NodeOutput:
        region_Bhw = mask_strength(samples, [mask, painting.read(painted)], grow)
        notify_of_extent(region_Bhw)
        marked = samples | {"noise_mask": region_Bhw[:, None]}
        drawn_BHW = latents.to_mask(region_Bhw, region_size(samples, mask, vae))
        return io.NodeOutput(marked, feather_mask(drawn_BHW, feather), ui=canvas_info(samples, vae))


def painted_input() -> io.String.Input:
    """A string to the server and to every other program; the editor shows it as a canvas."""
    painted = io.String.Input(
        "painted",
        default="",
        optional=True,
        tooltip="The tokens that are painted here, such as 12x12: 4-7,3-6 for columns 4 to 7 of rows 3 to 6. On "
        "another grid they are laid over the whole image, as a mask is.",
    )
    painted.extra_dict = {"widgetType": CANVAS}
    return painted


def mask_strength(samples: latents.Latent, masks: list[Tensor | None], grow: int) -> Tensor:
    """How strongly any of the masks marks each token, (B, h, w) in 0..1."""
    batch_size, rows, columns = latents.read_sizes(samples["samples"])
    region_Bhw = torch.zeros(batch_size, rows, columns)
    for mask in masks:
        if mask is not None:
            marked_Bhw = latents.to_region(mask.cpu(), batch_size, (rows, columns), grow)
            region_Bhw = torch.maximum(region_Bhw, marked_Bhw)
    return region_Bhw


def region_size(samples: latents.Latent, mask: Tensor | None, vae: Vae | None) -> tuple[int, int]:
    """Height and width that the region is wanted in: those of the mask, else those of the image."""
    rows, columns = samples["samples"].shape[-2:]
    cell = vae.downscale_ratio if vae else latents.CELL
    return (rows * cell, columns * cell) if mask is None else (mask.shape[-2], mask.shape[-1])


def canvas_info(samples: latents.Latent, vae: Vae | None) -> dict[str, list[dict[str, Any]]]:
    """What the editor paints on: the grid of the first image, and the image where there is a VAE to see it with."""
    images = []
    if vae is not None:
        images = ui.ImageSaveHelper.save_images(first_image(samples, vae), "vq-canvas", io.FolderType.temp, None)
    return {"vq_canvas": [{"grid": list(samples["samples"].shape[-2:]), "images": images}]}


def first_image(samples: latents.Latent, vae: Vae) -> Tensor:
    """The first image of a batch (1, H, W, 3), with a dark checker where tokens are still masked."""
    mask_id = vae.spec.codebook_size
    tokens_1hw = latents.read_tokens(samples["samples"][:1], mask_id)
    decoded_1HWC = vae.decode(latents.to_samples(preview.fill_masked(tokens_1hw, mask_id)))
    return preview.hide_masked(decoded_1HWC, tokens_1hw == mask_id)
