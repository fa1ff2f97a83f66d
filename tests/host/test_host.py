"""The host itself: what a workflow's author may rely on, and what `Comfy` makes of each way to fail."""

import pytest
from pack.tests.host.comfy import Interrupted, NodeError, Rejected
from pack.tests.host.shipped import text_to_image
from PIL import Image

RED = 0xFF0000


def empty_image(**changes):
    return {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": RED} | changes}


def preview(node):
    return {"class_type": "PreviewImage", "inputs": {"images": [node, 0]}}


def test_the_pack_has_its_nodes(comfy):
    expected = {"Loader", "TextEncode", "EmptyTokens", "Sampler", "Decode", "Encode", "TokenMask"}
    nodes = {name for name, info in comfy.object_info().items() if info["category"].startswith("VQ-Diffusion")}
    assert nodes >= {f"VQDiffusion{name}" for name in expected}


def test_a_workflow_gives_its_images_and_says_how_long_each_node_took(comfy):
    result = comfy.run({"draw": empty_image(batch_size=2, width=16), "show": preview("draw")})
    assert [(image.size, image.getpixel((0, 0))) for image in comfy.images(result)] == [((16, 32), (255, 0, 0))] * 2
    assert list(result.seconds()) == ["draw", "show"]


def test_an_uploaded_image_comes_back_as_it_was(comfy):
    noise = Image.effect_noise((24, 16), 80).convert("RGB")
    load = {"class_type": "LoadImage", "inputs": {"image": comfy.upload(noise, "noise.png")}}
    (image,) = comfy.images(comfy.run({"load": load, "show": preview("load")}))
    assert image.tobytes() == noise.tobytes()


def test_a_workflow_with_an_unknown_node_is_rejected(comfy):
    with pytest.raises(Rejected, match=r"(?i)node '?NoSuchNode'? (does not exist|not found)"):
        comfy.run({"a": {"class_type": "NoSuchNode", "inputs": {}}})


def test_a_value_out_of_range_is_rejected_and_its_node_named(comfy):
    with pytest.raises(Rejected, match="smaller than min of 1: width") as rejected:
        comfy.run({"draw": empty_image(width=0), "show": preview("draw")})
    assert list(rejected.value.errors) == ["draw"]


def test_an_output_that_would_be_skipped_rejects_the_whole_workflow(comfy):
    bad = {"bad": empty_image(width=0), "show bad": preview("bad")}
    with pytest.raises(Rejected, match="node bad"):
        comfy.run({"good": empty_image(), "show good": preview("good"), **bad})


def test_a_node_that_raises_is_named_and_the_next_workflow_runs(comfy):
    save = {"class_type": "SaveImage", "inputs": {"images": ["draw", 0], "filename_prefix": "../outside"}}
    with pytest.raises(NodeError, match="outside the output folder") as raised:
        comfy.run({"draw": empty_image(), "save": save})
    assert (raised.value.node, raised.value.node_type) == ("save", "SaveImage")
    assert comfy.images(comfy.run({"draw": empty_image(), "show": preview("draw")}))


def endless(seed):
    """A run that would take minutes."""
    return text_to_image(seed=seed, steps=10_000)


def test_a_run_can_be_interrupted(comfy):
    def interrupt_in_sampler(event):
        if event.kind == "executing" and event.data["node"] == "Sampler":
            comfy.interrupt()

    with pytest.raises(Interrupted):
        comfy.run(endless(0), watch=interrupt_in_sampler)


def test_a_run_that_takes_too_long_is_stopped(comfy):
    with pytest.raises(TimeoutError):
        comfy.run(endless(1), timeout=0.05)
    assert comfy.images(comfy.run({"draw": empty_image(), "show": preview("draw")}))
