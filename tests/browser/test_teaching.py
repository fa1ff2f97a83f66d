"""Teaching as an artist does it: from dropped images to a LoRA's file, and an image drawn with it."""

import base64
import json

import pytest
from pack.tests.host import shipped
from pack.tests.host.shipped import node, text_to_image
from pack.vqdiffusion_core.lora import read_lora

WORD, GROUNDS = "zimbo", ("red", "blue")
FOLDER = "app.graph.nodes.find(node => node.type === 'VQDiffusionLoadImages').widgets[0].value"


def files():
    """Two drawings, each with a text: (name, content, type)."""
    drawings = shipped.EXAMPLES / "drawings" / WORD
    images = [(f"{colour}.png", (drawings / f"{colour}.png").read_bytes(), "image/png") for colour in GROUNDS]
    return images + [(f"{colour}.txt", f"a {WORD} on {colour}".encode(), "text/plain") for colour in GROUNDS]


def drop(editor, dropped):
    """Drops files where the node says so."""
    data = [[name, base64.b64encode(content).decode(), kind] for name, content, kind in dropped]
    editor.page.locator(".vqd-drop").first.evaluate(
        """(element, files) => {
            const dropped = new DataTransfer();
            for (const [name, data, type] of files) {
                const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
                dropped.items.add(new File([bytes], name, { type }));
            }
            element.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }""",
        data,
    )


def choose(editor, chosen):
    """The same by a click, in the window for files."""
    with editor.page.expect_file_chooser() as window:
        editor.page.get_by_role("button", name="Drop images here, or click to choose them").first.click()
    window.value.set_files([{"name": name, "buffer": content, "mimeType": kind} for name, content, kind in chosen])


@pytest.mark.parametrize("bring", [drop, choose])
def test_from_images_to_a_lora_s_file_to_an_image_with_it(some_editor, bring):
    editor, name = some_editor, f"{bring.__name__} {some_editor.name}"
    graph = json.loads((shipped.EXAMPLES / "teach_a_character.json").read_text())
    (teach,) = (node for node in graph["nodes"] if node["type"] == "VQDiffusionTeach")
    word, captions, _, rank, rate, batch, seed, _, *rest = teach["widgets_values"]
    teach["widgets_values"] = [word, captions, 2, rank, rate, batch, seed, name, *rest]
    editor.complaints.clear()
    editor.open(graph)
    editor.show("VQDiffusionLoadImages")
    before = editor.page.evaluate(FOLDER)
    bring(editor, files())
    editor.page.wait_for_function(f"before => {FOLDER} !== before", arg=before)
    folder = editor.comfy.base / "input" / editor.page.evaluate(FOLDER)
    assert sorted(path.name for path in folder.iterdir()) == ["blue.png", "blue.txt", "red.png", "red.txt"]

    editor.run()
    assert len(editor.shown_images()) == len(GROUNDS) + 1 + 4  # what it learned from, its loss, what it draws
    lora = read_lora(editor.comfy.base / "models" / "loras" / f"{name}.safetensors")
    assert lora.about.words == (WORD,) and lora.about.recipe["steps"] == 2

    drawing = text_to_image(f"a {WORD} on a pink background", steps=1)
    drawing["lora"] = node("VQDiffusionLora", vq_model=["Loader", 0], lora_name=f"{name}.safetensors", strength=1.0)
    drawing["TextEncode"]["inputs"]["clip"] = ["lora", 1]
    drawing["Sampler"]["inputs"]["vq_model"] = ["lora", 0]
    editor.open_api(drawing)
    editor.run()
    (image,) = editor.shown_images()
    assert image.size == (96, 96) and editor.complaints == []
