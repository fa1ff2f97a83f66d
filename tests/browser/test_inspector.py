"""Reading tokens after a run."""

import re

import pytest
from pack.tests.host import shipped
from pack.tests.host.shipped import node, save_latent, text_to_image

INSPECTOR = "VQDiffusionTokenInspector"


@pytest.fixture
def viewer(some_editor):
    """An editor with an inspector behind a sampler of 16 steps, after a run."""
    workflow = text_to_image() | {
        "inspector": node(INSPECTOR, samples=["Sampler", 0], vae=["Loader", 2]),
        "tokens": save_latent(["Sampler", 0], "latents/inspected"),
    }
    some_editor.open_api(workflow)
    some_editor.show(INSPECTOR)
    assert some_editor.status() == "Run to see the tokens here."
    some_editor.run()
    some_editor.show(INSPECTOR)
    return some_editor


def ids(editor):
    return shipped.read_latent(max((editor.comfy.base / "output" / "latents").glob("inspected_*.latent")))[0]


def test_the_token_under_the_pointer_is_read_out(viewer):
    tokens = ids(viewer)
    for column, row in [(0, 0), (7, 3), (11, 11)]:
        viewer.page.mouse.move(*viewer.at(column, row))
        said = re.fullmatch(
            r"Column (\d+), row (\d+): id (\d+), drawn in step (\d+), confidence (\d+) %", viewer.status()
        )
        assert said, viewer.status()
        assert [int(number) for number in said.groups()[:3]] == [column, row, tokens[row, column]]
        assert 1 <= int(said[4]) <= 16 and 0 <= int(said[5]) <= 100


def test_one_steps_through_the_run_and_sees_its_tokens_appear(viewer):
    slider = viewer.page.get_by_role("slider", name="Step of the run")
    last = viewer.canvas_colours()
    slider.focus()
    viewer.page.keyboard.press("Home")
    assert "step 0 of 16" in viewer.page.locator(".vqd-widget").first.inner_text()
    viewer.page.mouse.move(*viewer.at(5, 5))
    assert "still to be drawn" in viewer.status()
    assert len(viewer.canvas_colours()) < len(last) / 2, "an empty canvas has as many colours as the picture"
    viewer.page.keyboard.press("End")
    assert "step 16 of 16" in viewer.page.locator(".vqd-widget").first.inner_text()
    assert "still to be drawn" not in viewer.status()


def test_tokens_are_read_by_keyboard(viewer):
    field = viewer.page.get_by_role("group", name="Tokens of the run").get_by_role("textbox", name="Token grid")
    field.focus()
    viewer.page.keyboard.press("ArrowRight")
    viewer.page.keyboard.press("ArrowDown")
    assert viewer.page.locator("[aria-live]", has_text="Column 1, row 1: id").count() == 1
    saved = viewer.serialized()
    (inspector,) = (node for node in saved["nodes"] if node["type"] == INSPECTOR)
    assert inspector["widgets_values"] == ["tokens"], "what is only shown went into the workflow"
