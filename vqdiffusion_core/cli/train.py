"""`vqdiffusion train`: options in, a run out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import POCKET_FOLDER, load, save
from ..diffusion.matrix_schedule import MATRIX_KERNELS
from ..distributed import Processes, init_processes
from ..files.image_folder import ImageFolder
from ..lora import read_lora, write_lora
from ..model import VQDiffusion
from ..networks.specs import VQGANSpec
from ..networks.vqgan import VQGAN
from ..training import lora, pocket
from ..training.autoregressive import AutoregressiveTraining
from ..training.changes import check_data
from ..training.character import FolderOfWord
from ..training.checkpoint import find_run
from ..training.data import Folder, Source
from ..training.diffusion import DiffusionTraining, check_shares
from ..training.growth import grow
from ..training.loop import run
from ..training.lora import Lesson, lora_name, lora_training
from ..training.matching import match_captions
from ..training.memory import Estimated, check_memory
from ..training.recipe import (
    KERNELS,
    Shape,
    autoregressive_training,
    codec_fine_tuning,
    codec_shape,
    diffusion_training,
    load_codec,
    new_autoregressive_model,
    new_codec_training,
    new_model,
    text_networks,
)
from ..training.teaching import notify_of_one
from ..training.world import recipe as world
from ..training.world.source import SCENES, World
from .options import add_background, add_device, parse_model


def add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser("train", help="train a model, or fine-tune one; a run can be cut off and resumed")
    kinds = train.add_subparsers(required=True, metavar="WHAT")

    command = kinds.add_parser("codec", help="the VQGAN that turns images into tokens and back")
    command.set_defaults(run=run_codec)
    add_run(command)
    add_pace(command, batch=16, steps=pocket.CODEC_STEPS)
    command.add_argument("--codes", type=int, help=f"entries of a new codebook (default {pocket.CODEC.codebook_size})")
    channels = ",".join(map(str, pocket.CODEC.level_channels))
    command.add_argument(
        "--channels", type=parse_numbers, help=f"of each resolution of a new codec (default {channels})"
    )
    command.add_argument(
        "--cells-alone",
        action="store_true",
        help="a new codec sees the pixels of each token by themselves: what is the same has the same tokens anywhere, "
        "which a transformer learns far sooner",
    )
    command.add_argument("--codec", type=Path, help="go on from this one: a run's folder, a VQGAN, or a model")
    command.add_argument(
        "--grow",
        action="store_true",
        help="with --codec: a finer resolution more, for images of twice the size with as many tokens",
    )
    command.add_argument(
        "--learn",
        choices=("all", "decoder"),
        default="all",
        help="decoder: with --codec, tokens stay what they are and are drawn sharper, against a discriminator",
    )

    command = kinds.add_parser("diffusion", help="the transformer and its text encoder, on the tokens of a codec")
    command.set_defaults(run=run_diffusion)
    add_run(command)
    add_pace(command, batch=32, steps=pocket.DIFFUSION_STEPS)
    start = command.add_mutually_exclusive_group(required=True)
    start.add_argument("--codec", type=Path, help="begin a new model around it: a run's folder, a VQGAN, or a model")
    start.add_argument("--model", type=Path, help="folder of a model: fine-tune it")
    command.add_argument(
        "--learn",
        choices=("all", "transformer", "null"),
        help="what may change, besides the learned null; without it, all of a new model and the transformer of another",
    )
    add_shape(command)
    kernels = [*KERNELS, *MATRIX_KERNELS]
    command.add_argument("--kernel", choices=kernels, default="absorbing", help="how tokens get lost")
    command.add_argument(
        "--match-captions",
        type=int,
        metavar="STEPS",
        help="with --codec: the text encoder first learns for so many steps which caption is that of which image",
    )
    command.add_argument(
        "--token-share",
        type=float,
        nargs="+",
        default=[1.0],
        help="of each image's tokens, in a step, more where they are hard to predict: less is quicker; several hold one"
        " after the other",
    )
    command.add_argument(
        "--blank-share",
        type=float,
        default=0.0,
        help="of each batch, images that are all masked beyond those of the loss: for what the first tokens decide",
    )
    command.add_argument(
        "--checkpoint-activations", action="store_true", help="much less memory, for steps of a third more work"
    )
    add_end(command)

    command = kinds.add_parser("autoregressive", help="a transformer of the same shape that draws token after token")
    command.set_defaults(run=run_autoregressive)
    add_run(command)
    add_pace(command, batch=32, steps=pocket.DIFFUSION_STEPS)
    command.add_argument("--codec", type=Path, required=True, help="whose tokens it draws: a run, a VQGAN, or a model")
    add_shape(command)
    add_end(command)

    command = kinds.add_parser("lora", help="teach a model a character or a style, as a small file")
    command.set_defaults(run=run_lora)
    command.add_argument("folder", type=Path, help="where the run keeps its checkpoint, log.csv and sample sheets")
    command.add_argument("--data", type=Path, required=True, help="folder of images, with captions or without")
    command.add_argument(
        "--word",
        default="",
        help="the new word that is taught; where the folder has no captions, images are called by it and their ground, "
        "and are shown in other colours too",
    )
    command.add_argument("--model", type=parse_model, default=POCKET_FOLDER, help="folder; without it, pocket")
    command.add_argument(
        "--rank", type=int, default=Lesson.rank, help="of the adapters: more learns more, in more bytes"
    )
    command.add_argument(
        "--learn-null", action="store_true", help="teach also what the model draws of no prompt at all"
    )
    command.add_argument("--begin-with", type=Path, metavar="FILE", help="a LoRA to go on with")
    add_background(command)
    command.add_argument("--new-data", action="store_true", help="go on though the images or captions changed")
    add_pace(command, batch=lora.BATCH, steps=lora.STEPS)
    command.add_argument(
        "--checkpoint-activations", action="store_true", help="much less memory, for steps of a third more work"
    )
    command.add_argument(
        "--save-as", dest="file", type=Path, metavar="FILE", help="the LoRA; without it, in the folder"
    )

    command = kinds.add_parser("pocket", help="the built-in model pocket from nothing: codec, then diffusion")
    command.set_defaults(run=run_pocket)
    command.add_argument("folder", type=Path, help="where the two runs are kept")
    add_end(command)
    add_machine(command)

    command = kinds.add_parser("world", help="a model of stickers in landscapes, from nothing in four runs")
    command.set_defaults(run=run_world)
    command.add_argument("folder", type=Path, help="where its runs are kept: small, codec, diffusion, decoder")
    start = command.add_mutually_exclusive_group()
    start.add_argument("--codec", type=Path, help="begin with this one: a run's folder, a VQGAN, or a model")
    start.add_argument("--model", type=parse_model, help="go on from this model of the world: its codec, and all else")
    command.add_argument(
        "--steps", type=int, default=world.DIFFUSION_STEPS, help=f"of the diffusion (default {world.DIFFUSION_STEPS})"
    )
    command.add_argument(
        "--as-it-is", action="store_true", help="with --save-as: no more steps, what the runs have learned so far"
    )
    add_end(command)
    add_machine(command)


def add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="where the run keeps its checkpoint, log.csv and sample sheets")
    source = command.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help="folder of images with captions; without it, the built-in scenes")
    source.add_argument("--world", action="store_true", help="stickers in landscapes, drawn by this program")
    add_background(command)
    command.add_argument("--new-data", action="store_true", help="go on though the images or captions changed")
    command.add_argument("--size", type=int, help="side of the images in pixels; without it, 96 or the model's own")


def add_shape(command: argparse.ArgumentParser) -> None:
    command.add_argument("--layers", type=int, default=Shape.layers)
    command.add_argument("--width", type=int, default=Shape.width)
    command.add_argument("--heads", type=int, default=Shape.heads)


def add_pace(command: argparse.ArgumentParser, batch: int, steps: int) -> None:
    command.add_argument("--steps", type=int, default=steps)
    command.add_argument("--batch", type=int, default=batch, help="images a step, over all processes")
    command.add_argument(
        "--learning-rate", type=float, help="at its highest (default 0.001; of a LoRA 0.004, of a decoder alone 0.0003)"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--save-every", type=int, default=200, help="steps between checkpoints")
    command.add_argument(
        "--accumulate", type=int, default=1, help="parts in which a batch is learned from: the same steps, less memory"
    )
    add_machine(command)


def add_machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--precision", choices=("mixed", "float32"), default="mixed", help="mixed: bfloat16 inside")
    add_device(command)


def add_end(command: argparse.ArgumentParser) -> None:
    command.add_argument("--compile", action="store_true", help="faster steps, after a minute; needs a C++ compiler")
    command.add_argument("--save-as", type=Path, help="folder to write the finished model to")


def parse_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def run_codec(options: argparse.Namespace) -> None:
    with init_processes(options.device) as processes:
        settings, size = training_settings(options, processes), options.size or pocket.Scenes.size
        codec, spec = open_codec(options)
        if size % spec.downscale:
            raise ValueError(
                f"size is {size}; {len(spec.level_channels)} resolutions need a multiple of {spec.downscale}."
            )
        check_folders(options)
        find_run(options.folder, "codec")
        source = open_source(options, size, processes, captions=False)
        check_data(source, options.folder, options.new_data, processes)
        if codec is None:
            training = new_codec_training(spec, source, processes, **settings)
        else:
            training = codec_fine_tuning(codec, options.learn, source, processes, **settings)
        say_memory(training)
        run(training, options.folder, options.steps, save_every=options.save_every)


def open_codec(options: argparse.Namespace) -> tuple[VQGAN | None, VQGANSpec]:
    """The codec to go on from, if any, and the shape of the one that is trained."""
    if options.codec is None:
        if options.learn != "all" or options.grow:
            given = "--grow" if options.grow else f"--learn {options.learn}"
            raise ValueError(f"{given} goes on from a codec; expected --codec too.")
        channels = options.channels or pocket.CODEC.level_channels
        return None, codec_shape(channels, options.codes or pocket.CODEC.codebook_size, options.cells_alone)
    if options.channels or options.codes or options.cells_alone:
        raise ValueError("--codec has its own shape; expected no --channels, --codes and --cells-alone beside it.")
    codec = load_codec(options.codec)
    if options.grow and options.learn != "all":
        raise ValueError("A codec that grows gets other tokens, so all of it has to learn; expected no --learn.")
    codec = grow(codec) if options.grow else codec
    return codec, codec.spec


def run_diffusion(options: argparse.Namespace) -> None:
    with init_processes(options.device) as processes:
        settings = training_settings(options, processes)
        check_shares(options.token_share, options.blank_share)
        check_matching(options)
        check_folders(options)
        find_run(options.folder, "transformer")
        if options.model:
            model = load(options.model, "float32")
            own_size = model.transformer.spec.grid[0] * model.vqgan.spec.downscale
            source = open_source(options, options.size or own_size, processes)
        else:
            shape, codec = Shape(options.layers, options.width, options.heads), load_codec(options.codec)
            source = open_source(options, options.size or pocket.Scenes.size, processes)
            model = new_model(codec, source, options.folder, processes, shape, options.kernel, options.seed)
        learn = options.learn or ("transformer" if options.model else "all")
        settings |= {
            "learn": learn,
            "compiled": options.compile,
            "token_shares": options.token_share,
            "blank_share": options.blank_share,
            "checkpoint_activations": options.checkpoint_activations,
        }
        training = diffusion_training(model, source, options.folder, processes, options.new_data, **settings)
        say_memory(training)
        if options.match_captions is not None:
            match_captions(training, options.folder, options.match_captions)
        run(training, options.folder, options.steps, save_every=options.save_every)
        save_model(training, options.save_as)


def check_matching(options: argparse.Namespace) -> None:
    """Raise ValueError where no captions can be matched: before images are encoded for hours."""
    if options.match_captions is None:
        return
    if options.model:
        raise ValueError("--match-captions is for a new text encoder, and that of a model has learned; give --codec.")
    if options.match_captions < 1:
        raise ValueError(f"match captions is {options.match_captions}; expected 1 step or more.")


def run_autoregressive(options: argparse.Namespace) -> None:
    with init_processes(options.device) as processes:
        settings = training_settings(options, processes) | {"compiled": options.compile}
        check_folders(options)
        find_run(options.folder, "gpt")
        shape, codec = Shape(options.layers, options.width, options.heads), load_codec(options.codec)
        source = open_source(options, options.size or pocket.Scenes.size, processes)
        model = new_autoregressive_model(codec, source, options.folder, processes, shape, options.seed)
        training = autoregressive_training(model, source, options.folder, processes, options.new_data, **settings)
        say_memory(training)
        run(training, options.folder, options.steps, save_every=options.save_every)
        save_model(training, options.save_as)


def run_lora(options: argparse.Namespace) -> None:
    file = options.file or options.folder / f"{lora_name(options.word)}.safetensors"
    if file.suffix != ".safetensors":
        raise ValueError(f"--save-as is {file}; expected a name that ends in .safetensors.")
    with init_processes(options.device) as processes:
        settings = training_settings(options, processes)
        check_folders(options)
        find_run(options.folder, "lora")
        start = read_lora(options.begin_with) if options.begin_with else None
        lesson = Lesson(options.word.strip(), options.rank, options.learn_null, start)
        model = load(options.model, "float32")
        size = model.transformer.spec.grid[0] * model.vqgan.spec.downscale
        source = open_taught(options, model, size, processes)
        notify_of_one(len(source.paths))
        settings["checkpoint_activations"] = options.checkpoint_activations
        training = lora_training(model, lesson, source, options.folder, processes, options.new_data, **settings)
        say_memory(training)
        run(training, options.folder, options.steps, save_every=options.save_every)
        if processes.is_main:
            write_lora(training.lora(file.name, options.steps), file)
            print(file)


def open_taught(options: argparse.Namespace, model: VQDiffusion, size: int, processes: Processes) -> Folder:
    """The images with their captions; a character of one word where they have none."""
    found, (_, text_encoder) = ImageFolder.of(options.data), text_networks(model)
    if found.texts or found.metadata or not options.word:
        return Folder(options.data, size, background=options.background, processes=processes)
    return FolderOfWord(options.data, size, options.word, text_encoder, options.background, processes)


def run_pocket(options: argparse.Namespace) -> None:
    check_folders(options)
    source, mixed = pocket.Scenes(), options.precision == "mixed"
    codec, diffusion = options.folder / "codec", options.folder / "diffusion"
    with init_processes(options.device) as processes:
        run(new_codec_training(pocket.CODEC, source, processes, mixed=mixed), codec, pocket.CODEC_STEPS)
        model = new_model(load_codec(codec), source, diffusion, processes, Shape(), "absorbing")
        training = diffusion_training(model, source, diffusion, processes, mixed=mixed, compiled=options.compile)
        say_memory(training)
        run(training, diffusion, pocket.DIFFUSION_STEPS)
        save_model(training, options.save_as)


def run_world(options: argparse.Namespace) -> None:
    if options.as_it_is and not options.save_as:
        raise ValueError("--as-it-is saves what has been learned; expected --save-as too.")
    folder, mixed = options.folder, options.precision == "mixed"
    images, scenes = World(world.SIZE, 0), World(world.SIZE, world.SCENES, world.CHOSEN, looks=world.LOOKS)
    diffusion, decoder = folder / "diffusion", folder / "decoder"
    steps, decoder_steps = options.steps, world.DECODER_STEPS
    check_folders(options)
    if options.as_it_is:
        steps, decoder_steps = steps_taken(diffusion, "transformer"), steps_taken(decoder, "codec")
        if not steps:
            raise ValueError(f"{diffusion} has learned nothing yet; expected no --as-it-is.")
    with init_processes(options.device) as processes:
        codec = options.model or options.codec or learn_codec(folder, images, processes, mixed)
        if options.model:
            model = load_world(options.model)
        else:
            model = new_model(load_codec(codec), scenes, diffusion, processes, world.SHAPE, "absorbing")
        training = diffusion_training(
            model,
            scenes,
            diffusion,
            processes,
            batch=world.DIFFUSION_BATCH,
            learning_rate=world.FINE_RATE if options.model else world.DIFFUSION_RATE,
            mixed=mixed,
            compiled=options.compile,
            token_shares=world.TOKEN_SHARES,
            blank_share=world.BLANK_SHARE,
        )
        say_memory(training)
        run(training, diffusion, steps, save_every=world.SAVE_EVERY)
        if decoder_steps:
            settings = {"batch": world.DECODER_BATCH, "mixed": mixed}
            sharpened = codec_fine_tuning(load_codec(codec), "decoder", images, processes, **settings)
            run(sharpened, decoder, decoder_steps, save_every=world.SAVE_EVERY)
            training.vqgan = sharpened.model
        save_model(training, options.save_as)


def load_world(folder: Path) -> VQDiffusion:
    """Raises ValueError for a model that draws images of another size than the world's."""
    model = load(folder, "float32")
    rows, columns = (side * model.vqgan.spec.downscale for side in model.transformer.spec.grid)
    if (rows, columns) != (world.SIZE, world.SIZE):
        raise ValueError(
            f"{model.name} draws {columns} x {rows} pixels, the world has {world.SIZE} x {world.SIZE}; expected "
            "--model stickers, or a folder that this command has saved."
        )
    return model


def learn_codec(folder: Path, images: World, processes: Processes, mixed: bool) -> Path:
    """The folder of its run: small images first."""
    small, codec = folder / "small", folder / "codec"
    settings = {"batch": world.SMALL_BATCH, "continuous_steps": world.CONTINUOUS_STEPS, "mixed": mixed}
    source = World(world.SMALL_SIZE, 0)
    run(new_codec_training(world.SMALL_CODEC, source, processes, **settings), small, world.SMALL_STEPS)
    settings = {"batch": world.CODEC_BATCH, "mixed": mixed}
    run(codec_fine_tuning(grow(load_codec(small)), "all", images, processes, **settings), codec, world.CODEC_STEPS)
    return codec


def steps_taken(folder: Path, kind: str) -> int:
    return checkpoint["step"] if (checkpoint := find_run(folder, kind)) else 0


def check_folders(options: argparse.Namespace) -> None:
    """Raise ValueError where what is written would get in the way of what is read."""
    folder, data = options.folder.resolve(), getattr(options, "data", None)
    data = data and data.resolve()
    if data and folder.is_relative_to(data):
        raise ValueError(
            f"{options.folder} lies in {options.data}, so that its sheets would be learned from; choose another folder."
        )
    model, goal = getattr(options, "model", None), getattr(options, "save_as", None)
    if model and model.resolve() == folder:
        raise ValueError(f"{options.folder} is the model; give the run a folder of its own.")
    if goal and goal.exists() and not ((goal / "model_index.json").exists() or not any(goal.iterdir())):
        raise ValueError(f"--save-as {goal} would take the place of what is there, which is no model; choose another.")
    if goal and any(kept and kept.is_relative_to(goal.resolve()) for kept in (folder, data)):
        raise ValueError(f"--save-as {goal} would take the place of the run or its images; choose another folder.")


def open_source(options: argparse.Namespace, size: int, processes: Processes, captions: bool = True) -> Source:
    if options.data:
        return Folder(options.data, size, captions=captions, background=options.background, processes=processes)
    if options.world:
        return World(size, count=SCENES if captions else 0)
    if size != pocket.Scenes.size:
        raise ValueError(f"size is {size}; the built-in scenes are drawn at {pocket.Scenes.size}. Give --data FOLDER.")
    return pocket.Scenes()


def training_settings(options: argparse.Namespace, processes: Processes) -> dict[str, Any]:
    for name in ("batch", "learning_rate", "save_every", "accumulate"):
        given = getattr(options, name)
        if given is not None and not given > 0:
            raise ValueError(f"{name.replace('_', ' ')} is {given}; expected more than 0.")
    processes.check_batch(options.batch)
    settings = {
        "batch": options.batch,
        "mixed": options.precision == "mixed",
        "accumulate": options.accumulate,
        "seed": options.seed,
    }
    return settings if options.learning_rate is None else settings | {"learning_rate": options.learning_rate}


def say_memory(training: Estimated) -> None:
    line = check_memory(training)
    if training.processes.is_main:
        print(line)


def save_model(training: DiffusionTraining | AutoregressiveTraining, folder: Path | None) -> None:
    if folder and training.processes.is_main:
        save(training.model(folder.name), folder, torch.float16)
        print(folder)
