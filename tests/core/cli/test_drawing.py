"""Lists of prompts are drawn in batches, by any number of processes, to the images that each line has by itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pack.tests.core.noted_batches import note_batches
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER
from pack.vqdiffusion_core.cli import drawing, main
from pack.vqdiffusion_core.pipeline import generate_each

CHECKOUT = Path(__file__).parents[3]
POCKET = ["--model", str(POCKET_FOLDER)]
ANIMALS = ("ant", "bee", "cat", "dog")


def command(folder, *lines):
    """Draws these lines, each an object or a prompt that is also its image's name, into a folder."""
    lines = [{"prompt": f"a {line}", "name": line} if isinstance(line, str) else line for line in lines]
    file = folder.parent / "list.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return ["generate", *POCKET, "--prompts", str(file), "-o", str(folder), "--steps", "2"]


def names(folder):
    return sorted(path.stem for path in folder.iterdir())


@pytest.fixture
def batches(monkeypatch):
    return note_batches(monkeypatch)


def test_images_of_a_batch_are_those_of_each_line_alone(tmp_path, monkeypatch, batches):
    lines = [
        {"prompt": "a fox", "name": "fox", "seed": 7},
        {"prompt": "a bee", "name": "bee", "negative": "blue"},
        {"prompt": "(a red:1.4) cat " * 30, "name": "cat", "guidance": 3},
        {"prompt": "", "name": "nothing", "seed": 2**64 - 1},
        {"prompt": "a dog", "name": "dog", "negative": ""},
        {"prompt": "a cow", "name": "cow", "guidance": 3},
        {"prompt": "a hen", "name": "hen", "sampler": "remask", "guidance": 1},
        *({"prompt": f"a {animal}", "name": f"{animal}0"} for animal in ANIMALS),
    ]
    assert main(command(tmp_path / "together", *lines)) == 0
    assert batches == [[7, 2**64 - 1, 7, 8, 9, 10], [1, 4], [2, 5], [6]]
    monkeypatch.setattr(drawing, "TOKENS_TOGETHER", {True: 1})
    assert main(command(tmp_path / "alone", *lines)) == 0
    assert batches[4:] == [[seed] for batch in batches[:4] for seed in batch]
    for path in (tmp_path / "alone").iterdir():
        assert path.read_bytes() == (tmp_path / "together" / path.name).read_bytes()
    bee = ["generate", *POCKET, "a bee", "--negative", "blue", "--seed", "1", "--steps", "2"]
    assert main([*bee, "-o", f"{tmp_path}/1.png"]) == 0
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "together" / "bee.png").read_bytes()


def test_what_is_left_out_of_a_prompt_is_said_of_its_line(tmp_path, capsys):
    long = {"prompt": "a fox " * 99, "name": "fox"}
    assert main(command(tmp_path / "out", "ant", long, "bee")) == 0
    (notice,) = (line for line in capsys.readouterr().err.splitlines() if "A prompt has" in line)
    assert notice.startswith("vqdiffusion: line 2: A prompt has ")


def test_a_failed_prompt_does_not_end_the_others_and_the_next_run_draws_it_alone(tmp_path, capsys, monkeypatch):
    folder, drawn = tmp_path / "out", []

    def generate_or_fail(model, conditions, nulls, seeds, settings):
        drawn.append(list(seeds))
        if 1 in seeds and len(drawn) < 5:
            raise RuntimeError("shapes do not fit")
        return generate_each(model, conditions, nulls, seeds, settings)

    monkeypatch.setattr(drawing, "generate_each", generate_or_fail)
    assert main(command(folder, "ant", "bee", "cat")) == 1
    out, err = capsys.readouterr()
    assert "line 2 failed: RuntimeError: shapes do not fit" in out and "1 of 3 images failed" in err
    assert names(folder) == ["ant", "cat"]
    assert main(command(folder, "ant", "bee", "cat")) == 0
    assert drawn == [[0, 1, 2], [0], [1], [2], [1]]
    assert names(folder) == ["ant", "bee", "cat"]


def test_where_memory_runs_out_fewer_are_drawn_together_from_then_on(tmp_path, monkeypatch):
    drawn = []

    def generate_if_it_fits(model, conditions, nulls, seeds, settings):
        drawn.append(list(seeds))
        if len(seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate_each(model, conditions, nulls, seeds, settings)

    monkeypatch.setattr(drawing, "generate_each", generate_if_it_fits)
    assert main(command(tmp_path / "out", *ANIMALS, "emu")) == 0
    assert drawn == [[0, 1, 2, 3, 4], [0, 1], [2, 3], [4]]
    assert names(tmp_path / "out") == [*ANIMALS, "emu"]


def test_an_interrupt_keeps_what_is_drawn_and_the_same_command_goes_on(tmp_path, monkeypatch, batches):
    folder = tmp_path / "out"
    monkeypatch.setattr(drawing, "TOKENS_TOGETHER", {True: 300})  # two images of the built-in model
    note = drawing.generate_each

    def generate_until_stopped(*given):
        if len(batches) == 1:
            raise KeyboardInterrupt
        return note(*given)

    monkeypatch.setattr(drawing, "generate_each", generate_until_stopped)
    assert main(command(folder, *ANIMALS)) == 130
    assert names(folder) == ["ant", "bee"]
    monkeypatch.setattr(drawing, "generate_each", note)
    assert main(command(folder, *ANIMALS)) == 0
    assert batches == [[0, 1], [2, 3]] and names(folder) == list(ANIMALS)


def test_two_processes_draw_the_images_of_one(tmp_path):
    """One of them fails in one image, by a folder in its place, and finishes all the same."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main(command(alone, *ANIMALS)) == 0
    (together / ".bee.png.part").mkdir(parents=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    draw = [*torchrun, "-m", "vqdiffusion_core.cli", *command(together, *ANIMALS)]
    result = subprocess.run(draw, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert result.returncode != 0 and "line 2 failed: IsADirectoryError" in result.stdout
    assert result.stderr.count("1 of 4 images failed") == 1
    for name in ("ant", "cat", "dog"):
        assert (together / f"{name}.png").read_bytes() == (alone / f"{name}.png").read_bytes()
    assert not (together / "bee.png").exists()
