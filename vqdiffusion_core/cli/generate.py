"""`vqdiffusion generate`: images from the command line, one prompt or a list of them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import torch
from PIL import ImageColor
from tqdm import tqdm

from ..checkpoints import POCKET_FOLDER, choose_dtype, load
from ..diffusion.settings import ABOUT, DEFAULTS, Settings
from ..distributed import device_of, joined
from ..editing import Inpaint, RegionalPrompt
from ..files.image_output import check_output, write_image
from ..files.images import WHITE, Colour, open_image, open_mask
from ..model import VQDiffusion
from ..networks.specs import TransformerSpec
from ..notices import few_notices, notices_to
from ..pipeline import generate
from .lists import check_outputs, draw, read_jobs

SOURCES = {
    "text": "a prompt; give it one, and no --class",
    "class": "a class; give it --class with a name or a number, and no prompt",
    "none": "nothing but its training; give it no prompt and no --class",
}


def add_generate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("generate", help="draw images of a prompt")
    command.set_defaults(run=run_generate)
    command.add_argument("prompt", nargs="?", help="what to draw, for models that read text")
    command.add_argument("--class", dest="class_label", metavar="CLASS", help="name or number, for models of classes")
    command.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="draw every line of a list: a prompt, or in a .jsonl file an object with prompt, name, seed and settings; "
        "what is there is not drawn again, and torchrun shares the list among processes",
    )
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        help="file whose suffix says the format: .png, .jpg, .webp and others; several are numbered; with --prompts a "
        "folder",
    )
    command.add_argument("--negative", help="what to keep away from; the model's learned null without it")
    command.add_argument(
        "--part",
        nargs=2,
        action="append",
        default=[],
        metavar=("WHERE", "PROMPT"),
        help="a prompt for a part: LEFT,TOP,RIGHT,BOTTOM[,START,END[,STRENGTH]], in 0..1 of the image and of the run",
    )
    command.add_argument("--picture", type=Path, help="an image to work on")
    command.add_argument(
        "--mask",
        type=Path,
        help="what to draw anew of it, of any size: white on black, strokes on a clear ground, or an image with a hole",
    )
    add_background(command)
    command.add_argument("--grow", type=int, default=0, help="tokens by which the mask is widened")
    command.add_argument("--feather", type=int, default=0, help="pixels over which the drawn part blends in")
    command.add_argument("--size", type=size, metavar="WIDTHxHEIGHT", help="pixels; larger than the model's own")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--count", type=int, default=1, help="images; image i has the seed + i")
    add_device(command)
    add_settings(command)
    add_model(command)


def add_settings(command: argparse.ArgumentParser) -> None:
    """An option for every setting."""
    for name, about in ABOUT.items():
        option, default = f"--{name.replace('_', '-')}", getattr(DEFAULTS, name)
        if isinstance(default, bool):
            command.add_argument(option, action="store_true", help=about.help)
        else:
            said = f"{about.help} (default {default})"
            command.add_argument(option, type=type(default), default=default, choices=about.choices, help=said)


def add_background(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--background",
        type=colour,
        default=WHITE,
        metavar="COLOUR",
        help="what transparent images are laid on, as a name or #rrggbb; without it, white",
    )


def colour(text: str) -> Colour:
    return ImageColor.getrgb(text)


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", type=model_path, default=POCKET_FOLDER, help="folder or file; without it, pocket")
    command.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    add_tokenizer(command)


def model_path(text: str) -> Path:
    return POCKET_FOLDER if text == "pocket" else Path(text)


def add_tokenizer(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tokenizer", type=Path, help="folder with CLIP's vocabulary, for a model without one")


def run_generate(options: argparse.Namespace) -> None:
    if options.prompts:
        run_list(options)
        return
    settings = settings_of(options)
    if options.count < 1:
        raise ValueError(f"count is {options.count}; expected 1 or more images.")
    paths = numbered(options.output or Path("picture.png"), options.count)
    for path in paths:
        check_output(path)
    parts, edit = [part(*given) for given in options.part], edit_of(options)
    model = load_ready(options, device_of(options.device))
    prompt = choose_prompt(options, model.transformer.spec)
    with tqdm(total=settings.steps, unit="step", disable=None) as bar:
        images = generate(
            model,
            prompt,
            parts=parts,
            negative=options.negative,
            edit=edit,
            size=options.size,
            seed=options.seed,
            count=options.count,
            settings=settings,
            on_step=lambda step, tokens: bar.update(step - bar.n),
        )
    for image, path in zip(images, paths, strict=True):
        write_image(image, path)
        print(path)


def numbered(path: Path, count: int) -> list[Path]:
    """
    >>> [path.name for path in numbered(Path("fox.png"), 2)]
    ['fox_0.png', 'fox_1.png']
    """
    return [path] if count == 1 else [path.with_stem(f"{path.stem}_{i}") for i in range(count)]


def load_ready(options: argparse.Namespace, device: torch.device) -> VQDiffusion:
    return load(options.model, choose_dtype(options.dtype, device), options.tokenizer).prepare_for_inference(device)


def settings_of(options: argparse.Namespace) -> Settings:
    return Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})


def part(where: str, prompt: str) -> RegionalPrompt:
    try:
        numbers = [float(number) for number in where.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (4, 6, 7):
        raise ValueError(
            f"--part is {where!r}; expected LEFT,TOP,RIGHT,BOTTOM[,START,END[,STRENGTH]], such as 0,0,0.5,1."
        )
    left, top, right, bottom, *time = numbers
    return RegionalPrompt(prompt, (left, top, right, bottom), *time)


def edit_of(options: argparse.Namespace) -> Inpaint | None:
    if options.picture is None:
        if options.mask is not None:
            raise ValueError("--mask is given without an image to lay it over; expected --picture too.")
        return None
    mask = None if options.mask is None else open_mask(options.mask)
    return Inpaint(open_image(options.picture, options.background), mask, options.grow, options.feather)


def choose_prompt(options: argparse.Namespace, spec: TransformerSpec) -> str | None:
    """The prompt or the class, whichever the model draws from; None where it is asked for parts alone."""
    if options.part and options.prompt is None and options.class_label is None:
        return None
    choice = {"text": options.prompt, "class": options.class_label, "none": None}[spec.condition]
    given = [part for part in (options.prompt, options.class_label) if part is not None]
    if given != ([] if spec.condition == "none" else [choice]):
        raise ValueError(f"This model draws from {SOURCES[spec.condition]}.")
    return choice or ""


def run_list(options: argparse.Namespace) -> None:
    if options.prompt is not None or options.class_label is not None or options.count != 1 or options.part:
        raise ValueError(f"{options.prompts} says what is drawn; give no prompt, --class, --part or --count besides.")
    settings = settings_of(options)
    folder = options.output or Path("pictures")
    jobs = read_jobs(options.prompts, folder, options.seed, settings, options.negative, options.model.name)
    check_outputs(jobs)
    with joined(options.device) as workers:
        model = load_ready(options, workers.device)
        with notices_to(print_notice), few_notices():
            failed = draw(model, jobs, workers, say=print_line)
        if failed and workers.is_main:
            raise ValueError(f"{failed} of {len(jobs)} images failed; the same command tries them again.")
    if failed:
        sys.exit(1)  # the leading process has said why


def print_line(line: str) -> None:
    tqdm.write(line)
    sys.stdout.flush()


def print_notice(line: str) -> None:
    """On stderr, whichever process says it: each draws lines of its own."""
    print(f"vqdiffusion: {line}", file=sys.stderr)
