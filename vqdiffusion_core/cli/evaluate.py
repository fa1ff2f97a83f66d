"""`vqdiffusion evaluate`: a model in, a table out."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoints import POCKET_FOLDER, load
from ..distributed import choose_device
from ..notices import few_notices
from ..training import evaluate
from ..training.examples import fingerprint
from ..training.measuring import measure, table
from ..training.world import evaluate as world
from ..training.world.card import card
from .options import add_device, parse_model


def add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("evaluate", help="measure how well a model draws the built-in scenes, or the world")
    command.set_defaults(run=run_evaluate)
    command.add_argument("--model", type=parse_model, default=POCKET_FOLDER, help="folder; without it, pocket")
    command.add_argument("--world", action="store_true", help="how well it draws stickers in landscapes")
    command.add_argument("--prompts", type=int, default=400, help="how many of each kind")
    command.add_argument(
        "--images",
        choices=world.IMAGES,
        default=world.IMAGES[0],
        help="with --world: what is judged; true scenes, or the codec's reconstructions, show how far figures can go",
    )
    command.add_argument(
        "--json", type=Path, help="file to write the figures to as well, which goes on with those it has of this model"
    )
    command.add_argument("--card", type=Path, metavar="FILE", help="with --world: the model's card, to write as well")
    add_device(command)


def run_evaluate(options: argparse.Namespace) -> None:
    if options.images != world.IMAGES[0] and not options.world:
        raise ValueError(f"--images {options.images} are those of the world; expected --world too.")
    if options.card and (not options.world or options.images != world.IMAGES[0]):
        raise ValueError(
            "A card has the figures of what a model of the world draws; expected --world alone beside --card."
        )
    model = load(options.model, "float32")
    networks = (model.transformer, model.vqgan, model.text_encoder)
    of = {"prompts": options.prompts, "model": [fingerprint(part) for part in networks if part is not None]}
    model = model.prepare_for_inference(choose_device(options.device))
    if options.world:
        of |= {"images": options.images}
        parts = world.parts(model, options.prompts, options.images)
    else:
        parts = evaluate.parts(model, options.prompts)
    with few_notices():
        figures = measure(parts, options.json, of)
    print(table(figures))
    if options.card:
        options.card.write_text(card(load(options.model, "float32"), figures), encoding="utf-8")
