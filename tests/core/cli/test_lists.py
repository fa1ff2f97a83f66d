"""Lists of prompts are read whole, and what is wrong with them is said before anything is drawn."""

import json

import pytest
from pack.vqdiffusion_core.cli import drawing, main
from pack.vqdiffusion_core.cli.lists import read_jobs
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.notices import notices_to
from PIL import Image

SETTINGS = Settings(steps=4)


def read(file, seed=10, model="pocket"):
    return read_jobs(file, file.parent / "out", seed, SETTINGS, None, model)


def text_file(folder, *lines):
    (folder / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder / "list.txt"


def json_file(folder, *lines):
    path = folder / "list.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_line_of_text_is_a_prompt_with_the_seed_of_its_line(tmp_path):
    jobs = read(text_file(tmp_path, "a fox", "", "  ein Bär  "))
    assert [(job.line, job.prompt, job.seed, job.settings) for job in jobs] == [
        (1, "a fox", 10, SETTINGS),
        (3, "ein Bär", 12, SETTINGS),
    ]


def test_a_line_of_json_may_say_everything(tmp_path):
    line = {"prompt": "a fox", "name": "fox", "negative": "blue", "seed": 7, "guidance": 2, "sampler": "ancestral"}
    (job, usual) = read(json_file(tmp_path, line, {"prompt": "a cat"}))
    assert (job.prompt, job.negative, job.seed, job.settings) == (
        "a fox",
        "blue",
        7,
        Settings(4, 2, sampler="ancestral"),
    )
    assert job.path == tmp_path / "out" / "fox.png"
    assert (usual.negative, usual.seed, usual.settings) == (None, 11, SETTINGS)


def test_an_image_is_called_by_all_that_it_depends_on(tmp_path):
    def name(seed=10, model="pocket", prompt="a fox"):
        return read(text_file(tmp_path, prompt), seed, model)[0].path.name

    assert name() == name() and name().startswith("00001-") and name().endswith(".png")
    assert len({name(), name(seed=11), name(model="coco"), name(prompt="a cat")}) == 4


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "no JSON"),
        (["a fox"], 'expected a JSON object with a "prompt"'),
        ({"seed": 1}, 'expected a JSON object with a "prompt"'),
        ({"prompt": "", "stepz": 1}, "unknown: stepz; known are prompt, name"),
        ({"prompt": "", "steps": 2.5}, "steps is 2.5; expected a whole number"),
        ({"prompt": "", "steps": True}, "steps is true; expected a whole number"),
        ({"prompt": "", "steps": 0}, "steps is 0; expected"),
        ({"prompt": "", "guidance": "high"}, 'guidance is "high"; expected a number'),
        ({"prompt": "", "sampler": "euler"}, "sampler is 'euler'"),
        ({"prompt": "", "seed": -1}, "seed is -1"),
        ({"prompt": "", "name": "../fox"}, "expected a plain file name"),
        ({"prompt": "", "name": "good"}, "its image is called good.png, as that of line 1"),
    ],
)
def test_every_wrong_line_is_named_before_anything_is_drawn(tmp_path, line, complaint):
    with pytest.raises(ValueError, match="cannot be drawn") as error:
        read(json_file(tmp_path, {"prompt": "a fox", "name": "good"}, line, "nonsense"))
    first, second = str(error.value).splitlines()[1:]
    assert first.strip().startswith("line 2: ") and complaint in first
    assert second.strip().startswith("line 3: no JSON")


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"\n \n", "has no prompts"), (b"a\x81", "list.txt is no text in UTF-8")]
)
def test_a_file_without_a_list_is_refused(tmp_path, content, complaint):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read(tmp_path / "list.txt")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_list_is_read_in_any_common_encoding(encoding, suffix, tmp_path):
    file = tmp_path / f"list{suffix}"
    lines = ["a fox", "ein Bär\u2019s café"]
    if suffix == ".jsonl":
        lines = [json.dumps({"prompt": line}, ensure_ascii=False) for line in lines]
    file.write_bytes("\r\n".join(lines).encode(encoding))
    notices = []
    with notices_to(notices.append):
        assert [job.prompt for job in read(file)] == ["a fox", "ein Bär\u2019s café"]
    assert ["cp1252" in line for line in notices] == [True] * (encoding == "cp1252")


def test_the_suffix_of_a_name_decides_the_format(tmp_path):
    file, folder = json_file(tmp_path, {"prompt": "a fox", "name": "fox.jpg"}), tmp_path / "o"
    assert main(command(file, folder)) == 0
    with Image.open(folder / "fox.jpg") as image:
        assert image.format == "JPEG"


def test_a_folder_that_is_a_file_is_refused_before_drawing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(drawing, "generate_each", lambda *given: pytest.fail("it draws"))
    file = text_file(tmp_path, "a fox")
    assert main(command(file, file)) == 1
    assert "cannot be written (Not a directory)" in capsys.readouterr().err


def command(file, folder):
    return ["generate", "--prompts", str(file), "-o", str(folder), "--steps", "2"]


def test_a_name_that_is_too_long_is_refused_before_drawing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(drawing, "generate_each", lambda *given: pytest.fail("it draws"))
    lines = [{"prompt": "a fox", "name": "fox"}, {"prompt": "a cat", "name": "c" * 250}]
    out = tmp_path / "out"
    assert main(["generate", "--prompts", str(json_file(tmp_path, *lines)), "-o", str(out)]) == 1
    error = capsys.readouterr().err
    assert "ccc.png cannot be written (File name too long)" in error and error.count("\n") == 1
    assert not out.exists()


def test_a_name_with_half_a_letter_is_refused_with_its_line(tmp_path):
    """What programs write that cut text in the middle of an emoji."""
    with pytest.raises(ValueError, match=r"line 1: name is '\\ud83d'; expected a plain file name"):
        read(json_file(tmp_path, '{"prompt": "a fox", "name": "\\ud83d"}'))


def test_a_list_and_a_prompt_are_not_both_drawn(tmp_path, capsys):
    assert main(["generate", "a fox", "--prompts", str(text_file(tmp_path, "a cat"))]) == 1
    assert "give no prompt, --class, --part or --count besides" in capsys.readouterr().err
