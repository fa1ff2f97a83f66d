"""A character that the built-in model never had, taught and judged: .venv/bin/python -m tests.bench.teach [--steps 300]

The zimbo is drawn by this file, on eight of the ten grounds that the model knows. The judge is not the model: it looks
for the nearest rendering among all subjects and the zimbo (training/metrics.py).
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vqdiffusion_core import POCKET_FOLDER, apply_loras, load, read_lora
from vqdiffusion_core.cli import main as vqdiffusion
from vqdiffusion_core.model import VQDiffusion
from vqdiffusion_core.training import evaluate, metrics, scenes

WORD = "zimbo"
BODY, DARK, BELLY, HORN, FOOT = (36, 168, 150), (16, 92, 84), (196, 240, 214), (250, 196, 64), (238, 108, 60)
WHITE, INK = (255, 255, 255), (30, 30, 46)
ELLIPSES = (  # colour, then left, top, right, bottom in 80ths
    (FOOT, (14, 66, 36, 79)),
    (FOOT, (44, 66, 66, 79)),
    (DARK, (4, 34, 24, 54)),
    (DARK, (56, 34, 76, 54)),
    (BODY, (10, 10, 70, 74)),
    (BELLY, (22, 42, 58, 72)),
    (WHITE, (26, 16, 54, 44)),
    (INK, (34, 23, 48, 38)),
    (WHITE, (36, 25, 41, 30)),
)
HORNS = ((20, 24), (12, 2), (34, 16)), ((60, 24), (68, 2), (46, 16))
UNSEEN = ("pink", "gray")  # grounds that it is not shown on
FINE = 4  # pixels that become one


def zimbo(side: int = scenes.LARGE) -> Image.Image:
    """RGBA."""
    unit = side * FINE / 80
    image = Image.new("RGBA", (side * FINE, side * FINE))
    draw = ImageDraw.Draw(image)
    for horn in HORNS:
        draw.polygon([(x * unit, y * unit) for x, y in horn], fill=HORN)
    for colour, box in ELLIPSES:
        draw.ellipse([unit * each for each in box], fill=colour)
    draw.arc([unit * each for each in (30, 40, 50, 56)], 20, 160, fill=INK, width=int(3 * unit))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def on_ground(colours: tuple[str, ...]) -> Image.Image:
    image, drawn = scenes.backdrop([scenes.COLOURS[colour] for colour in colours]), zimbo()
    image.paste(drawn, metrics.LARGE_BOX[:2], drawn)
    return image


def write_drawings(folder: Path) -> None:
    folder.mkdir()
    for colour in set(scenes.COLOURS) - set(UNSEEN):
        on_ground((colour,)).save(folder / f"{colour}.png")


def is_zimbo(image: Image.Image) -> bool:
    top, bottom = metrics.gradient_of(image)
    grounds = (top,) if top == bottom else (top, bottom)
    seen = metrics.to_pixels(image.crop(metrics.LARGE_BOX))
    others = ((metrics.renderings(metrics.LARGE_BOX, grounds) - seen) ** 2).mean(axis=(1, 2, 3))
    own = metrics.to_pixels(on_ground(grounds).crop(metrics.LARGE_BOX))
    return bool(((own - seen) ** 2).mean() < others.min())


def judge(model: VQDiffusion, count: int) -> dict[str, float]:
    grounds = [[*scenes.COLOURS][i % len(scenes.COLOURS)] for i in range(count)]
    drawn = evaluate.draw(model, [f"a {WORD} {scenes.ground((colour,), 'on a {} background')}" for colour in grounds])
    rng = random.Random(2)
    asked = [scenes.plain(rng.choice(scenes.SUBJECTS), rng.choice([*scenes.COLOURS])) for _ in range(count)]
    others = evaluate.draw(model, [scene.caption for scene in asked])
    return {
        "a zimbo": float(np.mean([is_zimbo(image) for image in drawn])),
        "its ground": float(
            np.mean([metrics.background_of(image) == colour for image, colour in zip(drawn, grounds, strict=True)])
        ),
        "other subjects": float(
            np.mean([evaluate.is_first(scene, image, 0) for scene, image in zip(asked, others, strict=True)])
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100, help="prompts of each kind")
    parser.add_argument("--lora", type=Path, help="judge this one, and teach none")
    own, options = parser.parse_known_args()  # the rest goes to `train lora`
    with tempfile.TemporaryDirectory() as place:
        file = own.lora or Path(place, "run", f"{WORD}.safetensors")
        if own.lora is None:
            write_drawings(Path(place, "drawings"))
            begun = time.process_time()
            data = ["--data", str(Path(place, "drawings")), "--word", WORD]
            assert vqdiffusion(["train", "lora", str(file.parent), *data, *options]) == 0
            print(f"taught in {time.process_time() - begun:.0f} seconds of a core")
        lora = read_lora(file)
    for strength in (0.0, 1.0):
        model = apply_loras(load(POCKET_FOLDER, "float32"), [(lora, strength)]).prepare_for_inference()
        print(f"strength {strength}:", judge(model, own.count))


if __name__ == "__main__":
    main()
