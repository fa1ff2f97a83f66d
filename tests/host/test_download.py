"""A model is downloaded from inside a real ComfyUI, from a hub on this machine that can break off, to the place that
ComfyUI is told to keep new models in.
"""

import re
import shutil

import pytest
from pack.tests.core.local_hub import BIG, ITHQ, serving
from pack.tests.host import shipped
from pack.tests.host.comfy import Comfy, Interrupted, NodeError
from pack.tests.host.shipped import node, text_to_image
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER

NAME = "vq-diffusion-ithq"
OFF = "Nothing was asked for. Set download to yes to see what it takes."


@pytest.fixture(scope="module")
def hub():
    with serving(POCKET_FOLDER) as hub:
        yield hub


@pytest.fixture(scope="module")
def big_disk(tmp_path_factory):
    return tmp_path_factory.mktemp("big_disk")


@pytest.fixture(scope="module")
def far_comfy(hub, big_disk):
    """A ComfyUI of its own, for which this hub is the hub and a big disk the place for new models."""
    config = big_disk / "extra.yaml"
    config.write_text(f"studio:\n  base_path: {big_disk}\n  is_default: true\n  vq_diffusion: vq_diffusion\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        with Comfy(["--extra-model-paths-config", str(config)]) as comfy:
            yield comfy


@pytest.fixture
def models(far_comfy, big_disk):
    """The folder of models, without the one that a test has downloaded."""
    folder = big_disk / "vq_diffusion"
    yield folder
    shutil.rmtree(folder / NAME, ignore_errors=True)
    assert not (far_comfy.base / "models" / "vq_diffusion").exists()


@pytest.fixture
def number(far_comfy, models):
    return number_shown(far_comfy)


def number_shown(comfy):
    with pytest.raises(NodeError, match=r"Not downloaded yet: .* takes 0.02 GB") as error:
        comfy.run(workflow(download=True))
    return re.search(r"write (\d{4}) into confirm", error.value.message)[1]


def workflow(download=False, confirm=""):
    return {
        "get": node("VQDiffusionDownload", model=ITHQ, download=download, confirm=confirm),
        "read": node("PreviewAny", source=["get", 0]),
    }


def test_a_graph_that_merely_holds_the_node_asks_for_nothing(far_comfy, hub):
    result = far_comfy.run(workflow())
    assert [output["text"] for output in result.outputs.values()] == [[OFF], [OFF]]
    assert hub.requests == []


def test_a_confirmed_download_is_a_model_that_draws(far_comfy, hub, models, number):
    assert hub.requests == [] and not models.exists()
    result = far_comfy.run(workflow(download=True, confirm=number))
    shown = [event.data["value"] for event in result.of_kind("progress")]
    assert shown == sorted(shown) and shown[-1] == sum(len(hub.files[name]) for name, _ in hub.requests)
    assert NAME in str(result.outputs) and [path.name for path in models.iterdir()] == [NAME]
    assert NAME in far_comfy.object_info()["VQDiffusionLoader"]["input"]["required"]["model"][1]["options"]
    own, fetched = text_to_image(), text_to_image()
    fetched["Loader"]["inputs"]["model"] = NAME
    assert shipped.image(far_comfy, own).tobytes() == shipped.image(far_comfy, fetched).tobytes()


def test_a_broken_connection_is_said_and_the_next_run_goes_on(far_comfy, hub, models, number):
    hub.requests.clear()
    hub.breaks, hub.dies = 1, True
    with pytest.raises(NodeError, match=r"could not be fetched whole at .*What has arrived is kept"):
        far_comfy.run(workflow(download=True, confirm=number))
    hub.down = hub.dies = False
    arrived = {name for name, _ in hub.requests} - {BIG}
    hub.requests.clear()
    far_comfy.run(workflow(download=True, confirm=number))
    assert (models / NAME / BIG).read_bytes() == hub.files[BIG]
    assert arrived and not arrived & {name for name, _ in hub.requests}


def test_an_interrupted_download_stops_and_the_next_run_goes_on(far_comfy, hub, models, number):
    def interrupt(event):
        if event.kind == "progress":
            far_comfy.interrupt()
            hub.may_go_on.set()

    hub.requests.clear()
    hub.may_go_on.clear()
    with pytest.raises(Interrupted):
        far_comfy.run(workflow(download=True, confirm=number), watch=interrupt)
    assert len(hub.requests) < 5 and not (models / NAME).exists()
    far_comfy.run(workflow(download=True, confirm=number))
    assert (models / NAME / BIG).read_bytes() == hub.files[BIG]


def test_a_hub_that_refuses_is_said_at_once(far_comfy, hub, models):
    hub.down = True
    with pytest.raises(NodeError, match=r"could not be looked up at .*503"):
        far_comfy.run(workflow(download=True, confirm="0"))
    hub.down = False
