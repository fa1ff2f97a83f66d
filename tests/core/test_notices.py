"""What is left out or changed is said once, to whoever listens."""

import pytest
from pack.vqdiffusion_core.checkpoints import load
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.editing import RegionalPrompt
from pack.vqdiffusion_core.notices import Notice, few_notices, notices_of, notices_to, notify
from pack.vqdiffusion_core.pipeline import generate

from .tiny_checkpoints import diffusers_folder

LONG = "red red red red blue sky"  # the tiny model reads five tokens


def test_a_python_program_hears_a_warning():
    with pytest.warns(Notice, match="2 words were left out"):
        notify("2 words were left out.")


def test_a_listener_hears_each_line_once_and_only_within_its_block():
    heard, within = [], []
    with notices_to(heard.append):
        notify("first")
        with notices_to(within.append):
            notify("second")
        for line in ("first", "third"):
            notify(line)
    assert heard == ["first", "third"] and within == ["second"]


@pytest.mark.parametrize(("rank", "said"), [("0", 1), ("1", 0)])
def test_the_command_says_it_on_stderr_in_one_of_its_processes(rank, said, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(
        "pack.vqdiffusion_core.cli.command.run_info", lambda options: [notify("left out.") for _ in range(2)]
    )
    assert main(["info"]) == 0
    assert capsys.readouterr() == ("", "vqdiffusion: left out.\n" * said)


def test_of_many_notices_the_first_are_heard_and_the_rest_counted():
    heard = []
    with notices_to(heard.append), few_notices(most=2):
        for n in range(5):
            with notices_of(f"line {n}"):
                notify("left out.")
                notify("left out.")
    assert heard == ["line 0: left out.", "line 1: left out.", "There were 3 more such lines."]


# Prompts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return diffusers_folder(tmp_path_factory.mktemp("models") / "tiny")


def heard_of(model, prompt="red", **more):
    heard = []
    with notices_to(heard.append):
        generate(model, prompt, settings=Settings(steps=1), **more)
    return heard


def test_a_prompt_longer_than_the_model_reads_is_told_wherever_it_is_given(folder):
    model = load(folder)
    for given in ({"prompt": LONG}, {"negative": LONG}, {"parts": [RegionalPrompt(LONG, (0, 0, 0.5, 1))]}):
        (line,) = heard_of(model, **given)
        assert "tokens and this model reads 5: " in line and "sky" in line, given
    assert heard_of(model, LONG, negative=LONG) == [line], "the same line twice"
    assert heard_of(model, "red") == []


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("b b b b b", None),
        ("b b b b b s", "s"),
        ("(b b:1.2) (b b b B S:0.5)", "b s"),
        ("b b b b (b s:1.1), (s:2)", "s , s"),
        ("b b b b &amp; s", "s"),
        ("b " * 500, "b b"),
    ],
)
def test_what_is_left_out_is_named_as_far_as_it_fits_on_a_line(folder, text, left_out):
    lines = heard_of(load(folder), text)
    assert len(lines) == (left_out is not None)
    assert all(f'"{left_out}' in line and len(line) < 250 for line in lines)


def test_the_command_says_on_stderr_what_a_prompt_has_that_is_no_word(folder, tmp_path, capsys):
    prompt = ["generate", "red <lora:fur:1> BREAK", "--negative", "embedding:bad"]
    assert main([*prompt, "--model", str(folder), "--steps", "1", "-o", str(tmp_path / "fox.png")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "read as words" in line]
    assert [line.split(":")[0] for line in lines] == ["vqdiffusion"] * 2
    assert '"BREAK", "<lora:fur:1>"' in lines[0] and '"embedding:bad"' in lines[1]


def test_a_list_tells_the_first_lines_and_counts_the_others(folder, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("\n".join(["red", *[f"BREAK {'b' * n}" for n in range(1, 8)]]))
    command = ["generate", "--prompts", str(tmp_path / "list.txt"), "--model", str(folder), "--steps", "1"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vqdiffusion: ")]
    assert lines[0].startswith("vqdiffusion: line 2: ") and len(lines) == 6
    assert lines[-1].startswith("vqdiffusion: There were ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--guidance", "1", "--negative", "blue"], "the negative prompt is not heard"),
        (["--sampler", "ancestral", "--luck", "2"], "luck is 2.0, which has no effect on the sampler ancestral"),
        (["--size", "18x16"], "size is 18 x 16 pixels; the image has 16 x 16"),
    ],
)
def test_the_command_says_what_has_no_effect(folder, tmp_path, capsys, arguments, words):
    target = tmp_path / "red.png"
    assert main(["generate", "red", "--model", str(folder), "--steps", "1", "-o", str(target), *arguments]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vqdiffusion: ")]
    assert words in line
