"""The `vqdiffusion` command: draws, describes, and says in one line what is wrong."""

import pytest
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.pipeline import Settings, generate
from PIL import Image, ImageChops

PROMPT = "a teddy bear on a blue background"


def test_generate_writes_what_the_pipeline_draws(tmp_path, capsys):
    target = tmp_path / "bear.png"
    assert main(["generate", PROMPT, "-o", str(target), "--steps", "4", "--seed", "3", "--count", "2"]) == 0
    drawn = [Image.open(tmp_path / f"bear_{i}.png") for i in range(2)]
    expected = generate(load(POCKET_FOLDER), PROMPT, seed=3, count=2, settings=Settings(steps=4))
    for ours, theirs in zip(drawn, expected, strict=True):
        assert ImageChops.difference(ours, theirs).getbbox() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bear_0.png", "bear_1.png"]


def test_info_describes_the_pocket_model(capsys):
    assert main(["info"]) == 0
    assert "96 x 96 pixels, 12 x 12 tokens of 512 codes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", PROMPT, "--steps", "0"], "steps is 0"),
        (["generate", PROMPT, "--guidance", "nan"], "guidance is nan"),
        (["generate", PROMPT, "--count", "0"], "count is 0"),
        (["generate", PROMPT, "--dtype", "int8"], "dtype is 'int8'"),
        (["info", "--model", "nowhere"], "nowhere is no folder"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
