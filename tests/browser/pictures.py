"""Makes the images of the pack's own pages anew: ./dev images [PART ...]

sheet      the README's, every prompt with seed 0, none left out
emblems    icon and banner of the registry
drawings   the character that an example workflow teaches
gallery    what the example workflows draw, in files that carry the workflow
templates  the example workflows as the template browser shows them
editor     the README's, painting on tokens
help       those of the help pages, each node beside what it makes
lora       those of the nodes that teach a character and draw it (minutes)
world      what the built-in model learned from
compare    those of docs/compare.md: by steps beside token by token
quality    those of docs/quality.md: one prompt by samplers and steps, by guidance and truncation

The first four and the last three need the built-in models, ComfyUI or the icon sets alone, the others a browser too.
"""

import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

CHECKOUT = Path(__file__).parents[2]
DOCS, EXAMPLES = CHECKOUT / "docs", CHECKOUT / "example_workflows"
THUMBNAIL, EDITOR, HELP = 640, 1100, 520  # pixels of width
ROW = 192  # pixels of height of the gallery's images
SHEET = (  # prompts of the README's images
    "a 3D fox in a meadow at sunset",
    "two noto penguins in the snow",
    "three flat sunflowers on a blue background",
    "a flat camera on a pink background",
    "a noto castle in the mountains at night",
    "a cartoon of an octopus in the sea",
    "a tent and a fire in a desert at night",
    "a 3D rocket above a beach in the morning",
    "a flat strawberry on a gradient from pink to white",
    "a 3D wolf in the snow at night",
    "four 3D donuts on a white background",
    "a sailboat on the sea at sunset",
)
SHEET_COLUMNS = 4
WORLD_SEED = 9
QUALITY_PROMPT = "three penguins in the snow at sunset"  # which leaves the look open
WORD, ZIMBO = "zimbo", "zimbo (built in)"

# tests/conftest.py says why the checkout is not on Python's path under its own name.
pack = types.ModuleType("pack")
pack.__path__ = [str(CHECKOUT)]
sys.modules["pack"] = pack

from pack.tests.bench import rivals, teach  # noqa: E402
from pack.tests.browser import emblems, worlds  # noqa: E402
from pack.tests.browser.editor import WINDOW, Editor, chromium  # noqa: E402
from pack.tests.host.boot import as_command  # noqa: E402
from pack.tests.host.comfy import Comfy  # noqa: E402
from pack.tests.host.fetch import newest_frontend  # noqa: E402
from pack.tests.host.shipped import (  # noqa: E402
    NAMES,
    load,
    make_class_model,
    needs_other_model,
    node,
    text_to_image,
)
from pack.vqdiffusion_core import checkpoints  # noqa: E402
from pack.vqdiffusion_core.diffusion.settings import Settings  # noqa: E402
from pack.vqdiffusion_core.pipeline import generate  # noqa: E402


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"error: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")
    for part in wanted:
        PARTS[part]()


def draw_sheet() -> None:
    model = checkpoints.load(checkpoints.STICKERS_FOLDER)
    drawn = ((generate(model, prompt, seed=0)[0], prompt) for prompt in SHEET)
    save(worlds.sheet(drawn, SHEET_COLUMNS), DOCS / "stickers.png")


def draw_world() -> None:
    save(worlds.random_scenes(seed=WORLD_SEED), DOCS / "world.png")
    save(worlds.looks_and_lands(), DOCS / "world_looks.png")
    model = checkpoints.load(checkpoints.STICKERS_FOLDER, "float32")
    save(worlds.through_codec(model.vqgan, 192, seed=WORLD_SEED), DOCS / "world_codec.jpg", quality=88)
    save(worlds.all_subjects().quantize(128), CHECKOUT / "web" / "docs" / "VQDiffusionLoader" / "subjects.png")


def draw_comparison() -> None:
    for name, image in rivals.pictures():
        save(image, DOCS / name, quality=88)


def draw_quality() -> None:
    model = checkpoints.load(checkpoints.STICKERS_FOLDER)
    by_steps = {
        f"{sampler}, {steps} step{'s' * (steps > 1)}": Settings(sampler=sampler, steps=steps)
        for sampler in ("remask", "confidence", "ancestral")
        for steps in (1, 2, 4, 8, 16, 50)
    }
    by_guidance = {
        f"guidance {guidance:g}, truncation {truncation:g}": Settings(guidance=guidance, truncation=truncation)
        for guidance in (1.0, 1.5, 3.0)
        for truncation in (0.3, 0.5, 0.86, 1.0)
    }
    for name, columns, shown in (("steps", 6, by_steps), ("guidance", 4, by_guidance)):
        drawn = ((generate(model, QUALITY_PROMPT, seed=0, settings=each)[0], said) for said, each in shown.items())
        save(worlds.sheet(drawn, columns), DOCS / f"quality_{name}.jpg", quality=88)


def draw_emblems() -> None:
    model = checkpoints.load(checkpoints.POCKET_FOLDER)
    save(emblems.icon(model), DOCS / "icon.png")
    save(emblems.banner(model), DOCS / "banner.png")


def draw_drawings() -> None:
    teach.write_character(EXAMPLES / "drawings" / WORD)


def draw_gallery() -> None:
    with Comfy() as comfy:
        for name in NAMES:
            if not needs_other_model(name):
                save(
                    in_a_row(saved_images(comfy, load(name))), DOCS / "gallery" / f"{name}.png", pnginfo=carrying(name)
                )


def saved_images(comfy: Comfy, workflow: dict) -> list[Image.Image]:
    """What the SaveImage nodes of a workflow save, in the order of the workflow."""
    result = comfy.run(workflow, timeout=1800)
    outputs = {name: result.outputs[name] for name in workflow if workflow[name]["class_type"] == "SaveImage"}
    return [image.convert("RGB") for image in comfy.images(replace(result, outputs=outputs))]


def in_a_row(images: list[Image.Image]) -> Image.Image:
    """The images side by side, all of one height."""
    tiles = [image.resize((round(ROW * image.width / image.height), ROW), Image.Resampling.BICUBIC) for image in images]
    row, left = Image.new("RGB", (sum(tile.width for tile in tiles), ROW)), 0
    for tile in tiles:
        row.paste(tile, (left, 0))
        left += tile.width
    return row


def carrying(name: str) -> PngInfo:
    """The shipped workflow where ComfyUI's SaveImage would put it."""
    carried = PngInfo()
    carried.add_text("prompt", json.dumps(load(name)))
    carried.add_text("workflow", json.dumps(json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))))
    return carried


def photograph_templates() -> None:
    with open_editor() as editor:
        make_class_model(editor.comfy)
        for name in NAMES:
            photograph_workflow(editor, name, THUMBNAIL, EXAMPLES / f"{name}.jpg", runs=not needs_other_model(name))


def photograph_editor() -> None:
    with open_editor("--front-end-root", str(newest_frontend()), vue=True) as editor:
        photograph_workflow(editor, "inpaint", EDITOR, DOCS / "editor.jpg")


@contextmanager
def open_editor(*argv: str, vue: bool = False) -> Iterator[Editor]:
    with Comfy(["--preview-method", "auto", *argv]) as comfy, chromium() as browser:
        yield Editor("for images", comfy, browser.new_context(viewport=WINDOW).new_page(), vue)


def photograph_workflow(editor: Editor, name: str, width: int, path: Path, runs: bool = True) -> None:
    editor.open(json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8")))
    if runs:
        editor.run()
        assert editor.silent_nodes() == []
    editor.screenshot(path.with_suffix(".png"))
    with Image.open(path.with_suffix(".png")) as full:
        small = full.convert("RGB")
    path.with_suffix(".png").unlink()
    small.thumbnail((width, width), Image.Resampling.LANCZOS)
    save(small, path, quality=85)


def save(image: Image.Image, path: Path, **options) -> None:
    path.parent.mkdir(exist_ok=True)
    image.save(path, optimize=True, **options)
    print(f"{path.relative_to(CHECKOUT)}: {path.stat().st_size // 1024} KiB", flush=True)


def photograph_help() -> None:
    with open_editor() as editor:
        photograph_nodes(editor)


def photograph_nodes(editor: Editor) -> None:
    make_class_model(editor.comfy)
    editor.visit(**{"Comfy.NodeBadge.NodeSourceBadgeMode": "None"})
    photograph_results(editor, *all_nodes())


def photograph_results(editor: Editor, nodes: dict[str, dict], results: dict[str, str | None]) -> None:
    """Each node of `results` for the help page of its type, alone or beside another."""
    editor.open_api(nodes)
    editor.run()
    editor.show(nodes[next(iter(results))]["class_type"], 0.25)  # nodes out of view load no images
    assert editor.silent_nodes() == []  # which waits for the images
    for name, result in results.items():
        node_type = nodes[name]["class_type"]
        path = CHECKOUT / "web" / "docs" / node_type / "result.png"
        path.parent.mkdir(exist_ok=True)
        editor.photograph([name] if result is None else [name, result], path)
        with Image.open(path) as photograph:
            small = photograph.convert("RGB")
        small.thumbnail((HELP, HELP), Image.Resampling.LANCZOS)
        save(small.quantize(128), path)


def photograph_lora() -> None:
    with open_editor() as editor:
        editor.visit(**{"Comfy.NodeBadge.NodeSourceBadgeMode": "None"})
        nodes = text_to_image(f"a {WORD} on a pink background", seed=0)
        nodes["shows"] = node("PreviewImage", images=["Decode", 0])
        nodes["drawings"] = node("VQDiffusionLoadImages", folder=ZIMBO)
        nodes["drawings shows"] = node("PreviewImage", images=["drawings", 0])
        nodes["teach"] = node("VQDiffusionTeach", vq_model=["Loader", 0], images=["drawings", 0], word=WORD)
        nodes["TextEncode"]["inputs"]["clip"] = ["teach", 1]
        nodes["Sampler"]["inputs"]["vq_model"] = ["teach", 0]
        photograph_results(editor, nodes, {"drawings": "drawings shows", "teach": "shows"})
        del nodes["drawings"], nodes["drawings shows"], nodes["teach"]
        nodes["lora"] = node("VQDiffusionLora", vq_model=["Loader", 0], lora_name=f"{WORD}.safetensors", strength=1.0)
        nodes["TextEncode"]["inputs"]["clip"] = ["lora", 1]
        nodes["Sampler"]["inputs"]["vq_model"] = ["lora", 0]
        photograph_results(editor, nodes, {"lora": "shows"})


def all_nodes() -> tuple[dict[str, dict], dict[str, str | None]]:
    """A workflow with every node, and beside which other one, if any, each is shown."""
    nodes = text_to_image("a fox on a yellow background", seed=5)
    sampler, vae, model = nodes["Sampler"]["inputs"], ["Loader", 2], ["Loader", 0]
    results: dict[str, str | None] = {"Loader": "Decode shows", "Sampler": None, "inspector": None, "Class": None}

    def draws(name: str, **changes) -> None:
        """A sampler with these changes, and its image as the result of node `name`."""
        nodes[f"{name} draws"] = node("VQDiffusionSampler", **sampler | changes)
        nodes[f"{name} decode"] = node("VQDiffusionDecode", samples=[f"{name} draws", 0], vae=vae)
        nodes[f"{name} shows"] = node("PreviewImage", images=[f"{name} decode", 0])
        results[name] = f"{name} shows"

    def inspects(name: str, tokens: list) -> None:
        nodes[f"{name} grid"] = node("VQDiffusionTokenInspector", samples=tokens, vae=vae)
        nodes[f"{name} shows"] = node("PreviewImage", images=[f"{name} grid", 0])
        results[name] = f"{name} shows"

    nodes["Class"] = node("VQDiffusionClassEncode", vq_model=["Class loader", 0], class_label="golden retriever")
    nodes["Class loader"] = node("VQDiffusionLoader", model="imagenet")
    nodes["Class draws"] = node("PreviewAny", source=["Class", 0])
    nodes["inspector"] = node("VQDiffusionTokenInspector", samples=["Sampler", 0], vae=vae)
    nodes["mask"] = node("VQDiffusionTokenMask", samples=["Sampler", 0], vae=vae, painted="12x12: 3-8,1-4")
    draws("mask", latent=["mask", 0], seed=8)
    nodes["guidance"] = node("VQDiffusionGuidanceOptions", vq_model=model)
    draws("guidance", vq_model=["guidance", 0])
    nodes["options"] = node("VQDiffusionSamplerOptions", vq_model=model)
    draws("options", vq_model=["options", 0])
    nodes["edit"] = node("VQDiffusionEditOptions", vq_model=model)
    draws("edit", vq_model=["edit", 0], latent=["mask", 0], seed=9)
    nodes["prompt"] = node("VQDiffusionTextEncode", clip=["Loader", 1], text="an owl on a green background")
    draws("prompt", positive=["prompt", 0])
    inspects("EmptyTokens", ["EmptyTokens", 0])
    nodes["Decode shows"] = node("PreviewImage", images=["Decode", 0])
    results["Decode"] = "Decode shows"
    nodes["encode"] = node("VQDiffusionEncode", pixels=["Decode", 0], vae=vae)
    inspects("encode", ["encode", 0])
    nodes["download"] = node("VQDiffusionDownload")
    nodes["download shows"] = node("PreviewAny", source=["download", 0])
    results["download"] = "download shows"
    return nodes, results


PARTS: dict[str, Callable[[], None]] = {
    "sheet": draw_sheet,
    "emblems": draw_emblems,
    "drawings": draw_drawings,
    "gallery": draw_gallery,
    "templates": photograph_templates,
    "editor": photograph_editor,
    "help": photograph_help,
    "lora": photograph_lora,
    "world": draw_world,
    "compare": draw_comparison,
    "quality": draw_quality,
}

if __name__ == "__main__":
    as_command(main)
