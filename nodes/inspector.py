"""Looking at tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..vqdiffusion_core import preview
from ..vqdiffusion_core.notices import notify
from . import latents
from .history import History, read_history
from .latents import LatentError
from .sockets import schema
from .vae import Vae
from .validation import validate_inputs

CELL = 32  # pixels a token in the image
FRAME_SIDE = 256  # pixels of a step of the history in the editor
MOST_FRAMES = 101  # of a history; longer runs leave steps out


class VQDiffusionTokenInspector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionTokenInspector",
            display_name="VQ-Diffusion Token Inspector",
            description="Shows a token grid, also an unfinished one, and how the sampler came to it.",
            search_aliases=["preview tokens", "token grid", "debug latent", "history", "confidence"],
            inputs=[
                io.Latent.Input("samples", tooltip="Tokens, drawn or masked."),
                io.Vae.Input("vae", tooltip="From the loader of the model that they belong to."),
                io.Combo.Input(
                    "show",
                    options=list(VIEWS),
                    default="tokens",
                    optional=True,
                    tooltip="tokens: the grid. confidence: the more orange, the less sure the model was of a token. "
                    "history: every step of the first image's run, with the tokens that it changed in a frame.",
                ),
            ],
            outputs=[io.Image.Output(tooltip=f"The grid, {CELL} pixels a token; a batch of them for the history.")],
            is_output_node=True,
        )

    @classmethod
    @validate_inputs
    def execute(cls, samples: latents.Latent, vae: Vae, show: str = "tokens") -> io.NodeOutput:
        if show not in VIEWS:
            raise ValueError(f"show is {show!r:.100}; expected one of {', '.join(VIEWS)}.")
        tokens_Bhw = latents.read_tokens(samples["samples"], vae.spec.codebook_size).cpu()
        history = read_history(samples)
        image_BHWC = VIEWS[show](tokens_Bhw, history, vae)
        info = {"vq_tokens": [token_info(tokens_Bhw, history, vae, cls)]}
        return io.NodeOutput(image_BHWC, ui=ui.PreviewImage(image_BHWC, cls=cls).as_dict() | info)


def view_tokens(tokens_Bhw: Tensor, history: History | None, vae: Vae) -> Tensor:
    """The tokens as they look together, masked ones as dark checkers."""
    mask_id = vae.spec.codebook_size
    image_BHWC = vae.decode(latents.to_samples(preview.fill_masked(tokens_Bhw, mask_id)))
    return preview.token_grid(image_BHWC, tokens_Bhw == mask_id, CELL)


def view_confidence(tokens_Bhw: Tensor, history: History | None, vae: Vae) -> Tensor:
    return preview.tinted(view_tokens(tokens_Bhw, history, vae), require_history(history).confidence_Bhw, CELL)


def view_history(tokens_Bhw: Tensor, history: History | None, vae: Vae) -> Tensor:
    first_Shw = require_history(history).first_Shw.long()
    changed_Shw = torch.cat([torch.zeros_like(first_Shw[:1]), first_Shw[1:] - first_Shw[:-1]]) != 0
    chosen = frame_steps(len(first_Shw))
    if len(chosen) < len(first_Shw):
        notify(f"The run has {len(first_Shw)} states; {len(chosen)} of them are shown.")
    # One at a time: a long run's frames together would need more memory than the run itself.
    grids = [view_tokens(first_Shw[i : i + 1], history, vae) for i in chosen]
    return preview.outlined(torch.cat(grids), changed_Shw[chosen], CELL)


VIEWS = {"tokens": view_tokens, "confidence": view_confidence, "history": view_history}


def require_history(history: History | None) -> History:
    if history is None:
        raise LatentError(
            "These tokens have no history: they did not come from VQ-Diffusion Sampler as they are. Connect the "
            "sampler's output itself, or show the tokens."
        )
    return history


def frame_steps(count: int) -> list[int]:
    """The first and the last of `count` states, and as many between, evenly, as MOST_FRAMES leaves room for.

    >>> frame_steps(4), len(frame_steps(5000)), frame_steps(5000)[-1]
    ([0, 1, 2, 3], 101, 4999)
    """
    most = min(count, MOST_FRAMES)
    return [round(i * (count - 1) / max(most - 1, 1)) for i in range(most)]


def token_info(tokens_Bhw: Tensor, history: History | None, vae: Vae, cls: type[io.ComfyNode]) -> dict[str, Any]:
    """What the editor shows of the first image: its tokens, and for those of a run when and how surely each was
    drawn, with a small image of every step.
    """
    tokens_hw = tokens_Bhw[0]
    first: dict[str, Any] = {"grid": list(tokens_hw.shape), "ids": tokens_hw.flatten().tolist()}
    if history is None:
        return first
    cell = max(1, FRAME_SIDE // max(tokens_hw.shape))
    chosen = frame_steps(len(history.first_Shw))
    frames = [preview.token_image(history.first_Shw[i].long(), vae.preview_decoder, cell) for i in chosen]
    frames_SHWC = torch.from_numpy(np.stack([*map(np.asarray, frames)])).float() / 255
    return first | {
        "steps": len(history.first_Shw) - 1,
        "drawn_at": history.drawn_at_Bhw[0].flatten().tolist(),
        "confidence": [round(value, 4) for value in history.confidence_Bhw[0].flatten().tolist()],
        "frames": ui.PreviewImage(frames_SHWC, cls=cls).as_dict()["images"],
        "frame_steps": chosen,
    }
