"""The node that teaches: images and a word in, a LoRA out, as a file and on the model.

Training is imported where a lesson begins, so that ComfyUI's start does without it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image, ImageOps
from torch import Tensor

from ..vqdiffusion_core.diffusion.noise import SEEDS
from ..vqdiffusion_core.distributed import Processes
from ..vqdiffusion_core.lora import read_lora, write_lora
from ..vqdiffusion_core.notices import notify
from . import runtime
from .loaders import load_anew, new_lora_file
from .lora import with_lora
from .model import ManagedModel
from .sockets import VQ_DIFFUSION, schema
from .validation import validate_inputs

if TYPE_CHECKING:
    from ..vqdiffusion_core.training.lora import Lesson, LoraTraining

SHEET_EVERY = 50  # steps: samples that take as long as some five of them


class VQDiffusionTeach(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionTeach",
            display_name="VQ-Diffusion Teach",
            description="Teaches a model your own character or style from a few images, as a LoRA in models/loras.",
            search_aliases=["train lora", "fine-tune", "character", "style"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                VQ_DIFFUSION.Input("vq_model", tooltip="The model that learns. Its own files stay as they are."),
                io.Image.Input(
                    "images",
                    tooltip="Five to twenty images of one thing, at least as large as the model draws. It helps when "
                    "the ground behind it differs.",
                ),
                io.String.Input(
                    "word", default="", tooltip="The new word for it, one that the model does not know: zimbo, not fox."
                ),
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    tooltip="What each image shows, a line an image, with the new word in it. Without any, an image is "
                    "called by the word and the colour of its ground.",
                ),
                io.Int.Input(
                    "steps",
                    default=100,
                    min=1,
                    max=1_000_000,
                    tooltip="How long it learns. More steps keep to the images more closely.",
                ),
                io.Int.Input(
                    "rank", default=8, min=1, max=512, tooltip="Size of the LoRA: more learns more, in more bytes."
                ),
                io.Float.Input(
                    "learning_rate",
                    default=4e-3,
                    min=1e-6,
                    max=1.0,
                    step=1e-4,
                    round=1e-6,
                    tooltip="How far a step goes, at its largest. Halve it where teaching breaks down.",
                ),
                io.Int.Input(
                    "batch", default=8, min=1, max=4096, tooltip="Images a step. Fewer take less memory and time."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEEDS - 1,
                    control_after_generate=False,  # else every run teaches anew
                    tooltip="The same seed, images and settings give the same LoRA.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="Of the file in models/loras; without it, the word. A file that is there stays, and the "
                    "new one gets a number.",
                ),
            ],
            outputs=[
                VQ_DIFFUSION.Output(display_name="vq_model", tooltip="The model with the LoRA, for the sampler."),
                io.Clip.Output(
                    display_name="clip",
                    tooltip="The text encoder that knows the new words: encode your prompts with it.",
                ),
                io.Image.Output(display_name="loss", tooltip="The loss over the steps, as a curve that should fall."),
            ],
        )

    @classmethod
    def execute(cls, images: list[Any], captions: list[str], **others: list[Any]) -> io.NodeOutput:
        """Every input comes as a list, so that all images of a node that gives many teach one LoRA."""
        return teach_from(images=images, captions=captions, **{name: values[0] for name, values in others.items()})


@validate_inputs
def teach_from(
    vq_model: ManagedModel,
    images: list[Tensor],
    word: str,
    captions: list[str],
    steps: int,
    rank: int,
    learning_rate: float,
    batch: int,
    seed: int,
    name: str,
) -> io.NodeOutput:
    from ..vqdiffusion_core.training.lora import Lesson, lora_name, loss_curve
    from ..vqdiffusion_core.training.recipe import text_networks

    text_networks(vq_model.model)  # refuses a model that has none to teach
    lesson = Lesson(word.strip(), rank)
    if not lesson.word:
        raise ValueError("word is empty; give a new word for what the images show, such as zimbo.")
    pictures = [picture for images_BHWC in images for picture in to_pictures(images_BHWC, vq_model)]
    called = read_captions(captions, lesson.word, pictures)
    file = new_lora_file(name.strip() or lora_name(lesson.word))
    if vq_model.patcher.patches:
        notify("The LoRAs that are on the model are not learned with: the model is taught as its files have it.")
    settings = {"learning_rate": learning_rate, "batch": batch, "seed": seed}
    with torch.inference_mode(False), torch.enable_grad():
        losses = teach(vq_model, lesson, pictures, called, steps, file, settings)
    patched = with_lora(vq_model, read_lora(file), 1.0)
    return io.NodeOutput(patched, patched.clip, to_image(loss_curve(losses)))


def to_pictures(images_BHWC: Tensor, vq_model: ManagedModel) -> list[Image.Image]:
    """RGB images of the size that the model draws, scaled to the shorter side and cut to the middle."""
    (rows, columns), (height, width, channels) = vq_model.spec.grid, images_BHWC.shape[1:]
    size = columns * vq_model.cell, rows * vq_model.cell
    if width < size[0] or height < size[1]:
        raise ValueError(
            f"The images are {width} x {height} pixels; expected {size[0]} x {size[1]} or more, as {vq_model.name} "
            "draws them. Take larger ones."
        )
    if not images_BHWC.isfinite().all():
        raise ValueError("The images have values that are not numbers, so the node that made them has failed.")
    rgb = images_BHWC[..., :3] if channels >= 3 else images_BHWC[..., :1].expand(-1, -1, -1, 3)
    bytes_BHW3 = (rgb.float().cpu().clamp(0, 1) * 255).round().byte().numpy()
    return [ImageOps.fit(Image.fromarray(each), size, Image.Resampling.LANCZOS) for each in bytes_BHW3]


def read_captions(texts: list[str], word: str, pictures: list[Image.Image]) -> list[str]:
    """One an image: the lines of the texts, or what the images are called by the word."""
    from ..vqdiffusion_core.training.lora import name_image

    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    if not lines:
        return [name_image(word, picture) for picture in pictures]
    if len(lines) != len(pictures):
        raise ValueError(
            f"There are {len(lines)} captions and {len(pictures)} images; expected a line for each image, in their "
            "order, or none at all."
        )
    return lines


def teach(
    vq_model: ManagedModel,
    lesson: Lesson,
    pictures: list[Image.Image],
    captions: list[str],
    steps: int,
    file: Path,
    settings: dict[str, Any],
) -> list[float]:
    """Learns from images with captions into a file, alone on the host's device; the losses of the steps."""
    from ..vqdiffusion_core.training.lora import check_new_word, lora_training_of
    from ..vqdiffusion_core.training.memory import quickest_that_fits

    with runtime.device_alone() as device:
        model = load_anew(vq_model)
        check_new_word(lesson.word, model)
        training = lora_training_of(model, lesson, pictures, captions, Processes(device=device), **settings)
        training.take_steps_by(*quickest_that_fits(training))
        return learn(training, steps, file)


def learn(training: LoraTraining, steps: int, file: Path) -> list[float]:
    """The losses of the steps. However it ends, what was learned until then is in the file."""
    show, losses = progress_with_sheets(training, steps), list[float]()
    try:
        for step, batch in enumerate(training.batches(range(steps))):
            losses.append(training.step(step, step / steps, batch)["loss"])
            show(step + 1)
    except FloatingPointError as error:
        raise ValueError(
            f"Teaching broke down in step {len(losses) + 1} of {steps}: {error}. Give a lower learning_rate."
        ) from error
    finally:
        if losses:
            write_lora(training.lora(file.name, len(losses)), file)
        if 0 < len(losses) < steps:
            notify(f"Teaching stopped after step {len(losses)} of {steps}; what was learned is kept in {file.name}.")
    return losses


def progress_with_sheets(training: LoraTraining, steps: int) -> Callable[[int], None]:
    """Shows how far it is, and now and then, where previews are wanted, images and what is drawn of their captions."""
    progress, wanted = runtime.Progress(steps), runtime.previews_are_wanted()

    def show(done: int) -> None:
        is_due = wanted and (done % SHEET_EVERY == 0 or done == steps)
        progress(done, training.sample_grid() if is_due else None)

    return show


def to_image(picture: Image.Image) -> Tensor:
    """RGB -> what an IMAGE link carries, (1, H, W, 3) in 0..1."""
    return torch.from_numpy(np.array(picture))[None].to(runtime.intermediate_device(), torch.float32) / 255
