"""`./dev demo ["prompt"]`: the shipped text-to-image workflow in a real ComfyUI, its image saved as demo.png."""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .boot import as_command
from .comfy import Comfy, Event, Result
from .fetch import CHECKOUT

WORKFLOW = CHECKOUT / "example_workflows" / "api" / "text_to_image.json"
PICTURE = CHECKOUT / "demo.png"
SEED = 0  # fixed, so that two people who draw the same prompt can talk about the same image


@dataclass(frozen=True)
class Drawn:
    """The image of `text`, and how long its two parts took."""

    text: str
    image: Image.Image
    load_seconds: float
    draw_seconds: float


def main() -> None:
    with Comfy() as comfy:
        print(f"boot    {comfy.boot_seconds:5.1f} s  (ComfyUI)")
        drawn = draw(comfy, " ".join(sys.argv[1:]), _show_progress)
    _save(drawn.image, PICTURE)
    print(f"load    {drawn.load_seconds:5.1f} s  (models, text)")
    print(f"draw    {drawn.draw_seconds:5.1f} s  (tokens, image)")
    print(f'{PICTURE.name}: "{drawn.text}", seed {SEED}')


def draw(comfy: Comfy, text: str, watch: Callable[[Event], None] = lambda event: None) -> Drawn:
    """Runs the workflow with this text, or with its own if the text is empty."""
    prompt = json.loads(WORKFLOW.read_text())
    (sampler,) = (node for node, content in prompt.items() if content["class_type"] == "VQDiffusionSampler")
    prompt[sampler]["inputs"]["seed"] = SEED
    encoder = prompt[prompt[sampler]["inputs"]["positive"][0]]["inputs"]
    encoder["text"] = text or encoder["text"]
    result = comfy.run(prompt, timeout=600, watch=watch)
    return Drawn(encoder["text"], comfy.images(result)[0], *_load_and_draw(result, sampler))


def _load_and_draw(result: Result, sampler: str) -> tuple[float, float]:
    """The seconds of all nodes before the sampler, and of the sampler and those after it."""
    seconds = result.seconds()
    load = sum(seconds[node] for node in itertools.takewhile(lambda node: node != sampler, seconds))
    return load, sum(seconds.values()) - load


def _show_progress(event: Event) -> None:
    if event.kind == "progress" and sys.stdout.isatty():
        print(f"drawing: step {event.data['value']} of {event.data['max']}", end="\r")


def _save(image: Image.Image, path: Path) -> None:
    unfinished = path.with_suffix(".part")
    image.save(unfinished, "PNG")
    unfinished.replace(path)


if __name__ == "__main__":
    as_command(main)
