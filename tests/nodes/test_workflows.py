"""Every shipped workflow draws on a graphics card that is not there, node by node in this process, the CPU's images."""

import importlib
import importlib.util
import sys

import comfy.model_management as management
import folder_paths
import pytest
import torch
from comfy_api.latest import io
from pack import nodes as ours
from pack.nodes import loaders
from pack.tests.core import tiny_originals
from pack.tests.host import shipped
from pack.tests.host.fetch import comfyui
from pack.tests.nodes.graphics_card import graphics_card

GREY_LEVEL = 1 / 255
STEPS = 2
EXTRAS = ("post_processing", "latent", "mask", "primitive")  # in this order: in a newer ComfyUI they import in a circle


@pytest.fixture(scope="module", autouse=True)
def imagenet(tmp_path_factory):
    """A small model of the kind and name that the workflow for classes asks for."""
    place = tmp_path_factory.mktemp("models")
    (place / "imagenet").mkdir()
    tiny_originals.imagenet_folder(place / "imagenet", class_rows=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(folder_paths.folder_names_and_paths, loaders.FOLDER, ([str(place)], set()))
        yield


@pytest.fixture(scope="module")
def classes(imagenet):
    """The nodes of the pack and of ComfyUI, by id."""
    specification = importlib.util.spec_from_file_location("nodes", comfyui() / "nodes.py")
    core = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "nodes", core)  # in place of the folder of this test
        specification.loader.exec_module(core)
        extras = [importlib.import_module(f"comfy_extras.nodes_{name}") for name in EXTRAS]

    modules = (core, *extras)
    older = {name: node for module in modules for name, node in getattr(module, "NODE_CLASS_MAPPINGS", {}).items()}
    newer = [node for module in modules for node in vars(module).values() if hasattr(node, "GET_SCHEMA")]
    known = [node for node in newer if node is not io.ComfyNode]
    return older | {node.define_schema().node_id: node for node in (*known, *ours.NODES)}


def run(name, classes):
    """What the workflow would save, in few steps and float32."""
    workflow, results = shipped.load(name), {}

    def output(node, index):
        if node not in results:
            given = {key: output(*value) if isinstance(value, list) else value for key, value in inputs(node).items()}
            results[node] = call(classes[workflow[node]["class_type"]], given)
        return results[node][index]

    def inputs(node):
        known = workflow[node]["inputs"]
        few = {"steps": STEPS, "dtype": "float32"}
        return {key: few.get(key, value) for key, value in known.items()}

    saved = [node["inputs"]["images"] for node in workflow.values() if node["class_type"].startswith("Save")]
    return [output(*images).cpu() for images in saved]


def call(node, given):
    """A node of either kind, as ComfyUI calls it."""
    if hasattr(node, "define_schema"):
        return node.execute(**given).args
    return getattr(node(), node.FUNCTION)(**given)


@pytest.mark.parametrize("name", [name for name in shipped.NAMES if not shipped.teaches(name)])
def test_a_shipped_workflow_draws_the_images_of_a_cpu(name, classes, monkeypatch):
    # A newer ComfyUI adds LoRAs to weights in float16 on a card: other weights, whatever the pack does.
    monkeypatch.setattr(management, "lora_compute_dtype", lambda device: torch.float32, raising=False)
    expected = run(name, classes)
    assert expected
    for flag in ("", "--gpu-only"):
        with graphics_card(flag, float64=False):  # as Apple's and Intel's
            for image, wanted in zip(run(name, classes), expected, strict=True):
                torch.testing.assert_close(image, wanted, rtol=0, atol=GREY_LEVEL)
