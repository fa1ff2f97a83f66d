"""What every sampler, edit, node and file gives, as hashes: ./dev record, and ./dev record --check after a change.

For changes that are to change nothing. The hashes hold on one machine, since products of floats differ between
processors, so they stay in .cache and not in the repository.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # or threads that wait take the time of those that work

CHECKOUT = Path(__file__).parents[1]
FILE = CHECKOUT / ".cache" / "recordings.json"
PROMPT = "a fox on a yellow background"
SAMPLERS = ("ancestral", "exact count", "purity", "confidence", "remask")

# P and M stand for an image and its mask.
RUNS: dict[str, str] = {
    **{f"sampler {name}": f"--sampler={name}" for name in SAMPLERS},
    **{f"inpaint {name}": f"--picture=P --mask=M --sampler={name}" for name in SAMPLERS},
    **{f"soft rounds {name}": f"--picture=P --mask=M --soft --rounds=2 --sampler={name}" for name in SAMPLERS},
    **{f"image to image {name}": f"--picture=P --denoise=0.6 --sampler={name}" for name in SAMPLERS},
    **{f"wide {name}": f"--size=144x96 --steps=5 --sampler={name}" for name in SAMPLERS},
    "plain": "--guidance=1 --truncation=1",
    "strong": "--guidance=4 --truncation=0.95 --steps=25",
    "more steps than timesteps": "--steps=150 --sampler=ancestral",
    "one step": "--steps=1",
    "ramp": "--guidance-schedule=ramp --guidance=3",
    "interval": "--guidance-start=0.2 --guidance-end=0.7",
    "masked spacing": "--spacing=masked",
    "cosine spacing": "--spacing=cosine",
    "loop": "--spacing=loop --sampler=remask",
    "remask cap": "--sampler=remask --remask=cap --remask-strength=0.2",
    "remask confidence": "--sampler=remask --remask=confidence --remask-strength=0.3",
    "temperature": "--temperature=0.7",
    "coldest": "--temperature=0",
    "top k": "--top-k=5",
    "sharpness": "--sharpness=2",
    "purity weight": "--sampler=purity --purity=3",
    "luck": "--luck=0",
    "rounds": "--rounds=3",
    "negative": "--negative='a (blue:1.4) tiger' --guidance=3",
    "batch": "--count=3",
    "parts": "--part 0,0,0.5,1 'a fox' --part 0.5,0,1,1,0.1,0.8,2 'a tiger' --size=192x96",
    "grow feather": "--picture=P --mask=M --grow=1 --feather=4",
    "less overlap": "--size=168x120 --overlap=0.2",
    "bfloat16": "--dtype=bfloat16",
}


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def files(folder: Path) -> dict[str, str]:
    """The content of every file of a model, by name: of weights the tensors, not how they lie in the file."""
    return {
        str(path.relative_to(folder)): hashed(content(path))
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".json", ".txt")
    }


def content(path: Path) -> bytes:
    import torch
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        return path.read_bytes()
    tensors = sorted(load_file(path).items())
    return b"".join(
        f"{name} {t.dtype} {t.shape}".encode() + t.view(torch.uint8).numpy().tobytes() for name, t in tensors
    )


def command(*arguments: object) -> str:
    from vqdiffusion_core.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = main([str(argument) for argument in arguments])
    return f"{code}: {said.getvalue()}"


def drawings(place: Path) -> Iterator[tuple[str, object]]:
    from PIL import Image

    whole, mask = place / "picture.png", place / "mask.png"
    command("generate", "a lion on a white background", "-o", whole)
    marked = Image.new("L", (96, 96))
    marked.paste(255, (24, 24, 72, 80))
    marked.paste(120, (24, 24, 40, 80))
    marked.save(mask)
    for name, options in RUNS.items():
        out = place / f"{name.replace(' ', '_')}.png"
        given = [re.sub("=[PM]$", lambda m: f"={whole if m[0] == '=P' else mask}", word) for word in words(options)]
        command("generate", PROMPT, "--seed", 7, "-o", out, *given)
        drawn = [Image.open(path).convert("RGB") for path in sorted(place.glob(f"{out.stem}*.png"))]
        yield f"generate {name}", [hashed(image.tobytes()) for image in drawn]


def words(options: str) -> list[str]:
    """As a shell parts them, names of samplers in one piece."""
    for name in SAMPLERS:
        options = options.replace(f"--sampler={name}", f"--sampler='{name}'")
    return shlex.split(options)


def conversions(place: Path) -> Iterator[tuple[str, object]]:
    from pack.tests.core import tiny_checkpoints, tiny_originals

    from vqdiffusion_core.checkpoints import POCKET_FOLDER

    for kind in ("ithq", "coco", "imagenet", "ffhq"):
        source = place / kind
        source.mkdir()
        getattr(tiny_originals, f"{kind}_folder")(source)
        said = command("convert", source, place / f"{kind}_converted")
        yield f"convert {kind}", [said.split(":")[0], files(place / f"{kind}_converted")]
        yield f"info {kind}", command("info", "--model", source).replace(str(place), "")
    source = tiny_checkpoints.diffusers_folder(place / "tiny")
    command("convert", source, place / "tiny_converted")
    yield "convert diffusers", files(place / "tiny_converted")
    command("convert", POCKET_FOLDER, place / "pocket_half", "--dtype", "bfloat16")
    yield "convert pocket", files(place / "pocket_half")
    yield "info pocket", command("info").replace(str(CHECKOUT), "")


def trainings(place: Path) -> Iterator[tuple[str, object]]:
    from PIL import Image, ImageDraw

    data = place / "data"
    data.mkdir()
    for i, colour in enumerate(("red", "green", "blue", "black", "white", "orange")):
        image = Image.new("RGB", (40, 32), colour)
        ImageDraw.Draw(image).ellipse((4 + i, 4, 20 + i, 24), fill="gray")
        image.save(data / f"{i}.png")
        (data / f"{i}.txt").write_text(f"a circle on {colour}\n")
    pace = ["--batch", 3, "--precision", "float32"]
    shape = ["--size", 32, "--steps", 4, *pace]
    command("train", "codec", place / "codec", "--data", data, "--codes", 16, "--channels", "8,16,16", *shape)
    model = place / "model"
    start = ["--codec", place / "codec", "--layers", 2, "--width", 32, "--heads", 2]
    command("train", "diffusion", place / "run", "--data", data, *start, *shape, "--save-as", model)
    yield "train", files(model)
    end = ["--steps", 3, *pace, "--save-as", place / "tuned_model"]
    command("train", "diffusion", place / "tuned", "--data", data, "--model", model, *end)
    yield "fine-tune", files(place / "tuned_model")


def host() -> Iterator[tuple[str, object]]:
    from pack.tests.host import shipped
    from pack.tests.host.comfy import Comfy

    with Comfy() as comfy:
        for name, about in sorted(comfy.object_info().items()):
            if name.startswith("VQDiffusion"):
                yield f"node {name}", hashed(json.dumps(about, sort_keys=True).encode())
        shipped.make_class_model(comfy)
        for name in shipped.NAMES:
            images = comfy.images(comfy.run(shipped.load(name), timeout=600))
            yield f"workflow {name}", [hashed(image.convert("RGB").tobytes()) for image in images]
        workflow = shipped.text_to_image()
        yield "latent", hashed(shipped.draw_tokens(comfy, workflow).numpy().tobytes())


def record() -> dict[str, object]:
    recorded: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for part in (drawings(place), conversions(place), trainings(place), host()):
            for what, value in part:
                recorded[what] = value
                print(what, file=sys.stderr)
    return json.loads(json.dumps(recorded))


def main(arguments: list[str]) -> int:
    pack = types.ModuleType("pack")
    pack.__path__ = [str(CHECKOUT)]
    sys.modules["pack"] = pack
    now = record()
    if arguments != ["--check"]:
        FILE.write_text(json.dumps(now, indent=1))
        print(f"{len(now)} recordings in {FILE}")
        return 0
    before = json.loads(FILE.read_text())
    other = [what for what in sorted({*now, *before}) if now.get(what) != before.get(what)]
    print(f"{len(before)} recordings; not as before: {', '.join(other) or 'none'}")
    return bool(other)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
