"""What a node has left out or changed stands on the node, until it runs again."""

import pytest
from pack.tests.host.shipped import anew, node, text_to_image

LONG = "a teddy bear on a blue background " * 9


@pytest.fixture
def page(some_editor):
    workflow = text_to_image(anew(LONG), steps=1)
    workflow["negative"] = node("CLIPTextEncode", clip=["Loader", 1], text=anew("a fox <lora:fur:1>"))
    workflow["Sampler"]["inputs"]["negative"] = ["negative", 0]
    some_editor.open_api(workflow)
    some_editor.run()
    return some_editor


def notices(editor, count):
    """The notices on the page, once there are so many."""
    lines = editor.page.locator(".vqd-notice")
    editor.page.wait_for_function("n => document.querySelectorAll('.vqd-notice').length === n", arg=count)
    return sorted(lines.all_inner_texts())


def test_a_line_stands_on_our_node_and_on_the_cores_until_it_runs_again(page):
    page.show("CLIPTextEncode", scale=0.6)
    commands, words = notices(page, 2)
    assert commands.startswith('"<lora:fur:1>": read as words') and "left out" in words
    page.run()
    assert len(notices(page, 2)) == 2, "what did not run again still says what it left out"
    page.page.evaluate(
        "text => { app.graph.nodes.find(n => n.type === 'CLIPTextEncode').widgets[0].value = text }", "red"
    )
    page.run()
    (left,) = notices(page, 1)
    assert left == words
    assert page.complaints == []


def test_what_a_node_in_a_subgraph_says_stands_in_the_corner_and_on_the_node_when_one_goes_there(some_editor):
    some_editor.open_api(text_to_image(anew(LONG), steps=1))
    some_editor.page.evaluate(
        """() => {
            const node = app.graph.nodes.find(node => node.type === "VQDiffusionTextEncode");
            app.graph.convertToSubgraph(new Set([node]));
        }"""
    )
    some_editor.run()
    some_editor.page.get_by_text("is left out").locator("visible=true").first.wait_for()
    some_editor.page.evaluate("app.canvas.setGraph(app.graph.nodes.find(node => node.subgraph).subgraph)")
    (line,) = notices(some_editor, 1)
    assert "left out" in line


def test_a_line_is_no_part_of_the_workflow(page):
    notices(page, 2)
    sent = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    for kind in ("CLIPTextEncode", "VQDiffusionTextEncode"):
        (saved,) = (node for node in page.serialized()["nodes"] if node["type"] == kind)
        assert len(saved["widgets_values"]) == 1
        (content,) = (content for content in sent.values() if content["class_type"] == kind)
        assert content["inputs"].keys() == {"clip", "text"}
