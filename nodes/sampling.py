"""Drawing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from operator import index

import torch
from comfy_api.latest import io
from torch import Tensor

from ..vqdiffusion_core import preview
from ..vqdiffusion_core.diffusion.guidance import Condition, Guidance
from ..vqdiffusion_core.diffusion.noise import SEEDS
from ..vqdiffusion_core.diffusion.sampling import sample
from ..vqdiffusion_core.diffusion.schedule import Schedule
from ..vqdiffusion_core.diffusion.settings import Settings, notify_of_unheard
from ..vqdiffusion_core.diffusion.windows import Grid
from ..vqdiffusion_core.networks.specs import TransformerSpec
from ..vqdiffusion_core.networks.transformer import INNER_BYTES
from . import conditioning, latents, runtime
from .latents import HISTORY, History
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
        positive: conditioning.Conditioning,
        latent: latents.Latent,
        seed: int,
        steps: int,
        guidance: float,
        truncation: float,
        sampler: str,
        denoise: float,
        negative: conditioning.Conditioning | None = None,
    ) -> io.NodeOutput:
        settings = Settings(steps, guidance, truncation, sampler, denoise, **vq_model.options)
        notify_of_unheard(settings, has_negative=negative is not None)
        canvas_Bhw = latents.read_canvas(
            latent, vq_model.spec.codebook_size, vq_model.spec.grid, vq_model.vae.downscale_ratio
        )
        guided = read_prompts(vq_model, positive, negative, settings, canvas_Bhw)
        mask_strength_Bhw = latents.read_region(latent)
        history = draw(vq_model, guided, canvas_Bhw, mask_strength_Bhw, settings, seeds(latent, seed))
        return io.NodeOutput(latent | {"samples": history.samples, HISTORY: history})


def read_prompts(
    vq_model: ManagedModel,
    positive: conditioning.Conditioning,
    negative: conditioning.Conditioning | None,
    settings: Settings,
    canvas_Bhw: Tensor,
) -> Guidance:
    batch, *grid = canvas_Bhw.shape
    canvas = conditioning.Canvas(batch, (grid[0], grid[1]), vq_model.vae.downscale_ratio)
    wanted = conditioning.read(positive, "positive", vq_model.spec, canvas)
    unwanted = conditioning.read(negative, "negative", vq_model.spec, canvas) if negative is not None else []
    guidance = Guidance(wanted, unwanted, vq_model.null(), settings.guidance_scale())
    return guidance.to(
        vq_model.patcher.load_device, vq_model.model.dtype if vq_model.spec.condition == "text" else None
    )


def seeds(latent: latents.Latent, seed: int) -> list[int]:
    """One seed an image, by its place in the batch that it was cut from, which the core's batch nodes keep."""
    count, given = len(latent["samples"]), latent.get("batch_index")
    places = range(count) if given is None or len(given) == 0 else given
    try:
        places = [index(place) for place in places]  # those of numpy and torch are whole numbers too
    except TypeError:
        places = []
    if len(places) != count:
        raise latents.LatentError(
            f"This latent has {count} images and the batch index {given!r:.60}; expected a whole number for each. "
            "A node has changed one without the other. Save and load the latent, which takes the index out."
        )
    return [(index(seed) + place) % SEEDS for place in places]


def draw(
    vq_model: ManagedModel,
    guidance: Guidance,
    canvas_Bhw: Tensor,
    mask_strength_Bhw: Tensor | None,
    settings: Settings,
    seeds: list[int],
) -> History:
    grid = canvas_Bhw.shape[1], canvas_Bhw.shape[2]
    report = reporter(vq_model, grid, settings.steps)
    asked = canvas_Bhw.numel() * largest_share(settings, vq_model.model.schedule)
    memory = memory_required(
        vq_model.spec, guidance.speaking(settings.steps), len(canvas_Bhw), asked, vq_model.model.dtype
    )
    device = runtime.load(vq_model.patcher, memory)
    tokens_BN = canvas_Bhw.flatten(1).to(device)
    mask_strength_BN = None if mask_strength_Bhw is None else mask_strength_Bhw.flatten(1)
    states = sample(
        vq_model.model.transformer,
        vq_model.model.schedule,
        guidance,
        tokens_BN,
        mask_strength_BN,
        settings,
        seeds,
        grid,
    )
    state = next(states)
    first, drawn_at_BN = [state.x_BN[0]], torch.zeros_like(tokens_BN, dtype=torch.int32)
    report(0, first[0])
    for step, later in enumerate(states, 1):
        drawn_at_BN = torch.where(later.x_BN != state.x_BN, step, drawn_at_BN)
        state = later
        first.append(state.x_BN[0])
        report(step, first[-1])

    def laid_out(values_BN: Tensor) -> Tensor:
        return values_BN.unflatten(1, grid).to(runtime.intermediate_device())

    samples = latents.to_samples(laid_out(state.x_BN))
    return History(samples, laid_out(torch.stack(first).int()), laid_out(drawn_at_BN), laid_out(state.confidence_BN))


def reporter(vq_model: ManagedModel, grid: Grid, steps: int) -> Callable[[int, Tensor], None]:
    """Shows how far the run is, and the first image of a batch as it grows where previews are wanted."""
    progress = runtime.Progress(steps)
    if not runtime.previews_are_wanted():
        return lambda step, tokens_N: progress(step)
    palette_K3 = vq_model.vae.palette
    cell = max(1, runtime.PREVIEW_SIDE // max(grid))

    def report(step: int, tokens_N: Tensor) -> None:
        progress(step, preview.token_image(tokens_N.unflatten(0, grid), palette_K3, cell))

    return report


def memory_required(
    spec: TransformerSpec, conditions: list[Condition], batch: int, asked: float, dtype: torch.dtype
) -> int:
    """Bytes that a step needs beside the weights, all images and conditions being one pass; `asked` is the number of
    tokens that it draws.

    Six tensors of the hidden states' size are alive in a block's attention, with the scores of a head; four in its MLP,
    with two of the inner width, of bounded size. After the network, some six tables of log p. The keys and values of
    the text stay for the whole run.
    """
    N, W = spec.num_tokens, spec.width
    rows = batch * len(conditions)
    texts = [each for each in conditions if each is not None and spec.condition == "text"]
    text = batch * sum(text_BLD.shape[1] for text_BLD in texts) * spec.layers * W * 2
    attention = 6 * rows * N * W + 2 * N * N
    inner = min(rows * N * spec.mlp_ratio * W, INNER_BYTES[False] // dtype.itemsize)
    network = max(attention, 4 * rows * N * W + 2 * inner)
    tables = 6 * asked * spec.codebook_size * torch.float32.itemsize
    return int(text * dtype.itemsize + max(network * dtype.itemsize, tables))


def largest_share(settings: Settings, schedule: Schedule) -> float:
    """How many of all tokens a step draws at most: those that "ancestral" uncovers; other samplers weigh up all."""
    if settings.sampler != "ancestral":
        return 1.0
    times = schedule.timesteps(max(1, settings.steps // settings.rounds), None, settings.spacing)
    return max(schedule.bar(t).gamma - schedule.bar(s).gamma for t, s in pairwise(times))
