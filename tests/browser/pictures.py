"""Makes the pictures of the pack's own pages: .venv/bin/python -m tests.browser.pictures

The README's sheet is drawn here, every prompt with seed 0 and the defaults, none left out. Those of the template
browser and of the editor come from the screenshots that test_shipped.py has taken; those of the help pages are taken
here, of each node beside what it makes.
"""

import sys
import types
from pathlib import Path

from PIL import Image

CHECKOUT = Path(__file__).parents[2]
SCREENSHOTS = CHECKOUT / ".cache" / "screenshots"
THUMBNAIL, EDITOR, HELP = 640, 1100, 520  # pixels of width
SHEET = (  # rows of the README's pictures
    ("a fox on a white background", "an owl on a green background", "a teddy bear on a blue background"),
    ("a strawberry on a yellow background", "a rocket on a background from purple to blue", "a guitar on pink"),
    ("a tiger and a red apple on a pink background", "a penguin and a snowman on blue", "a small crown on red"),
)
SCALE = 2  # of a picture of the sheet

# tests/conftest.py says why the checkout is not on Python's path under its own name.
pack = types.ModuleType("pack")
pack.__path__ = [str(CHECKOUT)]
sys.modules["pack"] = pack

from pack.tests.browser.editor import WINDOW, Editor, chromium  # noqa: E402
from pack.tests.host.comfy import Comfy  # noqa: E402
from pack.tests.host.shipped import make_class_model, node, text_to_image  # noqa: E402
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load  # noqa: E402
from pack.vqdiffusion_core.pipeline import generate  # noqa: E402


def main() -> None:
    draw_sheet(CHECKOUT / "docs" / "pocket.png")
    for path in sorted((CHECKOUT / "example_workflows").glob("*.json")):
        save_small(f"{path.stem}, pinned LiteGraph", THUMBNAIL, path.with_suffix(".jpg"))
    save_small("inpaint, newest Nodes 2.0", EDITOR, CHECKOUT / "docs" / "editor.jpg")
    with Comfy() as comfy, chromium() as browser:
        photograph_nodes(Editor("for pictures", comfy, browser.new_context(viewport=WINDOW).new_page(), vue=False))


def save_small(screenshot: str, width: int, path: Path) -> None:
    with Image.open(SCREENSHOTS / f"{screenshot}.png") as full:
        small = full.convert("RGB")
    small.thumbnail((width, width), Image.Resampling.LANCZOS)
    small.save(path, quality=85, optimize=True)


def draw_sheet(path: Path) -> None:
    model = load(POCKET_FOLDER)
    rows = [[generate(model, prompt, seed=0)[0] for prompt in prompts] for prompts in SHEET]
    width, height = (SCALE * length for length in rows[0][0].size)
    sheet = Image.new("RGB", (width * len(rows[0]), height * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture.resize((width, height), Image.Resampling.BICUBIC), (x * width, y * height))
    sheet.save(path, optimize=True)


def photograph_nodes(editor: Editor) -> None:
    make_class_model(editor.comfy)
    editor.visit(**{"Comfy.NodeBadge.NodeSourceBadgeMode": "None"})
    nodes, results = all_nodes()
    editor.open_api(nodes)
    editor.run()
    for name, result in results.items():
        node_type = nodes[name]["class_type"]
        path = CHECKOUT / "web" / "docs" / node_type / "result.png"
        path.parent.mkdir(exist_ok=True)
        editor.photograph([name] if result is None else [name, result], path)
        with Image.open(path) as photograph:
            small = photograph.convert("RGB")
        small.thumbnail((HELP, HELP), Image.Resampling.LANCZOS)
        small.quantize(128).save(path, optimize=True)
        print(f"{path.relative_to(CHECKOUT)}: {path.stat().st_size // 1024} KiB")


def all_nodes() -> tuple[dict[str, dict], dict[str, str | None]]:
    """A workflow with every node, and beside which other one, if any, each is shown."""
    nodes = text_to_image("a fox on a yellow background", seed=5)
    sampler, vae, model = nodes["Sampler"]["inputs"], ["Loader", 2], ["Loader", 0]
    results: dict[str, str | None] = {"Loader": "Decode shows", "Sampler": None, "inspector": None, "Class": None}

    def draws(name: str, **changes) -> None:
        """A sampler with these changes, and its picture as the result of node `name`."""
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


if __name__ == "__main__":
    main()
