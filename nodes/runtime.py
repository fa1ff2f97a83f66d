"""The one file that knows ComfyUI's internals: where models live, progress, preview and interrupt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, cast

import comfy.model_management as management
import comfy.model_patcher
import comfy.utils
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.weight_adapter import LoRAAdapter
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor, nn

from ..vqdiffusion_core.networks.oom import AdaptiveBatches, first_that_fits
from ..vqdiffusion_core.notices import notices_to
from .host_layers import use_host_layers

P = ParamSpec("P")
T = TypeVar("T")
Role = Literal["transformer", "text encoder", "vae"]
Patcher = comfy.model_patcher.ModelPatcher

NOTICE = "vqdiffusion.notice"  # the message to the editor; web/js/comfy.js
PREVIEW_SIDE = 256  # pixels, about as large as a node shows it
TRANSFORMER_TYPES = [torch.float16, torch.bfloat16, torch.float32]  # the host takes the first that suits its device


@contextmanager
def usual_defaults() -> Iterator[None]:
    """New tensors are float32 and lie on the CPU inside, where another pack has changed torch's defaults for all."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with nullcontext() if torch.empty(0).device.type == "cpu" else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def manage(module: nn.Module, role: Role) -> Patcher:
    """Hands a module over to ComfyUI, which from then on says on which device it lies."""
    load_device, offload_device = {
        "transformer": (management.get_torch_device, management.unet_offload_device),
        "text encoder": (management.text_encoder_device, management.text_encoder_offload_device),
        "vae": (management.vae_device, management.vae_offload_device),
    }[role]
    # Looked up now, not at import: newer hosts choose the class when they start.
    patcher_class = getattr(comfy.model_patcher, "CoreModelPatcher", Patcher)
    device = load_device()
    if device.type != "cpu":  # where a layer of the core's own is faster, and none is ever sent anywhere
        use_host_layers(module)
    return patcher_class(module, load_device=device, offload_device=offload_device())


def low_rank(left: Tensor, right: Tensor) -> LoRAAdapter:
    """What `Patcher.add_patches` takes for adding left @ right to a weight."""
    return LoRAAdapter(set(), (left, right, None, None, None, None))


def load(patcher: Patcher, memory_required: int = 0) -> torch.device:
    """Makes a module ready for its device, with `memory_required` bytes kept free for the work, and says which that is.
    Layers that find no room there stay in main memory, and are sent whenever they are called.
    """

    def load_now() -> torch.device:
        management.load_models_gpu([patcher], memory_required=memory_required)
        return patcher.load_device

    return with_room(load_now, f"the model, {patcher.model_size() / 1e9:.2f} GB")


def with_room(work: Callable[[], T], what: str) -> T:
    """The result of work; where memory runs out, once more after everything else has left. Raises OutOfMemory."""

    def alone() -> T:
        management.unload_all_models()
        management.soft_empty_cache()
        return work()

    return first_that_fits([work, alone], what)


@contextmanager
def device_alone() -> Iterator[torch.device]:
    """The device that the host draws on, with none of its models on it; what the work leaves there is freed."""
    management.unload_all_models()
    management.soft_empty_cache()
    try:
        yield management.get_torch_device()
    finally:
        management.soft_empty_cache()


def batches_that_fit(bytes_each: int, device: torch.device) -> AdaptiveBatches:
    """As many images at once as fit into the device's free memory, one by one if need be."""
    return AdaptiveBatches(max(1, int(cast(float, management.get_free_memory(device)) // bytes_each)))


def intermediate_device() -> torch.device:
    """Where values lie that travel between nodes."""
    return management.intermediate_device()


def transformer_dtype() -> torch.dtype:
    """The number type that suits the device, or that the user has set for all diffusion models."""
    dtype = management.unet_dtype(management.get_torch_device(), supported_dtypes=TRANSFORMER_TYPES)
    return dtype if dtype in TRANSFORMER_TYPES else torch.bfloat16  # never 8 bits, which need layers of their own


def clip_vocabulary() -> Path:
    """The folder of CLIP's vocabulary that ComfyUI carries, for model files that come without one."""
    return Path(comfy.utils.__file__).parent / "sd1_tokenizer"


def map_tiles(
    function: Callable[[Tensor], Tensor],
    samples: Tensor,
    tile: tuple[int, int],
    overlap: int,
    scale: float,
    channels: int,
) -> Tensor:
    """`function` over overlapping tiles (height, width) of (B, C, H, W), its results blended where they overlap."""
    (height, width), (rows, columns) = samples.shape[2:], tile
    overlap = min(overlap, rows // 4, columns // 4)
    steps = len(samples) * comfy.utils.get_tiled_scale_steps(width, height, columns, rows, overlap)
    return comfy.utils.tiled_scale(
        samples,
        function,
        tile_x=columns,
        tile_y=rows,
        overlap=overlap,
        upscale_amount=scale,  # pyright: ignore[reportArgumentType]  (its default is an int, its use is not)
        out_channels=channels,
        output_device=str(intermediate_device()),
        pbar=comfy.utils.ProgressBar(steps),
    )


class Progress:
    """A node's progress bar, with a live preview or without. Call it after each step: it ends the run if the user has
    asked so.
    """

    def __init__(self, total: int):
        self.total = total
        self.bar = comfy.utils.ProgressBar(total)

    def __call__(self, done: int, preview: Image.Image | None = None) -> None:
        management.throw_exception_if_processing_interrupted()
        image = preview and ("JPEG", preview, min(max(preview.size), args.preview_size))
        self.bar.update_absolute(done, self.total, image)


def previews_are_wanted() -> bool:
    """By --preview-method and by the editor's own setting, which newer hosts put in its place for each run."""
    return args.preview_method != LatentPreviewMethod.NoPreviews


def with_notices(work: Callable[P, T]) -> Callable[P, T]:
    """`work`, with what `notices.notify` is told in it shown to the user: for whatever ComfyUI calls directly."""

    @wraps(work)
    def heard(*arguments: P.args, **named: P.kwargs) -> T:
        with notices_to(show_notice):
            return work(*arguments, **named)

    return heard


def show_notice(line: str) -> None:
    """Writes it to the log and on the running node, where the editor shows it until that node runs again."""
    logging.warning("VQ-Diffusion: %s", line)
    running, server = get_executing_context(), listening_server()
    if running and server:
        message = {"prompt_id": running.prompt_id, "node": running.node_id, "line": line}
        server.send_sync(NOTICE, message, server.client_id)


def show_text(line: str) -> None:
    """Writes it on the running node, in place of the one before."""
    running, server = get_executing_context(), listening_server()
    if running and server:
        server.send_progress_text(line, running.node_id, server.client_id)


def listening_server() -> Any:
    """The host's server, where an editor has queued the run and listens."""
    from server import PromptServer  # here, where there is one

    server = getattr(PromptServer, "instance", None)
    return server if server and server.client_id is not None else None
