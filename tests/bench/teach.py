"""A character and a style that the pocket model never had, taught and judged, alone and together:
.venv/bin/python -m tests.bench.teach [--count 100] [--whole | --keep FOLDER] [options of `train lora`]

The zimbo is drawn by this file, on eight of the ten grounds that the model knows; twenty subjects are drawn moonlit, in
blue and pale. The judge is not the model: it looks for the nearest rendering among all subjects and the zimbo, each in
its own colours and moonlit (as training/metrics.py).
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from vqdiffusion_core import POCKET_FOLDER, apply_loras, load, read_lora
from vqdiffusion_core.cli import main as vqdiffusion
from vqdiffusion_core.distributed import ALONE
from vqdiffusion_core.lora import Lora
from vqdiffusion_core.model import VQDiffusion
from vqdiffusion_core.training import evaluate, lora, metrics, scenes
from vqdiffusion_core.training.character import views
from vqdiffusion_core.training.subjects import SUBJECTS, Subject
from vqdiffusion_core.training.teaching import WHOLE_RATE, model_teaching_of

CHARACTER, STYLE = "zimbo", "moonlit"
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
NIGHT, MOON = np.array((18, 26, 92)), np.array((214, 232, 255))  # what black and white become by moonlight
STYLE_PACE = ["--steps", "200"]
SHOWN = random.Random(7).sample(SUBJECTS, 20)  # by moonlight
COLOURS = [*scenes.COLOURS]


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


def moonlit(drawn: Image.Image) -> Image.Image:
    """RGBA, its light and dark kept and its colours not."""
    light_HW1 = np.asarray(drawn.convert("L"), dtype=np.float32)[..., None] / 255
    colours_HW3 = (NIGHT + light_HW1 * (MOON - NIGHT)).round().astype(np.uint8)
    return Image.fromarray(np.concatenate([colours_HW3, np.asarray(drawn)[..., 3:]], -1))


class Seen(NamedTuple):
    """What the judge takes an image for."""

    name: str
    by_moonlight: bool
    ground: str


def looks(name: str) -> tuple[Image.Image, Image.Image]:
    """A subject in its own colours and moonlit: RGBA."""
    glyphs = {subject.name: subject.glyph for subject in SUBJECTS}
    drawn = zimbo() if name == CHARACTER else scenes.resized_glyph(glyphs[name], scenes.LARGE)
    return drawn, moonlit(drawn)


def on_ground(drawn: Image.Image, colour: str) -> Image.Image:
    image = scenes.backdrop([scenes.COLOURS[colour]])
    image.paste(drawn, metrics.LARGE_BOX[:2], drawn)
    return image


@lru_cache
def renderings(ground: str) -> tuple[list[tuple[str, bool]], np.ndarray]:
    """Names with looks, and images of them (M, H, W, 3)."""
    names = [CHARACTER, *(subject.name for subject in SUBJECTS)]
    every = [((name, i == 1), drawn) for name in names for i, drawn in enumerate(looks(name))]
    images = [metrics.to_pixels(on_ground(drawn, ground).crop(metrics.LARGE_BOX)) for _, drawn in every]
    return [called for called, _ in every], np.stack(images)


def judge(image: Image.Image) -> Seen:
    ground = metrics.background_of(image)
    called, images_MHW3 = renderings(ground)
    distance_M = ((images_MHW3 - metrics.to_pixels(image.crop(metrics.LARGE_BOX))) ** 2).mean((1, 2, 3))
    return Seen(*called[int(distance_M.argmin())], ground)


def phrase(subject: Subject | None, style: bool, colour: str) -> str:
    """A prompt or caption; without a subject of the zimbo."""
    named = subject.phrase if subject else f"a {CHARACTER}"
    return f"{scenes.sized(STYLE, named) if style else named} {scenes.ground((colour,), 'on a {} background')}"


def write_character(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for colour in sorted(set(COLOURS) - set(UNSEEN)):
        on_ground(zimbo(), colour).save(folder / f"{colour}.png")


def write_style(folder: Path) -> None:
    folder.mkdir()
    for i, subject in enumerate(SHOWN):
        colour = COLOURS[i % len(COLOURS)]
        on_ground(looks(subject.name)[1], colour).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(phrase(subject, True, colour))


def teach(word: str, folder: Path, options: list[str]) -> Path:
    """By the command; the LoRA's file."""
    begun = time.process_time()
    assert vqdiffusion(["train", "lora", str(folder), "--data", str(folder / "data"), "--word", word, *options]) == 0
    print(f"{word}: {time.process_time() - begun:.0f} seconds of a core")
    return folder / f"{word}.safetensors"


def teach_whole() -> VQDiffusion:
    """The character, to the whole model, as the node does it."""
    begun, model = time.process_time(), load(POCKET_FOLDER, "float32")
    images = [on_ground(zimbo(), colour) for colour in sorted(set(COLOURS) - set(UNSEEN))]
    assert model.text_encoder is not None
    shown, settings = views(images, CHARACTER, model.text_encoder), {"batch": lora.BATCH, "seed": 0}
    rate = lora.LEARNING_RATE * WHOLE_RATE
    teaching = model_teaching_of(model, CHARACTER, *shown, ALONE, learning_rate=rate, **settings)
    for step, batch in enumerate(teaching.batches(range(lora.STEPS))):
        teaching.step(step, step / lora.STEPS, batch)
    print(f"whole model: {time.process_time() - begun:.0f} seconds of a core")
    return teaching.model(CHARACTER).prepare_for_inference()


def grounds(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def of_character(model: VQDiffusion, count: int, style: bool = False) -> dict[str, float]:
    colours = grounds(count)
    seen = seen_in(model, [phrase(None, style, colour) for colour in colours])
    return {
        "character": share(each.name == CHARACTER for each in seen),
        "look": share(each.by_moonlight for each in seen),
        "both": share(each.name == CHARACTER and each.by_moonlight for each in seen),
        "ground": share(each.ground == colour for each, colour in zip(seen, colours, strict=True)),
    }


def of_subjects(model: VQDiffusion, count: int, style: bool = False) -> dict[str, float]:
    """Of subjects that no style was shown with."""
    rng = random.Random(2)
    others = [subject for subject in SUBJECTS if subject not in SHOWN]
    asked = [(rng.choice(others), rng.choice(COLOURS)) for _ in range(count)]
    seen = seen_in(model, [phrase(subject, style, colour) for subject, colour in asked])
    pairs = [*zip(seen, asked, strict=True)]
    return {
        "subject": share(each.name == subject.name for each, (subject, _) in pairs),
        "look": share(each.by_moonlight for each in seen),
        "both": share(each.name == subject.name and each.by_moonlight for each, (subject, _) in pairs),
        "ground": share(each.ground == colour for each, (_, colour) in pairs),
    }


def seen_in(model: VQDiffusion, prompts: list[str]) -> list[Seen]:
    return [judge(image) for image in evaluate.draw(model, prompts)]


def share(outcomes: Iterable[bool]) -> float:
    return round(float(np.mean([*outcomes])), 3)


def with_loras(*loras: tuple[Lora, float]) -> VQDiffusion:
    return apply_loras(load(POCKET_FOLDER, "float32"), loras).prepare_for_inference()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100, help="prompts of each kind")
    parser.add_argument("--whole", action="store_true", help="teach the whole model, not LoRAs")
    parser.add_argument("--keep", type=Path, help="folder of the two runs, which are gone on with or judged")
    own, options = parser.parse_known_args()  # the rest goes to `train lora`
    if own.whole:
        model = teach_whole()
        print("character:", of_character(model, own.count))
        print("other subjects:", of_subjects(model, own.count))
        return
    with tempfile.TemporaryDirectory() as place:
        folder, loras = own.keep or Path(place), list[Lora]()
        for word, write, more in ((CHARACTER, write_character, []), (STYLE, write_style, STYLE_PACE)):
            if not (folder / word).exists():
                (folder / word).mkdir(parents=True)
                write(folder / word / "data")
            loras.append(read_lora(teach(word, folder / word, [*more, *options])))
    character, style = loras
    plain = with_loras()
    print("no LoRA, other subjects:", of_subjects(plain, own.count))
    model = with_loras((character, 1.0))
    print("character at 1:", of_character(model, own.count))
    print("character at 1, other subjects:", of_subjects(model, own.count))
    model = with_loras((style, 1.0))
    print("style at 1:", of_subjects(model, own.count, style=True))
    print("style at 1, without its word:", of_subjects(model, own.count))
    print("both at 0.8:", of_character(with_loras((character, 0.8), (style, 0.8)), own.count, style=True))


if __name__ == "__main__":
    main()
