"""Which part of a picture is drawn anew."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from . import latents
from .sockets import schema


class VQDiffusionTokenMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionTokenMask",
            display_name="VQ-Diffusion Token Mask",
            description="Marks the tokens that the sampler draws anew; all others come out exactly as they are.",
            search_aliases=["inpaint", "set latent noise mask", "region"],
            inputs=[
                io.Latent.Input("samples", tooltip="The tokens of the picture."),
                io.Mask.Input(
                    "mask",
                    tooltip="What to draw anew, of any size: it is laid over the whole picture. A token counts as soon "
                    "as any part of it is marked, however faintly.",
                ),
                io.Int.Input(
                    "grow", default=0, min=0, max=64, tooltip="Widens the region by so many tokens on every side."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="samples", tooltip="The tokens with their region, for the sampler."),
                io.Mask.Output(
                    display_name="region",
                    tooltip="The region as it is really drawn anew, in pixels: whole tokens. Use it to lay the new "
                    "picture over the old one.",
                ),
            ],
        )

    @classmethod
    def execute(cls, samples: latents.Latent, mask: Tensor, grow: int) -> io.NodeOutput:
        batch_size, *_, rows, columns = samples["samples"].shape
        *_, height, width = mask.shape
        region_Bhw = latents.to_region(mask, batch_size, (rows, columns), grow)
        marked = samples | {"noise_mask": region_Bhw[:, None].float()}
        return io.NodeOutput(marked, latents.to_mask(region_Bhw, (height, width)))
