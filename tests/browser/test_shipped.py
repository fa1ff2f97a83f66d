"""What the pack brings along, as one finds it in the editor: example workflows, help, templates, languages."""

import json
from pathlib import Path

import pytest
from pack.tests.host import shipped
from pack.tests.host.boot import PACK
from pack.tests.host.fetch import CHECKOUT

EXAMPLES = sorted((CHECKOUT / "example_workflows").glob("*.json"))
FROZEN = sorted((CHECKOUT / "tests" / "frozen").glob("*/*.json"))
SCREENSHOTS = CHECKOUT / ".cache" / "screenshots"  # python -m tests.browser.thumbnails makes those of the examples
HELP = CHECKOUT / "web" / "docs"
LANGUAGES = sorted(folder.name for folder in (CHECKOUT / "locales").iterdir())


def name_of(path: Path) -> str:
    return path.stem if path in EXAMPLES else f"{path.parent.name} {path.stem}"


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_an_example_opens_runs_and_shows_its_pictures(editor, path):
    run(editor, path)
    SCREENSHOTS.mkdir(exist_ok=True)
    editor.screenshot(SCREENSHOTS / f"{path.stem}, {editor.name}.png")


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_a_workflow_of_an_earlier_version_opens_runs_and_shows_its_pictures(some_editor, path):
    run(some_editor, path)


def run(editor, path):
    shipped.make_class_model(editor.comfy)
    workflow = json.loads(path.read_text())
    editor.complaints.clear()
    editor.open(workflow)
    assert editor.missing() == []
    editor.run()
    pictures = editor.shown_pictures()
    assert pictures and all(len(picture.convert("RGB").getcolors(2**24)) > 100 for picture in pictures)
    assert editor.nodes_without_picture() == []
    assert editor.complaints == []


def test_the_templates_show_each_example_with_its_picture(some_editor):
    some_editor.visit()
    some_editor.page.locator(".templates-tab-button").click()
    for path in EXAMPLES:
        some_editor.page.get_by_role("heading", name=path.stem, exact=True).wait_for()
        picture = some_editor.page.locator(f'img[src*="{PACK}/{path.stem}.jpg"]').first
        picture.wait_for()
        assert picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth }") > 0
    some_editor.visit()


def test_every_node_has_its_help_with_a_picture(some_editor):
    for page in sorted(HELP.glob("*.md")):
        title = page.read_text().splitlines()[0].removeprefix("# ")
        help_panel = some_editor.open_help(page.stem)
        help_panel.get_by_role("heading", name=title, exact=True).first.wait_for()
        picture = help_panel.locator(f'img[src*="{page.stem}/"]').first
        assert picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth }") > 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_nodes_and_widgets_speak_the_language_of_the_editor(some_editor, language):
    names = json.loads((CHECKOUT / "locales" / language / "nodeDefs.json").read_text())
    words = json.loads((CHECKOUT / "locales" / language / "main.json").read_text())["vqDiffusion"]
    some_editor.visit(**{"Comfy.Locale": language})
    try:
        some_editor.new("VQDiffusionTokenMask")
        about = names["VQDiffusionTokenMask"]
        assert some_editor.titles() == [about["display_name"]]
        assert some_editor.labels()["samples"] == about["inputs"]["samples"]["name"]
        some_editor.page.get_by_role("group", name=words["painting"], exact=True).first.wait_for()
    finally:
        some_editor.visit()
