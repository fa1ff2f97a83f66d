"""What the releases take, at full size: seconds, memory and disk, as a table for the README.

    .venv/bin/python -m tests.bench.releases [ithq coco imagenet ffhq] [--folder DIR]

No released weights are needed: random ones of the true shapes are written as the authors' files, among them a training
checkpoint with averages and optimizer, into a temporary folder (30 GB for ithq). Then `vqdiffusion convert`, loading
and drawing run in processes of their own, whose memory is watched: what they allocate while they convert and load, all
that they hold, mapped files included, while they draw. Files are read anew from the disk each time. 1 GB: 10^9 bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

# isort: off
import tests.conftest  # noqa: F401  (makes the checkout importable as `pack`)
from pack.tests.core import tiny_originals as originals
from pack.tests.core.full_size import CLIP, CODECS, transformer_spec
from pack.tests.host.fetch import comfyui
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load, releases
from pack.vqdiffusion_core.checkpoints.convert import convert
from pack.vqdiffusion_core.pipeline import generate
from pack.vqdiffusion_core.diffusion.settings import Settings
# isort: on

SHAPES = ("ithq", "coco", "imagenet", "ffhq")  # the other releases have one of these
INTERVAL = 0.005  # seconds between two looks at the memory


# The files


class Numbers:
    """Random weights, however many tensors, in the memory of one: each is the beginning of the same mapped file."""

    def __init__(self, folder: Path):
        self.file = folder / "numbers"
        self.size = CLIP.vocabulary * CLIP.width
        (torch.randn(self.size) * 0.02).numpy().tofile(self.file)

    def __call__(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        count = torch.Size(shape).numel()
        assert count <= self.size, name
        return torch.from_file(str(self.file), shared=False, size=count).reshape(shape)


def write_originals(release: releases.Release, folder: Path) -> None:
    """The files of a release, as far as they are weights; CLIP lies inside the checkpoint."""
    numbers = Numbers(folder.parent)
    spec, vqgan = transformer_spec(release), CODECS[release.vqgan]
    clip = CLIP if release.condition == "text" else None
    content = originals.training_checkpoint(spec, clip=clip, learned_null=release.learned_null, fill=numbers)
    torch.save(content, folder / (release.checkpoint or "transformer.pth"))
    averaged = release.vqgan == releases.ITHQ_VQGAN
    state = originals.vqgan_state(vqgan, averaged, fill=numbers)
    torch.save({"model" if averaged else "state_dict": state}, folder / release.vqgan)
    if release.code_map:
        code_map = torch.zeros(vqgan.codebook_size, dtype=torch.int64)
        used = torch.randperm(vqgan.codebook_size - 1)[: release.codebook_size - 1].sort().values + 1
        code_map[used] = torch.arange(1, release.codebook_size)
        torch.save(code_map, folder / release.code_map)


# The stages, each in a process of its own


class MemoryWatch:
    """The highest own memory of this process while it lives: what it has allocated, without the files it maps."""

    def __init__(self):
        self.peak = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self.before = own_memory()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.peak = max(self.peak, own_memory()) - self.before

    def look(self) -> None:
        while not self.done.wait(INTERVAL):
            self.peak = max(self.peak, own_memory())


def own_memory() -> int:
    return of_this_process("RssAnon")


def of_this_process(line: str) -> int:
    """A memory figure of the system's, in bytes. (getrusage's highest would be that of the process it came from.)"""
    return int(Path("/proc/self/status").read_text().partition(f"{line}:")[2].split()[0]) * 1024


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def stage_convert(source: Path, target: Path) -> dict[str, float]:
    tokenizer = comfyui() / "comfy" / "sd1_tokenizer"
    with MemoryWatch() as memory:
        seconds = timed(lambda: convert(source, target, tokenizer=tokenizer))
    return {"seconds": seconds, "memory": memory.peak}


def stage_load(folder: Path, dtype: str) -> dict[str, float]:
    """Loading alone: a smaller model has brought the libraries in, as they are in the editor."""
    load(POCKET_FOLDER)
    with MemoryWatch() as memory:
        seconds = timed(lambda: load(folder, dtype))
    return {"seconds": seconds, "memory": memory.peak}


def stage_draw(folder: Path, dtype: str) -> dict[str, float]:
    """An image in two steps without guidance: the first reads the weights from the disk."""
    model = load(folder, dtype)
    parameters = sum(parameter.numel() for parameter in model.transformer.parameters())
    prompt = {"text": "an image", "class": "207", "none": ""}[model.transformer.spec.condition]
    times: list[float] = []
    settings = Settings(steps=2, guidance=1.0)
    generate(
        model.prepare_for_inference(), prompt, settings=settings, on_step=lambda *_: times.append(time.perf_counter())
    )
    start, first, second = times
    memory = of_this_process("VmHWM")
    return {"first": first - start, "next": second - first, "memory": memory, "parameters": parameters}


STAGES = {"convert": stage_convert, "load": stage_load, "draw": stage_draw}


def in_process(stage: str, *arguments: str | Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.releases", "--stage", stage, *map(str, arguments)]
    figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(stage, *arguments, figures, file=sys.stderr)  # it takes minutes
    return figures


# The whole


def measure(name: str, place: Path) -> dict[str, float]:
    release = next(release for release in releases.RELEASES if release.name == name)
    source, target = place / "originals", place / "converted"
    source.mkdir()
    write_originals(release, source)
    published = size_of(source)
    forget(source)
    conversion = in_process("convert", source, target)
    shutil.rmtree(source)
    forget(target)
    reading = timed(lambda: read_once(target))
    forget(target)
    mapped = in_process("load", target, "float32")
    forget(target)
    drawn = in_process("draw", target, "float32")
    forget(target)
    half = in_process("load", target, "bfloat16")
    return {
        "parameters": drawn["parameters"],
        "published": published,
        "convert seconds": conversion["seconds"],
        "convert memory": conversion["memory"],
        "disk": size_of(target),
        "read seconds": reading,
        "load seconds": mapped["seconds"],
        "load memory": mapped["memory"],
        "first step": drawn["first"],
        "next step": drawn["next"],
        "memory to draw": drawn["memory"],
        "bfloat16 load seconds": half["seconds"],
        "bfloat16 load memory": half["memory"],
    }


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in files_of(folder))


def forget(folder: Path) -> None:
    """Drop a folder from the system's file cache: the next who reads it reads the disk."""
    for path in files_of(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_once(folder: Path) -> None:
    for path in files_of(folder):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def row(name: str, figures: dict[str, float]) -> str:
    def gigabytes(key: str) -> str:
        return f"{figures[key] / 1e9:.2f} GB"

    cells = [
        name,
        f"{figures['parameters'] / 1e6:.1f} M",
        f"{gigabytes('published')}",
        f"{figures['convert seconds']:.1f} s, {gigabytes('convert memory')}",
        gigabytes("disk"),
        f"{figures['read seconds']:.1f} s",
        f"{figures['load seconds']:.1f} s, {gigabytes('load memory')}",
        f"{figures['first step']:.1f} s, {figures['next step']:.1f} s",
        gigabytes("memory to draw"),
        f"{figures['bfloat16 load seconds']:.1f} s, {gigabytes('bfloat16 load memory')}",
    ]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| shape | transformer | authors' files | convert: time, memory | converted | reading it | load: time, memory | \
step: first, next | memory to draw | load bfloat16: time, memory |
|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "shapes", nargs="*", default=SHAPES, metavar="SHAPE", help=f"all without one: {', '.join(SHAPES)}"
    )
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    parser.add_argument("--stage", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        stage, first, second = options.stage
        print(json.dumps(STAGES[stage](Path(first), Path(second) if stage == "convert" else second)))
        return
    if unknown := set(options.shapes) - set(SHAPES):
        parser.error(f"{unknown.pop()!r} is no shape; expected {', '.join(SHAPES)}")
    print(
        f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads, torch {torch.__version__}\n\n{HEAD}",
        flush=True,
    )
    for name in options.shapes:
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            print(row(name, measure(name, Path(place))), flush=True)


if __name__ == "__main__":
    main()
