"""`vqdiffusion`: the core without ComfyUI."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..checkpoints import CheckpointError, choose_dtype, load
from ..checkpoints.convert import convert
from ..checkpoints.errors import escape, shortlist
from ..checkpoints.releases import releases_like, two_stages_like
from ..lora import apply_loras
from ..model import VQDiffusion
from ..networks.oom import OutOfMemory, is_out_of_memory
from ..networks.specs import GPTSpec, PriorSpec, TransformerSpec
from ..notices import notices_to
from .evaluate import add_evaluate
from .generate import add_generate
from .options import add_loras, add_model, add_tokenizer, read_loras
from .train import add_train

TOO_MUCH = (
    "The memory is too small for that. Ask for less at once, as by a smaller --batch or, in training, by --accumulate, "
    "or close other programs."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 after an error in one line, or 128 and the number of the signal
    that ended it.
    """
    options = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that a console has no letters for ends no run
    try:
        with notices_to(print_notice):
            options.run(options)
    except (ValueError, OSError, EOFError) as error:
        print(f"vqdiffusion: {error}", file=sys.stderr)
        return 1
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"vqdiffusion: {error if isinstance(error, OutOfMemory) else TOO_MUCH}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"vqdiffusion: {str(stop) or 'stopped.'}", file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)
    return 0


def print_notice(line: str) -> None:
    """On stderr; of several processes, which all come to the same notice, the first says it."""
    if os.environ.get("RANK", "0") == "0":
        print(f"vqdiffusion: {line}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="vqdiffusion", description="Draw images with VQ-Diffusion.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    add_generate(commands)

    command = commands.add_parser("info", help="what a model is")
    command.set_defaults(run=run_info)
    add_model(command)

    command = commands.add_parser("convert", help="write any model as a folder of safetensors, diffusers layout")
    command.set_defaults(run=run_convert)
    command.add_argument("source", type=Path, help="a model's folder, a checkpoint in its folder, or a VQGAN")
    command.add_argument("target", type=Path, help="folder to write, which must not exist")
    command.add_argument("--dtype", help="float32, bfloat16 or float16; without it, each weight stays as it is")
    add_tokenizer(command)
    add_loras(command)

    command = commands.add_parser("download", help="fetch microsoft/vq-diffusion-ithq from the Hugging Face hub")
    command.set_defaults(run=run_download)
    command.add_argument("folder", type=Path, help="where ComfyUI looks for models, such as its models/vq_diffusion")
    command.add_argument("--yes", action="store_true", help="do not ask before downloading")

    add_train(commands)
    add_evaluate(commands)
    return top


def run_info(options: argparse.Namespace) -> None:
    model = load(options.model, options.dtype, options.tokenizer)
    spec = model.transformer.spec
    rows, columns = spec.grid
    cell = model.vqgan.spec.downscale
    print(f"model        {model.name} ({options.model})")
    if known := names_of_releases(spec):
        print(f"release      shaped like {', '.join(known)}")
    size, tokens = f"{columns * cell} x {rows * cell}", f"{columns} x {rows}"
    print(f"image        {size} pixels, {tokens} tokens of {spec.codebook_size} codes")
    print(f"transformer  {spec.layers} layers x {spec.width}, {spec.heads} heads, {describe_order(spec)}")
    print(f"condition    {describe_condition(model, spec)}")
    for part in ("transformer", "vqgan", "text_encoder"):
        if module := getattr(model, part):
            print(f"{part:12} {sum(p.numel() for p in module.parameters()) / 1e6:.1f} M parameters")


def names_of_releases(spec: TransformerSpec | GPTSpec) -> list[str]:
    if isinstance(spec, TransformerSpec):
        return [release.name for release in releases_like(spec)]
    known = two_stages_like(spec.codebook_size, spec.layers, spec.width)
    return [known.name] if known else []


def describe_order(spec: TransformerSpec | GPTSpec) -> str:
    return "token after token" if isinstance(spec, GPTSpec) else f"{spec.num_timesteps} timesteps"


def describe_condition(model: VQDiffusion, spec: PriorSpec) -> str:
    if spec.condition == "class":
        null = "without a null class" if isinstance(spec, GPTSpec) else "with a null class"
        return f"class label, 0 to {spec.class_rows - 2}, {null}"
    if model.text_encoder is None:
        return "none"
    null = "a learned null embedding" if model.learned_null_1LD is not None else "the empty prompt as null"
    return f"text of up to {model.text_encoder.length - 2} tokens, {null}"


def run_convert(options: argparse.Namespace) -> None:
    dtype = choose_dtype(options.dtype) if options.dtype else None
    merge = partial(apply_loras, loras=read_loras(options))
    with byte_bar() as report:
        left_behind = convert(options.source, options.target, dtype, options.tokenizer, report, merge)
    if left_behind:
        names = shortlist([f"{name:.100}" for name in left_behind])
        print(f"left behind, and not run: {escape(names)}", file=sys.stderr)
    print(options.target)


@contextmanager
def byte_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar, as a function to call with the bytes that are done and those that there are."""
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report


def run_download(options: argparse.Namespace) -> None:
    from ..checkpoints.download import download, plan, summary  # here, because it brings the hub's library in

    files = plan()
    print(summary(files, options.folder))
    if not options.yes and input("Download it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CheckpointError("Nothing was downloaded; answer y, or give --yes.")
    print(download(files, options.folder))  # the hub's library shows the progress


if __name__ == "__main__":
    sys.exit(main())
