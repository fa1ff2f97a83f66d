"""The download node: it asks first, fetches what was confirmed, can be stopped and goes on."""

import re
import shutil

import comfy.model_management
import folder_paths
import pytest
from pack.nodes import download, loaders
from pack.nodes.download import OFF, VQDiffusionDownload
from pack.tests.core.local_hub import BIG, ITHQ, ask_there, serving
from pack.vqdiffusion_core.checkpoints import CheckpointError

NAME = "vq-diffusion-ithq"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    home = tmp_path / "models"
    monkeypatch.setattr(loaders, "HOME", home)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {loaders.FOLDER: ([str(home)], set())})
    monkeypatch.setattr(download, "NUMBERS", {})
    return home


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    repository = shutil.copytree(folder, tmp_path / "repository")
    (repository / "model_index.json").write_text('{"_class_name": "VQDiffusionPipeline"}')
    with serving(repository) as hub:
        ask_there(hub.url, monkeypatch)
        yield hub


def run(confirm="", model=ITHQ):
    return VQDiffusionDownload.execute(model, True, confirm)[0]


def number_shown():
    with pytest.raises(ValueError, match=r"takes .* GB \(\d+ files\) in .*; the disk has .* GB left") as error:
        run()
    return re.search(r"write (\d{4}) into confirm", str(error.value))[1]


def test_as_long_as_nobody_asks_nothing_is_sent(monkeypatch):
    ask_there(NOBODY, monkeypatch)
    output = VQDiffusionDownload.execute(ITHQ, False, "1234")
    assert output[0] == OFF and output.ui.as_dict() == {"text": (OFF,)}


def test_the_size_is_shown_before_anything_is_fetched_and_the_number_with_it_starts_the_download(hub, home):
    number = number_shown()
    assert hub.requests == [] and not home.exists()
    wrong = f"{(int(number) + 1) % 10_000:04}"
    with pytest.raises(ValueError, match=f"write {number} into confirm"):
        run(wrong)
    assert hub.requests == [] and not home.exists()
    assert NAME in run(f" {number} ") and loaders.model_folders()[NAME] == home / NAME
    loaders.open_model(home / NAME, "float32")


def test_a_model_that_is_there_is_not_fetched_again_and_needs_no_connection(hub, home, monkeypatch):
    run(number_shown())
    before = len(hub.requests)
    ask_there(NOBODY, monkeypatch)
    assert "choose it in VQ-Diffusion Loader" in run()
    assert len(hub.requests) == before


@pytest.mark.parametrize("place", [f"friends/{NAME}", "models--microsoft--vq-diffusion-ithq/snapshots/0123abc"])
def test_a_model_that_lies_deeper_is_not_fetched_again(place, folder, home, monkeypatch):
    shutil.copytree(folder, home / place)
    ask_there(NOBODY, monkeypatch)
    assert f"/{NAME} is there: {home / place}." in run()


def test_no_earlier_answer_stands_for_a_model_that_is_not_there(hub, home):
    """Not even that of the run that fetched it, should it be deleted: hosts may remember many runs."""

    def same_as_before():
        return VQDiffusionDownload.fingerprint_inputs(ITHQ, True, "") == before

    before = VQDiffusionDownload.fingerprint_inputs(ITHQ, True, "")
    assert not same_as_before()
    run(number_shown())
    before = VQDiffusionDownload.fingerprint_inputs(ITHQ, True, "")
    assert same_as_before()
    shutil.rmtree(home / NAME)
    assert not same_as_before()


def test_the_progress_bar_runs_to_the_whole_and_an_interrupt_keeps_what_has_arrived(hub, home, monkeypatch):
    number, shown = number_shown(), []

    def hook(value, total, preview, node_id=None):
        shown.append((value, total, preview))
        if len(shown) == 30:
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr("comfy.utils.PROGRESS_BAR_HOOK", hook)
    for limit in ("INTERVAL", "PERCENT"):  # newer ComfyUIs leave out what follows soon
        monkeypatch.setattr(f"comfy.utils.PROGRESS_THROTTLE_MIN_{limit}", 0, raising=False)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(number)
    assert len(shown) == 30 and list(loaders.model_folders()) == [*loaders.BUILT_IN]
    hub.requests.clear()
    run(number)
    for values in (shown[:30], shown[30:]):
        assert values == sorted(values)
    assert shown[-1][0] == shown[-1][1] and shown[-1][2] is None
    assert any(asked for _, asked in hub.requests), "it began again instead of going on"


def test_a_broken_connection_is_taken_up_again(hub, home):
    hub.breaks = 1
    run(number_shown())
    assert (home / NAME / BIG).read_bytes() == hub.files[BIG]


def test_what_cannot_be_reached_is_said_at_once(monkeypatch):
    ask_there(NOBODY, monkeypatch)
    with pytest.raises(CheckpointError, match=r"could not be looked up at http://127.0.0.1:9.*Is this machine online"):
        run()


def test_another_repository_is_refused_before_anything_is_sent():
    with pytest.raises(ValueError, match=r"model is 'someone/else'; expected one of microsoft/vq-diffusion-ithq"):
        run(model="someone/else")
