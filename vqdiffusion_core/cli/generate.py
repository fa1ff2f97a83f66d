"""`vqdiffusion generate`: images from the command line, one prompt or a list of them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import torch
from tqdm import tqdm

from ..checkpoints import choose_dtype, load
from ..diffusion.sampling import count_steps
from ..diffusion.settings import ABOUT, DEFAULTS, Settings
from ..distributed import choose_device, init_processes
from ..editing import Inpaint, RegionalPrompt, canvas_of
from ..files.image_output import check_output, write_image
from ..files.images import open_image, open_mask
from ..lora import apply_loras
from ..model import VQDiffusion
from ..networks.specs import PriorSpec
from ..notices import few_notices, notices_to
from ..pipeline import generate
from .drawing import draw
from .lists import check_outputs, read_jobs
from .options import add_background, add_device, add_loras, add_model, read_loras

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
    command.add_argument("--size", type=parse_size, metavar="WIDTHxHEIGHT", help="pixels; larger than the model's own")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--count", type=int, default=1, help="images; image i has the seed + i")
    add_device(command)
    add_settings(command)
    add_model(command)
    add_loras(command)


def add_settings(command: argparse.ArgumentParser) -> None:
    """An option for every setting."""
    for name, about in ABOUT.items():
        option, default = f"--{name.replace('_', '-')}", getattr(DEFAULTS, name)
        if isinstance(default, bool):
            command.add_argument(option, action="store_true", help=about.help)
        else:
            said = f"{about.help} (default {default})"
            command.add_argument(option, type=type(default), default=default, choices=about.choices, help=said)


def parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def run_generate(options: argparse.Namespace) -> None:
    if options.prompts:
        run_list(options)
        return
    settings = read_settings(options)
    if options.count < 1:
        raise ValueError(f"count is {options.count}; expected 1 or more images.")
    paths = number_paths(options.output or Path("picture.png"), options.count)
    for path in paths:
        check_output(path)
    parts, edit = [parse_region(*given) for given in options.part], open_edit(options)
    model = load_model(options, choose_device(options.device))
    prompt = choose_prompt(options, model.transformer.spec)
    steps = count_steps(model.transformer, settings, canvas_of(model, edit, options.size))
    with tqdm(total=steps, unit="step", disable=None) as bar:
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


def number_paths(path: Path, count: int) -> list[Path]:
    """
    >>> [path.name for path in number_paths(Path("fox.png"), 2)]
    ['fox_0.png', 'fox_1.png']
    """
    return [path] if count == 1 else [path.with_stem(f"{path.stem}_{i}") for i in range(count)]


def load_model(options: argparse.Namespace, device: torch.device) -> VQDiffusion:
    loras = read_loras(options)
    model = load(options.model, choose_dtype(options.dtype, device), options.tokenizer)
    return apply_loras(model, loras).prepare_for_inference(device)


def read_settings(options: argparse.Namespace) -> Settings:
    return Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})


def parse_region(where: str, prompt: str) -> RegionalPrompt:
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


def open_edit(options: argparse.Namespace) -> Inpaint | None:
    if options.picture is None:
        if options.mask is not None:
            raise ValueError("--mask is given without an image to lay it over; expected --picture too.")
        return None
    mask = None if options.mask is None else open_mask(options.mask)
    return Inpaint(open_image(options.picture, options.background), mask, options.grow, options.feather)


def choose_prompt(options: argparse.Namespace, spec: PriorSpec) -> str | None:
    """The prompt or the class, whichever the model draws from; None where it is asked for parts alone."""
    if options.part and options.prompt is None and options.class_label is None:
        return None
    choice = {"text": options.prompt, "class": options.class_label, "none": None}[spec.condition]
    given = [condition for condition in (options.prompt, options.class_label) if condition is not None]
    if given != ([] if spec.condition == "none" else [choice]):
        raise ValueError(f"This model draws from {SOURCES[spec.condition]}.")
    return choice or ""


def run_list(options: argparse.Namespace) -> None:
    if options.prompt is not None or options.class_label is not None or options.count != 1 or options.part:
        raise ValueError(f"{options.prompts} says what is drawn; give no prompt, --class, --part or --count besides.")
    settings = read_settings(options)
    folder = options.output or Path("pictures")
    jobs = read_jobs(options.prompts, folder, options.seed, settings, options.negative, options.model.name)
    check_outputs(jobs)
    with init_processes(options.device) as processes:
        model = load_model(options, processes.device)
        with notices_to(print_notice), few_notices():
            failed = draw(model, jobs, processes, report=print_line)
        if failed and processes.is_main:
            raise ValueError(f"{failed} of {len(jobs)} images failed; the same command tries them again.")
    if failed:
        sys.exit(1)  # the leading process has said why


def print_line(line: str) -> None:
    tqdm.write(line)
    sys.stdout.flush()


def print_notice(line: str) -> None:
    """On stderr, whichever process says it: each draws lines of its own."""
    print(f"vqdiffusion: {line}", file=sys.stderr)
