"""However a run ends, what it learned is kept, and one line says how to go on."""

import os
import shutil
import signal

import pytest
import torch
from pack.tests.core.tiny_training import COLOURS, paint
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.training.codec import CodecTraining
from pack.vqdiffusion_core.training.diffusion import DiffusionTraining

OPTIONS = {
    "codec": ["--size", "16", "--channels", "8,8", "--codes", "16", "--batch", "2"],
    "diffusion": ["--size", "16", "--layers", "1", "--width", "16", "--heads", "2", "--batch", "2"],
}
TRAININGS = {"codec": CodecTraining, "diffusion": DiffusionTraining}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Images, and runs of one step."""
    place = tmp_path_factory.mktemp("begun")
    (place / "data").mkdir()
    for name, colour in COLOURS.items():
        paint(colour, 8).save(place / "data" / f"{name}.png")
        (place / "data" / f"{name}.txt").write_text(f"a {name} one")
    for kind in OPTIONS:
        assert main(command(place, kind)) == 0
    return place


@pytest.fixture
def place(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "place")


def command(place, kind, *more, steps=1):
    begin = ["--codec", str(place / "codec")] if kind == "diffusion" else []
    data = ["--data", str(place / "data"), "--steps", str(steps)]
    return ["train", kind, str(place / kind), *begin, *OPTIONS[kind], *data, *more]


def checkpoint(place, kind):
    return torch.load(place / kind / "checkpoint.pt", weights_only=True)


def tensors(state):
    if torch.is_tensor(state):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return [tensor for value in values for tensor in tensors(value)]


def last_line(capsys):
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said.rpartition("\n")[2]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_a_signal_to_end_leaves_a_checkpoint_from_which_the_run_goes_on(kind, name, place, monkeypatch, capsys):
    number = getattr(signal, name)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    whole = shutil.copytree(place, place.with_name("whole"))
    step = TRAININGS[kind].step

    def interrupted(training, index, *given):
        if index == 2:
            signal.raise_signal(number)
        return step(training, index, *given)

    with monkeypatch.context() as patch:
        patch.setattr(TRAININGS[kind], "step", interrupted)
        assert main(command(place, kind, steps=5)) == 128 + number
    line = last_line(capsys)
    assert "stopped at step 3 of 5" in line and "the same command goes on" in line
    assert checkpoint(place, kind)["step"] == 3
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    if name == "SIGINT":
        assert main(command(place, kind, steps=5)) == main(command(whole, kind, steps=5)) == 0
        ours, theirs = (tensors(checkpoint(each, kind)) for each in (place, whole))
        assert len(ours) == len(theirs) > 10 and all(map(torch.equal, ours, theirs))


def test_a_second_ctrl_c_does_not_wait_for_the_step(place, monkeypatch, capsys):
    def impatient(training, *given):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = (place / "codec" / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(CodecTraining, "step", impatient)
    assert main(command(place, "codec", steps=5)) == 130
    assert last_line(capsys) == "vqdiffusion: stopped."
    assert (place / "codec" / "checkpoint.pt").read_bytes() == before


def test_ctrl_c_before_the_first_step_leaves_what_was_there(place, monkeypatch, capsys):
    (place / "diffusion" / "examples.pt").unlink()
    monkeypatch.setattr(
        "pack.vqdiffusion_core.training.data.Folder.open", lambda *_: signal.raise_signal(signal.SIGINT)
    )
    assert main(command(place, "diffusion", steps=5)) == 130
    assert last_line(capsys) == "vqdiffusion: stopped."
    assert not [*place.rglob("*.part"), *place.rglob("examples.pt")]


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_run_that_breaks_down_keeps_its_last_good_checkpoint_and_can_go_on(kind, place, monkeypatch, capsys):
    step = TRAININGS[kind].step

    def poisoned(training, index, *given):
        if index == 3:
            training.weights[0].data[0] = float("nan")
        return step(training, index, *given)

    with monkeypatch.context() as patch:
        patch.setattr(TRAININGS[kind], "step", poisoned)
        assert main(command(place, kind, "--save-every", "2", steps=9)) == 1
    line = last_line(capsys)
    assert "broke down in step 4: the gradient is nan" in line and "2 steps" in line
    kept = checkpoint(place, kind)
    assert kept["step"] == 2 and all(tensor.isfinite().all() for tensor in tensors(kept))
    assert main(command(place, kind, "--learning-rate", "1e-4", "--precision", "float32", steps=4)) == 0
    assert "learning_rate 0.001, now 0.0001; mixed True, now False" in last_line(capsys)


def test_a_full_disk_is_said_with_the_file_and_leaves_no_part_of_it(place, monkeypatch, capsys):
    before = (place / "codec" / "checkpoint.pt").read_bytes()

    def full(content, file):
        file.write(b"half")
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 4 vs 8")  # noqa: B904 (as torch does)

    monkeypatch.setattr("torch.save", full)
    assert main(command(place, "codec", steps=3)) == 1
    line = last_line(capsys)
    assert f"{place / 'codec' / 'checkpoint.pt'} cannot be written: No space left on device" in line
    assert (place / "codec" / "checkpoint.pt").read_bytes() == before
    assert not [*place.rglob("*.part")]


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_last(place, monkeypatch):
    """A power cut would else leave an empty file under its name."""
    calls = []

    def noted(name, work):
        def run(*arguments):
            calls.append((name, str(arguments[-1]).rpartition("/")[2]))
            return work(*arguments)

        return run

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", noted("replace", os.replace))
    assert main(command(place, "codec", steps=2)) == 0
    at = calls.index(("replace", "checkpoint.pt"))
    assert calls[at - 1][0] == "fsync"


@pytest.mark.parametrize("end", ["1", "\n1", "\0\0\0\n", "\0" * 8])
def test_a_log_whose_last_line_was_cut_off_is_gone_on_with(end, place):
    log = place / "codec" / "log.csv"
    log.write_text(log.read_text() + end)
    assert main(command(place, "codec", steps=2)) == 0
    log.write_text("")
    assert main(command(place, "codec", steps=3)) == 0
    assert [line.split(",")[0] for line in log.read_text().splitlines()] == ["step", "3"]


REFUSED = {
    "holds the run of a codec; expected one of a diffusion model": ("diffusion", ["CODEC"], []),
    "holds the run of a diffusion model; expected one of a codec": ("codec", ["DIFFUSION"], []),
    "its sheets would be learned from": ("codec", ["DATA/run"], []),
    "which is no model": ("diffusion", ["NEW"], ["--save-as", "DATA"]),
    "the place of the run": ("diffusion", ["NEW/run"], ["--save-as", "NEW"]),
    "kernel {'alpha': 0.0, 'beta': 0.0, 'gamma': 1.0}, now": ("diffusion", ["DIFFUSION"], ["--kernel", "uniform"]),
    "device nonsense cannot be used": ("codec", ["NEW"], ["--device", "nonsense"]),
    "device cuda:99 cannot be used": ("codec", ["NEW"], ["--device", "cuda:99"]),
}


@pytest.mark.parametrize("said", REFUSED)
def test_a_folder_or_option_that_does_not_fit_is_refused_before_anything_is_written(said, place, capsys):
    kind, (folder,), more = REFUSED[said]
    names = {"CODEC": "codec", "DIFFUSION": "diffusion", "DATA": "data", "NEW": "new"}

    def named(text):
        head, _, rest = text.partition("/")
        return str(place / names[head] / rest) if head in names else text

    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    arguments = command(place, kind, *map(named, more), steps=5)
    arguments[2] = named(folder)
    assert main(arguments) == 1
    assert said in last_line(capsys)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_run_that_is_over_says_so(place, capsys):
    assert main(command(place, "codec")) == 0
    assert "has its 1 steps already" in capsys.readouterr().out
