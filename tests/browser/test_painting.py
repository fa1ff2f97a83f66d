"""Painting on tokens, with a mouse, a finger, a pen and the keyboard alone."""

import numpy as np
import pytest
from pack.tests.host import shipped
from pack.tests.host.shipped import node, save_latent, text_to_image
from PIL import Image
from playwright.sync_api import expect

MASK = "VQDiffusionTokenMask"
GRID = (12, 12)


@pytest.fixture
def canvas(editor):
    """The canvas of every editor, in sight, in a workflow that draws an image, and what is painted on it anew."""
    return with_canvas(editor)


@pytest.fixture
def some_canvas(some_editor):
    return with_canvas(some_editor)


def with_canvas(editor, painted=""):
    editor.open_api(painting_workflow(painted))
    editor.show(MASK)
    return editor


def painting_workflow(painted):
    workflow = text_to_image()
    again = workflow["Sampler"]["inputs"] | {"latent": ["mask", 0], "seed": 7}
    del workflow["Decode"], workflow["SaveImage"]
    return workflow | {
        "mask": node(MASK, samples=["Sampler", 0], vae=["Loader", 2], grow=0, painted=painted),
        "again": node("VQDiffusionSampler", **again),
        "before": save_latent(["Sampler", 0], "latents/before"),
        "after": save_latent(["again", 0], "latents/after"),
        "region": node("MaskToImage", mask=["mask", 1]),
        "show region": node("PreviewImage", images=["region", 0]),
    }


def drawn_anew(editor):
    """The tokens (column, row) of the region that the last run has drawn anew, as the node itself says."""
    (image,) = editor.shown_images()
    return cells(np.asarray(image.resize(GRID, 0).convert("L")) > 0)


def changed(editor):
    """The tokens that differ between the two latents which the last run has saved."""
    saved = editor.comfy.base / "output" / "latents"
    before, after = (
        shipped.read_latent(max(saved.glob(f"{name}_*.latent")))[0].numpy() for name in ("before", "after")
    )
    return cells(before != after)


def cells(marked):
    return {(int(column), int(row)) for row, column in zip(*np.nonzero(marked), strict=True)}


def rectangle(left, top, right, bottom):
    return {(column, row) for column in range(left, right + 1) for row in range(top, bottom + 1)}


def test_the_tokens_painted_with_a_mouse_are_those_drawn_anew(canvas):
    canvas.drag((3, 4), (7, 4))
    canvas.drag((5, 8))
    assert canvas.painted() == "12x12: 3-7,4 5,8"
    canvas.run()
    assert drawn_anew(canvas) == rectangle(3, 4, 7, 4) | {(5, 8)}
    assert changed(canvas) and changed(canvas) <= drawn_anew(canvas)


def test_after_a_run_one_paints_on_the_image(some_canvas):
    some_canvas.says_just("0 of 144 tokens painted Run once to see the image here.")
    some_canvas.run()
    some_canvas.says_just("0 of 144 tokens painted")
    some_canvas.until(some_canvas.canvas_colours, lambda colours: len(colours) > 100)  # an image on the canvas


def test_tools_by_mouse(some_canvas):
    some_canvas.tool("Rectangle").click()
    some_canvas.drag((2, 2), (4, 5))
    assert some_canvas.painted() == "12x12: 2-4,2-5"
    some_canvas.tool("Eraser").click()
    some_canvas.drag((3, 2), (3, 5))
    assert some_canvas.painted() == "12x12: 2,2-5 4,2-5"
    some_canvas.tool("Undo").click()
    assert some_canvas.painted() == "12x12: 2-4,2-5"
    some_canvas.tool("Redo").click()
    assert some_canvas.painted() == "12x12: 2,2-5 4,2-5"
    some_canvas.tool("Invert").click()
    some_canvas.says("136 of 144")
    some_canvas.tool("Clear").click()
    assert some_canvas.painted() == ""
    some_canvas.tool("Brush").click()
    some_canvas.page.get_by_label("Brush size").first.fill("3")
    some_canvas.drag((6, 6))
    assert some_canvas.painted() == "12x12: 5-7,5-7"
    some_canvas.drag((6, 6), (7, 6), button="right")
    assert some_canvas.painted() == ""


def test_painting_works_however_the_view_is_zoomed_and_the_node_resized(some_canvas):
    some_canvas.show(MASK, scale=1.4)
    some_canvas.drag((11, 0))
    some_canvas.resize(MASK, (420, 460))
    some_canvas.show(MASK, scale=0.8)
    some_canvas.drag((0, 11))
    assert some_canvas.painted() == "12x12: 11,0 0,11"


def test_a_finger_paints(some_canvas):
    some_canvas.swipe((1, 1), (1, 6))
    assert some_canvas.painted() == "12x12: 1,1-6"


def test_one_paints_undoes_and_runs_by_keyboard_alone(canvas):
    press = canvas.page.keyboard.press
    press("Alt+p")
    for key in ("Home", "PageUp", "ArrowRight", "ArrowDown", "Space", "Shift+ArrowRight", "Space", "i", "Control+z"):
        press(key)
    assert canvas.painted() == "12x12: 1-2,1"
    for key in ("r", "End", "PageDown", "Space", "ArrowUp", "ArrowLeft", "Space"):
        press(key)
    assert canvas.painted() == "12x12: 1-2,1 10-11,10-11"
    press("Delete")
    assert canvas.painted() == "" and len(canvas.serialized()["nodes"]) == 10, "the editor deleted a node"
    press("Control+z")
    canvas.run_by_keyboard()
    assert drawn_anew(canvas) == {(1, 1), (2, 1)} | rectangle(10, 10, 11, 11)


def test_the_canvas_says_to_a_screen_reader_where_one_is_and_what_is_painted(some_canvas):
    group = some_canvas.page.get_by_role("group", name="Painting on the tokens").first
    for name in ("Brush (B)", "Eraser (E)", "Rectangle (R)", "Invert", "Clear", "Undo", "Redo"):
        group.get_by_role("button", name=name).wait_for(state="attached")
    group.get_by_role("slider", name="Brush size in tokens").wait_for(state="attached")
    field = group.get_by_role("textbox", name="Token grid, 12 columns and 12 rows")
    field.focus()
    for key, said in [
        ("Home", "Column 0, row 6: not painted"),
        ("Space", "Column 0, row 6: painted"),
        ("Control+z", "Column 0, row 6: not painted"),
    ]:
        some_canvas.page.keyboard.press(key)
        expect(group.locator("[aria-live]")).to_have_text(said)


def test_a_run_that_ends_while_one_paints_leaves_the_stroke(some_canvas):
    mouse = some_canvas.page.mouse
    mouse.move(*some_canvas.at(3, 3))
    mouse.down()
    mouse.move(*some_canvas.at(4, 3))
    some_canvas.run_by_keyboard()
    mouse.move(*some_canvas.at(5, 3))
    mouse.up()
    assert some_canvas.painted() == "12x12: 3-5,3"


def test_the_painting_survives_copying_undoing_and_reloading(canvas):
    canvas.drag((3, 3), (5, 3))
    canvas.page.evaluate(
        """type => {
            app.canvas.selectItems([app.graph.nodes.find(node => node.type === type)]);
            app.canvas.copyToClipboard();
            app.canvas.pasteFromClipboard();
        }""",
        MASK,
    )
    assert canvas.paintings() == ["12x12: 3-5,3"] * 2
    canvas.page.evaluate("app.graph.remove(app.graph.nodes.at(-1))")
    canvas.show(MASK)
    canvas.drag((0, 0))
    assert canvas.painted() == "12x12: 0,0 3-5,3"
    canvas.undo_of_the_editor()
    assert canvas.painted() == "12x12: 3-5,3"
    canvas.reload()
    assert canvas.painted() == "12x12: 3-5,3"


def test_what_is_painted_here_is_added_to_what_the_core_mask_editor_marks(editor):
    image = editor.comfy.upload(Image.new("RGB", (96, 96), "gold"))
    editor.open_api(
        {
            "Loader": node("VQDiffusionLoader", model="pocket (built in)", dtype="auto"),
            "image": node("LoadImage", image=image),
            "tokens": node("VQDiffusionEncode", pixels=["image", 0], vae=["Loader", 2]),
            "mask": node(MASK, samples=["tokens", 0], vae=["Loader", 2], mask=["image", 1], grow=0, painted=""),
            "region": node("MaskToImage", mask=["mask", 1]),
            "show region": node("PreviewImage", images=["region", 0]),
        }
    )
    opacity = np.asarray(editor.mask_in_the_core_editor(0.75, 0.75).getchannel("A"))
    in_core = cells((opacity < 255).reshape(12, 8, 12, 8).any((1, 3)))
    assert (9, 9) in in_core and len(in_core) < 40, "the brush's dab"
    editor.show(MASK)
    editor.drag((1, 1), (3, 1))
    editor.run()
    assert drawn_anew(editor) == in_core | rectangle(1, 1, 3, 1)


def test_a_painting_of_another_size_is_laid_over_the_grid_and_kept_until_one_paints(some_editor):
    canvas = with_canvas(some_editor, "2x2: 1,0")
    canvas.says("1 of 4 tokens painted")
    canvas.run()
    assert drawn_anew(canvas) == rectangle(6, 0, 11, 5)
    canvas.says("36 of 144 tokens painted")
    assert canvas.painted() == "2x2: 1,0"
    canvas.drag((0, 0))
    assert canvas.painted() == "12x12: 0,0 6-11,0-5"


def test_what_cannot_be_read_is_said_and_kept_until_one_paints(some_editor):
    canvas = with_canvas(some_editor, "a heart")
    canvas.says("cannot be read")
    assert canvas.painted() == "a heart"
    canvas.drag((1, 1))
    assert canvas.painted() == "12x12: 1,1"
