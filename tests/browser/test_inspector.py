"""Reading tokens after a run."""

import re

import pytest
from pack.tests.host import shipped
from pack.tests.host.shipped import node, save_latent, text_to_image
from playwright.sync_api import expect

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
    some_editor.says_just("Run to see the tokens here.")
    some_editor.run()
    some_editor.show(INSPECTOR)
    return some_editor


def ids(editor):
    return shipped.read_latent(max((editor.comfy.base / "output" / "latents").glob("inspected_*.latent")))[0]


def test_the_token_under_the_pointer_is_read_out(viewer):
    tokens = ids(viewer)
    for column, row in [(0, 0), (7, 3), (11, 11)]:
        viewer.page.mouse.move(*viewer.at(column, row))
        read_out = rf"Column {column}, row {row}: id {tokens[row, column]}, drawn in step (\d+), confidence (\d+) %"
        viewer.says(re.compile(read_out))
        step, confidence = map(int, re.search(read_out, viewer.status().inner_text()).groups())
        assert 1 <= step <= 16 and 0 <= confidence <= 100


def test_one_steps_through_the_run_and_sees_its_tokens_appear(viewer):
    slider, widget = viewer.page.get_by_role("slider", name="Step of the run"), viewer.page.locator(".vqd-widget").first
    last = viewer.until(viewer.canvas_colours, lambda colours: len(colours) > 100)
    slider.focus()
    viewer.page.keyboard.press("Home")
    expect(widget).to_contain_text("step 0 of 16")
    viewer.page.mouse.move(*viewer.at(5, 5))
    viewer.says("still to be drawn")
    viewer.until(viewer.canvas_colours, lambda colours: len(colours) < len(last) / 2)  # the canvas is empty
    viewer.page.keyboard.press("End")
    expect(widget).to_contain_text("step 16 of 16")
    expect(viewer.status()).not_to_contain_text("still to be drawn")


def test_tokens_are_read_by_keyboard(viewer):
    field = viewer.page.get_by_role("group", name="Tokens of the run").get_by_role("textbox", name="Token grid")
    field.focus()
    viewer.page.keyboard.press("ArrowRight")
    viewer.page.keyboard.press("ArrowDown")
    expect(viewer.page.locator("[aria-live]", has_text="Column 1, row 1: id")).to_have_count(1)
    saved = viewer.serialized()
    (inspector,) = (node for node in saved["nodes"] if node["type"] == INSPECTOR)
    assert inspector["widgets_values"] == ["tokens"], "what is only shown went into the workflow"
