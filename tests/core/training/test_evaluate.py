"""`vqdiffusion evaluate` on the pocket model."""

import json

import pytest
from pack.tests.core import tiny
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.training import evaluate, measuring, scenes

needs_font = pytest.mark.skipif(
    not any(path.exists() for path in scenes.FONT_PATHS), reason="scenes need the font: apt fonts-noto-color-emoji"
)


@needs_font
def test_the_built_in_model_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "CURVE_PICTURES", 2)  # the fewest that can differ
    monkeypatch.setattr(measuring, "TIMED", 1)
    assert main(["evaluate", "--prompts", "2", "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["codec"]["PSNR in dB"] > 20
    plain = figures["one object, plain words"]
    assert plain["seen: subject first"] == plain["seen: background"] == 1
    assert figures["inpainting"]["other half unchanged"] == 1
    assert [point["guidance"] for point in figures["guidance"]] == [1, 1.5, 2, 3, 5]
    assert all(0 <= point["subject first"] <= 1 and point["diversity"] > 0 for point in figures["guidance"])
    table = capsys.readouterr().out
    assert (
        "| one object, plain words: seen: subject first | 1 |" in table
        and "| guidance 3, truncation 0.5: diversity |" in table
    )


@pytest.mark.parametrize("text", ["a shopping list", "[1, 2]"])
def test_a_file_of_something_else_is_not_written_over(text, tmp_path, capsys):
    file = tmp_path / "notes.json"
    file.write_text(text)
    assert main(["evaluate", "--prompts", "2", "--json", str(file)]) == 1
    assert f"{file} has no figures" in capsys.readouterr().err
    assert file.read_text() == text


@needs_font
def test_a_model_that_draws_token_by_token_is_measured_but_for_inpainting(monkeypatch):
    monkeypatch.setattr(evaluate, "CURVE_PICTURES", 2)
    monkeypatch.setattr(measuring, "TIMED", 1)
    parts = evaluate.parts(tiny.rival(load(POCKET_FOLDER, "float32")), 2)
    figures = {name: figure() for name, figure in parts.items()}
    assert "inpainting" not in figures and figures["two objects"]["left right"] <= 1
