"""Makes subgraphs/: .venv/bin/python -m tests.browser.blueprint

The editor itself turns the text-to-image workflow into one node, as a person does who selects all, chooses *Convert to
Subgraph*, leads out the inputs that one changes, and chooses *Publish Subgraph*. ComfyUI then offers it to everyone.
"""

import json

from ..host.comfy import Comfy
from ..host.fetch import CHECKOUT
from .editor import WINDOW, Editor, chromium

NAME = "VQ-Diffusion Text to Image"
DESCRIPTION = "Draws an image from a prompt: loader, prompt, canvas, sampler and decoder in one node."
ALIASES = ["text to image", "vqdiffusion", "pocket model"]
OUTSIDE = [
    ("VQDiffusionLoader", "model"),
    ("VQDiffusionTextEncode", "text"),
    ("VQDiffusionSampler", "seed"),
    ("VQDiffusionSampler", "steps"),
    ("VQDiffusionSampler", "guidance"),
]


def main() -> None:
    # With the pinned frontend: the newer ones read what it writes.
    with Comfy() as comfy, chromium() as browser:
        editor = Editor("for subgraphs", comfy, browser.new_context(viewport=WINDOW).new_page(), vue=False)
        publish(editor)
        saved = comfy.base / "user" / "default" / "subgraphs" / f"{NAME}.json"
        blueprint = json.loads(saved.read_text())
    blueprint["extra"] = {"BlueprintDescription": DESCRIPTION, "BlueprintSearchAliases": ALIASES}
    target = CHECKOUT / "subgraphs" / saved.name
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(blueprint, indent=2) + "\n")


def publish(editor: Editor) -> None:
    editor.open(json.loads((CHECKOUT / "example_workflows" / "text_to_image.json").read_text()))
    editor.page.evaluate(
        """([title, outside]) => {
            const ours = app.graph.nodes.filter(node => node.type.startsWith("VQDiffusion"));
            const { subgraph, node } = app.graph.convertToSubgraph(new Set(ours));
            node.title = title;
            for (const [type, name] of outside) {
                const inner = subgraph.nodes.find(node => node.type === type);
                const slot = inner.inputs.find(input => input.name === name);
                subgraph.addInput(name, slot.type).connect(slot, inner);
            }
            // This frontend has also put the seed outside by itself, under another name.
            node.properties.proxyWidgets = node.properties.proxyWidgets.filter(([inner]) => inner === "-1");
            node.setSize([330, 300]);
            app.canvas.selectItems([node]);
            app.extensionManager.command.execute("Comfy.PublishSubgraph");
        }""",
        [NAME, OUTSIDE],
    )
    editor.page.get_by_role("dialog").get_by_role("textbox").fill(NAME)
    with editor.page.expect_response(lambda answer: "subgraphs" in answer.url and answer.request.method == "POST"):
        editor.page.keyboard.press("Enter")


if __name__ == "__main__":
    main()
