"""Looking at tokens."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..vqdiffusion_core import preview
from . import latents
from .sockets import schema
from .vae import Vae

CELL = 32  # pixels a token in the picture


class VQDiffusionTokenInspector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionTokenInspector",
            display_name="VQ-Diffusion Token Inspector",
            description="Shows a token grid, also an unfinished one: masked tokens are dark checkers.",
            search_aliases=["preview tokens", "token grid", "debug latent"],
            inputs=[
                io.Latent.Input("samples", tooltip="Tokens, drawn or masked."),
                io.Vae.Input("vae", tooltip="From the loader of the model that they belong to."),
            ],
            outputs=[io.Image.Output(tooltip=f"The grid, {CELL} pixels a token.")],
        )

    @classmethod
    def execute(cls, samples: latents.Latent, vae: Vae) -> io.NodeOutput:
        return io.NodeOutput(picture(samples, vae))


def picture(samples: latents.Latent, vae: Vae) -> Tensor:
    mask_id = vae.spec.codebook_size
    tokens_Bhw = latents.read_tokens(samples["samples"], mask_id)
    decodable = latents.to_samples(preview.fill_masked(tokens_Bhw, mask_id))
    return preview.token_grid(vae.decode(decodable), tokens_Bhw == mask_id, CELL)
