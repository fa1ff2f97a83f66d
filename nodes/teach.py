"""The node that teaches: images and a word in, a LoRA or a whole model out, as files and ready to draw.

Training is imported where a lesson begins, so that ComfyUI's start does without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ..vqdiffusion_core.checkpoints import save
from ..vqdiffusion_core.diffusion.noise import SEEDS
from ..vqdiffusion_core.distributed import Processes
from ..vqdiffusion_core.lora import read_lora, write_lora
from ..vqdiffusion_core.lora.file import to_tensors
from ..vqdiffusion_core.model import VQDiffusion
from ..vqdiffusion_core.notices import notify
from . import runtime
from .load_images import to_image
from .loaders import load_anew, lora_file, lora_names, new_folder, new_lora_file, open_folder
from .lora import taught_outputs, with_lora
from .model import ManagedModel
from .sockets import VQ_DIFFUSION, schema
from .validation import validate_inputs

if TYPE_CHECKING:
    from ..vqdiffusion_core.training.lora import Lesson
    from ..vqdiffusion_core.training.teaching import Teaching

SHEET_EVERY = 50  # steps: samples that take as long as some five of them
NO_LORA = "[None]"  # as the host's Train LoRA calls it
# Where the disk was full at the end
SAVE_LORA = "make room, then connect lora to ComfyUI's Save LoRA Weights and run again."
TEACH_AGAIN = "to keep it, make room and teach it once more, with another name or seed."

Shown = tuple[list[Image.Image], list[list[str]]]  # and of each what it may be called


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
                    tooltip="What each image shows, a line or a text an image, with the new word in it. Without any, "
                    "an image is called by the word and the colour of its ground, and is shown in other colours too.",
                ),
                io.Int.Input(
                    "steps",
                    default=150,
                    min=1,
                    max=1_000_000,
                    tooltip="How long it learns. More steps keep to the images more closely.",
                ),
                io.Int.Input(
                    "rank",
                    default=8,
                    min=1,
                    max=512,
                    tooltip="Size of the LoRA: more learns more, in more bytes. A whole model has none.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=4e-3,
                    min=1e-6,
                    max=1.0,
                    step=1e-4,
                    round=1e-6,
                    tooltip="How far a step goes, at its largest; a whole model goes a sixteenth of it. Halve it where "
                    "teaching breaks down.",
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
                    tooltip="Of the file in models/loras, or of a whole model's folder in models/vq_diffusion; without "
                    "it, the word. What is there stays, and the new one gets a number.",
                ),
                io.Combo.Input(
                    "existing_lora",
                    options=[NO_LORA, *lora_names()],
                    default=NO_LORA,
                    optional=True,
                    tooltip="A LoRA of this model to go on with. Its file stays as it is; without a word, its own is "
                    "taught further.",
                ),
                io.Boolean.Input(
                    "learn_null",
                    default=False,
                    optional=True,
                    tooltip="Teach also what the model draws of no prompt at all, from which guidance leads away.",
                ),
                io.Boolean.Input(
                    "whole_model",
                    default=False,
                    optional=True,
                    tooltip="Teach all of the model in place of a LoRA, and keep it as a model of its own in "
                    "models/vq_diffusion. For small models, as those that come with this pack.",
                ),
            ],
            outputs=[
                *taught_outputs(),
                io.Image.Output(display_name="loss", tooltip="The loss over the steps, as a curve that should fall."),
                io.Custom("LORA_MODEL").Output(
                    display_name="lora",
                    tooltip="What was learned, for ComfyUI's Save LoRA Weights; nothing where the whole model learned.",
                ),
                io.Custom("LOSS_MAP").Output(
                    display_name="loss_map", tooltip="The loss of every step, for ComfyUI's Plot Loss Graph."
                ),
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
    existing_lora: str = NO_LORA,
    learn_null: bool = False,
    whole_model: bool = False,
) -> io.NodeOutput:
    from ..vqdiffusion_core.training.character import views
    from ..vqdiffusion_core.training.data import notify_of_cut
    from ..vqdiffusion_core.training.lora import Lesson, lora_name, loss_curve
    from ..vqdiffusion_core.training.recipe import text_networks
    from ..vqdiffusion_core.training.teaching import notify_of_one

    _, text_encoder = text_networks(vq_model.model)  # refuses a model that has none to teach
    if whole_model and existing_lora != NO_LORA:
        raise ValueError(
            f"A whole model does not go on with a LoRA, here {existing_lora}; set existing_lora to {NO_LORA}, or turn "
            "whole_model off."
        )
    start = None if existing_lora == NO_LORA else read_lora(lora_file(existing_lora))
    known = start.about.words[-1:] if start else ()
    lesson = Lesson(word.strip() or "".join(known), rank, learn_null, start)
    if not lesson.word:
        raise ValueError("word is empty; give a new word for what the images show, such as zimbo.")
    pictures = [picture for images_BHWC in images for picture in to_pictures(images_BHWC, vq_model)]
    notify_of_cut([(each.shape[1], each.shape[0]) for batch_BHWC in images for each in batch_BHWC], pictures[0].size)
    notify_of_one(len(pictures))
    called = read_captions(captions, len(pictures))
    shown = (pictures, called) if called else views(pictures, lesson.word, text_encoder)
    goal = (new_folder if whole_model else new_lora_file)(name.strip() or lora_name(lesson.word))
    if vq_model.patcher.patches:
        notify("The LoRAs that are on the model are not learned with: the model is taught as its files have it.")
    settings = {"learning_rate": learning_rate, "batch": batch, "seed": seed}
    with torch.inference_mode(False), torch.enable_grad():
        taught = (teach_model if whole_model else teach_lora)(vq_model, lesson, shown, steps, goal, settings)
    curve = to_image(loss_curve(taught.losses))
    return io.NodeOutput(taught.vq_model, taught.vq_model.clip, curve, taught.lora, {"loss": taught.losses})


class Taught(NamedTuple):
    """What came of a lesson."""

    losses: list[float]  # of its steps
    vq_model: ManagedModel  # that has learned
    lora: dict[str, Tensor] | ExecutionBlocker


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


def read_captions(texts: list[str], images: int) -> list[list[str]]:
    """Of each image: the lines of its text where every image has one, else one of all lines; nothing where there are
    none.
    """
    of_text = [[line.strip() for line in text.splitlines() if line.strip()] for text in texts]
    lines = [line for each in of_text for line in each]
    if not lines:
        return []
    if len(texts) == images > 1:
        if missing := [f"{number}" for number, each in enumerate(of_text, 1) if not each]:
            raise ValueError(
                f"There is no caption for image {', '.join(missing)} of {images}; expected a text for each image, in "
                "their order, or none at all."
            )
        return of_text
    if len(lines) != images:
        raise ValueError(
            f"There are {len(lines)} captions and {images} images; expected a line for each image, in their order, or "
            "none at all."
        )
    return [[line] for line in lines]


def teach_lora(
    vq_model: ManagedModel, lesson: Lesson, shown: Shown, steps: int, file: Path, settings: dict[str, Any]
) -> Taught:
    """Learns a LoRA into a file."""
    from ..vqdiffusion_core.training.lora import lora_training_of

    with to_teach(vq_model) as (model, processes):
        training = lora_training_of(model, lesson, *shown, processes, **settings)
        losses = learn(training, steps, file, lambda done: write_lora(training.lora(file.name, done), file), SAVE_LORA)
        lora = training.lora(file.name, len(losses))
    return Taught(losses, with_lora(vq_model, lora, 1.0), to_tensors(lora))


def teach_model(
    vq_model: ManagedModel, lesson: Lesson, shown: Shown, steps: int, folder: Path, settings: dict[str, Any]
) -> Taught:
    """Learns all weights of a model but its codec's into a folder of its own."""
    from ..vqdiffusion_core.checkpoints.convert import check_space, size_of
    from ..vqdiffusion_core.training.teaching import WHOLE_RATE, model_teaching_of

    settings |= {"learning_rate": settings["learning_rate"] * WHOLE_RATE, "learn_null": lesson.learn_null}
    with to_teach(vq_model) as (model, processes):
        check_space(folder, size_of(model, torch.float16))
        training = model_teaching_of(model, lesson.word, *shown, processes, **settings)
        learned = partial(training.model, folder.name)
        losses = learn(training, steps, folder, lambda done: save(learned(), folder, torch.float16), TEACH_AGAIN)
        unwritten = None if folder.exists() else in_main_memory(learned(), vq_model.model.dtype)
    drawing = ManagedModel.of(unwritten, folder) if unwritten else open_folder(folder, vq_model.model.dtype)
    return Taught(
        losses, drawing, ExecutionBlocker("VQ-Diffusion Teach has taught a whole model, so there is no LoRA.")
    )


@contextmanager
def to_teach(vq_model: ManagedModel) -> Iterator[tuple[VQDiffusion, Processes]]:
    """The model as its files have it, and the host's device, which the lesson has for itself."""
    with runtime.device_alone() as device:
        yield load_anew(vq_model), Processes(device=device)


def in_main_memory(model: VQDiffusion, dtype: torch.dtype) -> VQDiffusion:
    """A model that has just learned, ready to be managed as one that was opened with this type is."""
    for network in (model.text_encoder, model.vqgan):
        if network:
            network.cpu()
    null_1LD = None if model.learned_null_1LD is None else model.learned_null_1LD.cpu()
    return replace(model, transformer=model.transformer.to("cpu", dtype), learned_null_1LD=null_1LD)


def learn(training: Teaching, steps: int, goal: Path, write: Callable[[int], None], remedy: str) -> list[float]:
    """The losses of the steps. However it ends, what was learned until then is written to its goal, by `write(steps)`;
    the remedy is said where that fails.
    """
    from ..vqdiffusion_core.training.memory import quickest_that_fits

    training.take_steps_by(*quickest_that_fits(training))
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
            keep(partial(write, len(losses)), goal, remedy)
        if 0 < len(losses) < steps:
            notify(f"Teaching stopped after step {len(losses)} of {steps}; what was learned is kept in {goal.name}.")
    return losses


def keep(write: Callable[[], None], goal: Path, remedy: str) -> None:
    """Writes it; where that fails, the node's outputs still have it."""
    try:
        write()
    except OSError as error:
        notify(
            f"{goal.name} could not be written: {error}. Until ComfyUI ends, the node's outputs have what was learned: "
            f"{remedy}"
        )


def progress_with_sheets(training: Teaching, steps: int) -> Callable[[int], None]:
    """Shows how far it is and how long it will take; now and then, where previews are wanted, images and what is drawn
    of their captions.
    """
    memory = training.memory(training.accumulate, training.checkpoint_activations)
    logging.info("VQ-Diffusion: %d steps of teaching take some %s.", steps, memory)
    runtime.show_text(f"Step 0 of {steps}; it takes some {memory.total / 1e9:.2g} GB.")
    progress, wanted, begun = runtime.Progress(steps), runtime.previews_are_wanted(), time.monotonic()

    def show(done: int) -> None:
        seconds = (time.monotonic() - begun) / done * (steps - done)
        runtime.show_text(f"Step {done} of {steps}, {tqdm.format_interval(seconds)} to go.")
        is_due = wanted and (done % SHEET_EVERY == 0 or done == steps)
        progress(done, training.sample_grid() if is_due else None)

    return show
