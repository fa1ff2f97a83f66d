"""What the pack brings along, as one finds it in the editor: example workflows, help, templates, languages."""

import json
from pathlib import Path

import pytest
from pack.tests.browser.editor import EMPTY
from pack.tests.host import shipped
from pack.tests.host.fetch import CHECKOUT
from pack.tests.host.shipped import make_class_model, text_to_image
from PIL import Image

EXAMPLES = sorted((CHECKOUT / "example_workflows").glob("*.json"))
FROZEN = sorted((CHECKOUT / "tests" / "frozen").glob("*/*.json"))
SUBGRAPHS = sorted((CHECKOUT / "subgraphs").glob("*.json"))  # python -m tests.browser.blueprint makes them
GALLERY = sorted((CHECKOUT / "docs" / "gallery").glob("*.png"))  # ./dev images
HELP = CHECKOUT / "web" / "docs"
LOSS_CURVE = (512, 256)
OWL = "an owl on a green background"


def name_of(path: Path) -> str:
    return f"{path.parent.name} {path.stem}" if path in FROZEN else path.stem


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_an_example_opens_runs_and_shows_its_images(editor, path):
    run(editor, path)


def test_an_image_of_the_gallery_opens_its_workflow_when_it_is_dropped_on_the_canvas(some_editor):
    for path in GALLERY:
        some_editor.open(EMPTY)
        some_editor.drop(path)
        shipped_graph = json.loads((shipped.EXAMPLES / f"{path.stem}.json").read_text())
        assert values_of(some_editor.serialized()) == values_of(shipped_graph)


def values_of(graph):
    """What an artist has set: the values of each node, by its number."""
    return {node["id"]: (node["type"], node.get("widgets_values") or []) for node in graph["nodes"]}


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_a_workflow_of_an_earlier_version_opens_runs_and_shows_its_images(some_editor, path):
    run(some_editor, path)


def run(editor, path):
    workflow = in_two_steps(json.loads(path.read_text()))
    make_class_model(editor.comfy)
    editor.complaints.clear()
    editor.open(workflow)
    assert editor.missing() == []
    editor.run()
    assert editor.silent_nodes() == []
    drawn = [image for image in editor.shown_images() if image.size != LOSS_CURVE]
    assert drawn and all(len(image.convert("RGB").getcolors(2**24)) > 100 for image in drawn)
    assert editor.complaints == []


def in_two_steps(graph):
    """A workflow that teaches only so long."""
    for node in graph["nodes"]:
        if node["type"] == "VQDiffusionTeach":
            assert node["widgets_values"][2] >= 100
            node["widgets_values"][2] = 2
    return graph


@pytest.mark.parametrize("path", SUBGRAPHS, ids=name_of)
def test_a_subgraph_is_found_by_its_name_and_draws_as_its_nodes_do(editor, path):
    editor.visit()
    editor.open(EMPTY)
    editor.add_by_search(path.stem)
    assert editor.titles() == [path.stem]
    editor.page.evaluate(
        """text => {
            const [subgraph] = app.graph.nodes;
            subgraph.widgets.find(widget => widget.name === "text").value = text;
            const shown = LiteGraph.createNode("PreviewImage");
            app.graph.add(shown);
            subgraph.connect(0, shown, 0);
        }""",
        OWL,
    )
    editor.run()
    (image,) = editor.shown_images()
    alone = shipped.image(editor.comfy, text_to_image(OWL, model="stickers (built in)"))
    assert image.convert("RGB").tobytes() == alone.tobytes()
    assert editor.silent_nodes() == [] and editor.complaints == []


@pytest.fixture
def changed_editor(some_editor):
    yield some_editor
    some_editor.visit()  # in English and dark again, with nothing open


def test_the_templates_show_each_example_with_its_image(changed_editor):
    changed_editor.visit()
    changed_editor.open_templates()
    for path in EXAMPLES:
        changed_editor.show_template(path.stem, Image.open(path.with_suffix(".jpg")).width)


def test_every_node_has_its_help_with_an_image(some_editor):
    for page in sorted(HELP.glob("*.md")):
        title = page.read_text().splitlines()[0].removeprefix("# ")
        help_panel = some_editor.open_help(page.stem)
        help_panel.get_by_role("heading", name=title, exact=True).first.wait_for()
        some_editor.page.wait_for_function(
            "name => [...document.images].some(image => image.closest('.node-help-content') && image.naturalWidth"
            " && image.src.includes(`${name}/`))",
            arg=page.stem,
        )


@pytest.mark.parametrize("theme", ["dark", "light", "solarized"])
def test_the_widgets_are_accessible_in_every_theme(changed_editor, theme):
    changed_editor.visit(**{"Comfy.ColorPalette": theme})
    for node_type in ("VQDiffusionTokenMask", "VQDiffusionTokenInspector"):
        changed_editor.new(node_type)
        assert changed_editor.accessibility_violations() == []


@pytest.mark.parametrize("language", ["zh", "fr"])  # tests/nodes/test_locales.py has them all
def test_nodes_and_widgets_speak_the_language_of_the_editor(changed_editor, language):
    folder = CHECKOUT / "locales" / language
    words = json.loads((folder / "main.json").read_text())["vqDiffusion"]
    names = json.loads((folder / "nodeDefs.json").read_text())["VQDiffusionTokenMask"]
    changed_editor.visit(**{"Comfy.Locale": language})
    changed_editor.new("VQDiffusionTokenMask")
    changed_editor.page.get_by_role("group", name=words["painting"], exact=True).first.wait_for()
    changed_editor.says(words["runFirst"])
    if not changed_editor.forgets_translations:
        assert changed_editor.titles() == [names["display_name"]]
        assert changed_editor.labels()["samples"] == names["inputs"]["samples"]["name"]
