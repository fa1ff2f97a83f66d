"""`vqdiffusion`: the core without ComfyUI."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch

from .batch import draw, read_jobs, write_picture
from .checkpoints import POCKET_FOLDER, CheckpointError, choose_dtype, load
from .checkpoints.convert import convert
from .checkpoints.releases import releases_like
from .model import VQDiffusion
from .pipeline import SAMPLERS, Settings, generate
from .specs import TransformerSpec
from .training.commands import add_evaluate, add_train
from .training.workers import device_of, joined

DEFAULTS = Settings()
PATIENCE = timedelta(days=7)  # with a process that has more of a list to draw than the others
SOURCES = {
    "text": "a prompt; give it one, and no --class",
    "class": "a class; give it --class with a name or a number, and no prompt",
    "none": "nothing but its training; give it no prompt and no --class",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, or 1 after an error in one line."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError, EOFError) as error:
        print(f"vqdiffusion: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="vqdiffusion", description="Draw pictures with VQ-Diffusion.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("generate", help="draw pictures of a prompt")
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
    command.add_argument("-o", "--output", type=Path, help="PNG, several are numbered; with --prompts a folder")
    command.add_argument("--negative", help="what to keep away from; the model's learned null without it")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--count", type=int, default=1, help="pictures; picture i has the seed + i")
    command.add_argument("--steps", type=int, default=DEFAULTS.steps, help="network evaluations a picture")
    command.add_argument("--guidance", type=float, default=DEFAULTS.guidance, help="1 is none")
    command.add_argument("--truncation", type=float, default=DEFAULTS.truncation, help="kept probability, 0..1")
    command.add_argument("--sampler", choices=SAMPLERS, default=DEFAULTS.sampler)
    add_model(command)

    command = commands.add_parser("info", help="what a model is")
    command.set_defaults(run=run_info)
    add_model(command)

    command = commands.add_parser("convert", help="write any model as a folder of safetensors, diffusers layout")
    command.set_defaults(run=run_convert)
    command.add_argument("source", type=Path, help="folder of a model, or a checkpoint of the authors in its folder")
    command.add_argument("target", type=Path, help="folder to write, which must not exist")
    command.add_argument("--dtype", help="float32, bfloat16 or float16; without it, each weight stays as it is")
    add_tokenizer(command)

    command = commands.add_parser("download", help="fetch microsoft/vq-diffusion-ithq from the Hugging Face hub")
    command.set_defaults(run=run_download)
    command.add_argument("folder", type=Path, help="where models lie, such as ComfyUI's models/vq_diffusion")
    command.add_argument("--yes", action="store_true", help="do not ask before downloading")

    add_train(commands)
    add_evaluate(commands)
    return top


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
    output = options.output or Path("picture.png")
    settings = Settings(options.steps, options.guidance, options.truncation, options.sampler)
    if options.count < 1:
        raise ValueError(f"count is {options.count}; expected 1 or more pictures.")
    model = load_ready(options, device_of("auto"))
    prompt = choose_prompt(options, model.transformer.spec)

    def report(step: int, tokens: object) -> None:
        print(f"\rstep {step}/{settings.steps}", end="" if step < settings.steps else "\n", file=sys.stderr, flush=True)

    pictures = generate(
        model,
        prompt,
        negative=options.negative,
        seed=options.seed,
        count=options.count,
        settings=settings,
        on_step=report,
    )
    for i, picture in enumerate(pictures):
        path = output if len(pictures) == 1 else output.with_stem(f"{output.stem}_{i}")
        write_picture(picture, path)
        print(path)


def load_ready(options: argparse.Namespace, device: torch.device) -> VQDiffusion:
    return load(options.model, choose_dtype(options.dtype, device), options.tokenizer).ready(device)


def choose_prompt(options: argparse.Namespace, spec: TransformerSpec) -> str:
    """The prompt or the class, whichever the model draws from."""
    choice = {"text": options.prompt, "class": options.class_label, "none": None}[spec.condition]
    given = [part for part in (options.prompt, options.class_label) if part is not None]
    if given != ([] if spec.condition == "none" else [choice]):
        raise ValueError(f"This model draws from {SOURCES[spec.condition]}.")
    return choice or ""


def run_list(options: argparse.Namespace) -> None:
    if options.prompt is not None or options.class_label is not None or options.count != 1:
        raise ValueError(f"{options.prompts} says what is drawn; give no prompt, --class or --count besides.")
    settings = Settings(options.steps, options.guidance, options.truncation, options.sampler)
    folder = options.output or Path("pictures")
    jobs = read_jobs(options.prompts, folder, options.seed, settings, options.negative, options.model.name)
    with joined(patience=PATIENCE) as workers:
        model = load_ready(options, workers.device)
        failed = draw(model, jobs, workers, say=lambda line: print(line, flush=True))
        if failed and workers.leads:
            raise ValueError(f"{failed} of {len(jobs)} pictures failed; the same command tries them again.")
    if failed:
        sys.exit(1)  # the leading process has said why


def run_info(options: argparse.Namespace) -> None:
    model = load(options.model, options.dtype, options.tokenizer)
    spec = model.transformer.spec
    rows, columns = spec.grid
    cell = model.vqgan.spec.downscale
    print(f"model        {model.name} ({options.model})")
    if known := releases_like(spec):
        print(f"release      shaped like {', '.join(release.name for release in known)}")
    size, tokens = f"{columns * cell} x {rows * cell}", f"{columns} x {rows}"
    print(f"picture      {size} pixels, {tokens} tokens of {spec.codebook_size} codes")
    print(f"transformer  {spec.layers} layers x {spec.width}, {spec.heads} heads, {spec.num_timesteps} timesteps")
    print(f"condition    {describe_condition(model, spec)}")
    for part in ("transformer", "vqgan", "text_encoder"):
        if module := getattr(model, part):
            print(f"{part:12} {sum(p.numel() for p in module.parameters()) / 1e6:.1f} M parameters")


def describe_condition(model: VQDiffusion, spec: TransformerSpec) -> str:
    if spec.condition == "class":
        return f"class label, 0 to {spec.class_rows - 2}, with a null class"
    if model.text_encoder is None:
        return "none"
    null = "a learned null embedding" if model.learned_null_1LD is not None else "the empty prompt as null"
    return f"text of up to {model.text_encoder.length - 2} tokens, {null}"


def run_convert(options: argparse.Namespace) -> None:
    def report(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        print(f"\r{done / 1e9:.2f} of {total / 1e9:.2f} GB", end=end, file=sys.stderr, flush=True)

    dtype = choose_dtype(options.dtype) if options.dtype else None
    convert(options.source, options.target, dtype, options.tokenizer, report)
    print(options.target)


def run_download(options: argparse.Namespace) -> None:
    from .checkpoints.download import download, plan, summary  # here, because it brings the hub's library in

    files = plan()
    print(summary(files, options.folder))
    if not options.yes and input("Download it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CheckpointError("Nothing was downloaded; answer y, or give --yes.")
    print(download(files, options.folder))  # the hub's library shows the progress


if __name__ == "__main__":
    sys.exit(main())
