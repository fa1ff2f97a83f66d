"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import ImageColor

from ..checkpoints import BUILT_IN
from ..files.images import WHITE, Colour
from ..lora import Lora, read_lora


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")


def add_model(command: argparse.ArgumentParser) -> None:
    default = next(iter(BUILT_IN))
    command.add_argument("--model", type=parse_model, default=default, help=f"folder or file; without it, {default}")
    command.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    add_tokenizer(command)


def parse_model(text: str) -> Path:
    return BUILT_IN.get(text, Path(text))


def add_tokenizer(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tokenizer", type=Path, help="folder with CLIP's vocabulary, for a model without one")


def add_loras(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--lora",
        type=parse_lora,
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="what to add to the model, strength 1 without a number, negative ones too; may be given several times",
    )


def parse_lora(text: str) -> tuple[Path, float]:
    """
    >>> [(str(file), strength) for file, strength in map(parse_lora, ["pim.safetensors:-0.5", "pim.safetensors"])]
    [('pim.safetensors', -0.5), ('pim.safetensors', 1.0)]
    """
    file, colon, strength = text.rpartition(":")
    try:
        return (Path(file), float(strength)) if colon else (Path(text), 1.0)
    except ValueError:
        return Path(text), 1.0  # a colon of the path, as after a drive's letter


def read_loras(options: argparse.Namespace) -> list[tuple[Lora, float]]:
    return [(read_lora(file), strength) for file, strength in options.lora]


def add_background(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--background",
        type=parse_colour,
        default=WHITE,
        metavar="COLOUR",
        help="what transparent images are laid on, as a name or #rrggbb; without it, white",
    )


def parse_colour(text: str) -> Colour:
    return ImageColor.getrgb(text)
