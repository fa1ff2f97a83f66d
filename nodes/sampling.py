"""The node that draws: tokens, prompts and settings in, a run of the core's sampling loop, tokens out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from comfy_api.latest import io
from torch import Tensor

from ..vqdiffusion_core import preview
from ..vqdiffusion_core.diffusion.guidance import Guidance
from ..vqdiffusion_core.diffusion.noise import SEEDS
from ..vqdiffusion_core.diffusion.samplers import State
from ..vqdiffusion_core.diffusion.sampling import count_steps, sample
from ..vqdiffusion_core.diffusion.settings import Settings, notify_of_unheard
from ..vqdiffusion_core.diffusion.windows import Grid
from ..vqdiffusion_core.memory import step_bytes
from . import latents, runtime
from .conditioning import Canvas, Conditioning, read_guidance
from .history import History
from .latents import Latent
from .model import ManagedModel
from .sockets import VQ_DIFFUSION, schema, setting_input
from .validation import validate_inputs


class VQDiffusionSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionSampler",
            display_name="VQ-Diffusion Sampler",
            description="Draws the masked tokens of a canvas, or the marked region of an image.",
            search_aliases=["ksampler", "sample", "generate", "text to image", "inpaint"],
            inputs=[
                VQ_DIFFUSION.Input("vq_model", tooltip="The model that draws."),
                io.Conditioning.Input("positive", tooltip="What to draw."),
                io.Latent.Input(
                    "latent",
                    tooltip="The canvas: VQ-Diffusion Empty Tokens for a new image, or the tokens of an image. With "
                    "a noise mask, only what it marks is drawn anew.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEEDS - 1,
                    control_after_generate=True,
                    tooltip="The same seed gives the same image. Image i of a batch is that of seed + i alone.",
                ),
                setting_input("steps"),
                setting_input("guidance", 0.1),
                setting_input("truncation", 0.01),
                setting_input("sampler"),
                setting_input("denoise", 0.01),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What to keep away from. Without it, what the model has learned for no prompt at all.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="The tokens of the image, for VQ-Diffusion Decode or VAE Decode.")],
        )

    @classmethod
    @validate_inputs
    def execute(
        cls,
        vq_model: ManagedModel,
        positive: Conditioning,
        latent: Latent,
        seed: int,
        steps: int,
        guidance: float,
        truncation: float,
        sampler: str,
        denoise: float,
        negative: Conditioning | None = None,
    ) -> io.NodeOutput:
        settings = Settings(steps, guidance, truncation, sampler, denoise, **vq_model.options)
        notify_of_unheard(settings, has_negative=negative is not None)
        tokens_Bhw = latents.read_canvas(latent, vq_model.spec, vq_model.cell)
        canvas = Canvas.of(tokens_Bhw, vq_model.cell)
        prompts = read_guidance(positive, negative, vq_model.null(), settings.guidance_scale(), vq_model.spec, canvas)
        strength_Bhw, seeds = latents.read_region(latent), latents.read_seeds(latent, seed)
        states = sample_with_preview(vq_model, prompts, tokens_Bhw, strength_Bhw, settings, seeds)
        return io.NodeOutput(History.of(states, canvas.grid).to_latent(latent))


def sample_with_preview(
    vq_model: ManagedModel,
    guidance: Guidance,
    tokens_Bhw: Tensor,
    mask_strength_Bhw: Tensor | None,
    settings: Settings,
    seeds: list[int],
) -> Iterator[State]:
    """The core's `sample`, with the model on its device and every state shown on the node, until the user stops it."""
    grid, tokens_BN = (tokens_Bhw.shape[1], tokens_Bhw.shape[2]), tokens_Bhw.flatten(1)
    mask_strength_BN = None if mask_strength_Bhw is None else mask_strength_Bhw.flatten(1)
    network, schedule = vq_model.model.transformer, vq_model.model.schedule
    show = progress_with_preview(vq_model, grid, count_steps(network, settings, grid))  # may need the VQGAN: first
    device = runtime.load(vq_model.patcher, step_bytes(network, schedule, guidance, tokens_BN, settings))
    guidance = guidance.to(device, vq_model.model.dtype if vq_model.spec.condition == "text" else None)
    states = sample(network, schedule, guidance, tokens_BN.to(device), mask_strength_BN, settings, seeds, grid)
    for step, state in enumerate(states):
        show(step, state.x_BN[0])
        yield state


def progress_with_preview(vq_model: ManagedModel, grid: Grid, steps: int) -> Callable[[int, Tensor], None]:
    """Shows how far the run is, and the first image of a batch as it grows where previews are wanted."""
    progress = runtime.Progress(steps)
    if not runtime.previews_are_wanted():
        return lambda step, tokens_N: progress(step)
    decoder = vq_model.vae.preview_decoder
    side = max(1, runtime.PREVIEW_SIDE // max(grid))

    def show(step: int, tokens_N: Tensor) -> None:
        progress(step, preview.token_image(tokens_N.unflatten(0, grid), decoder, side))

    return show
