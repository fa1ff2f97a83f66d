"""The `vqdiffusion` command: draws, describes, and says in one line what is wrong."""

import pytest
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.pipeline import generate
from pack.vqdiffusion_core.settings import Settings
from PIL import Image, ImageChops

from . import tiny_originals

PROMPT = "a teddy bear on a blue background"


def test_generate_writes_what_the_pipeline_draws(tmp_path, capsys):
    target = tmp_path / "bear.png"
    assert main(["generate", PROMPT, "-o", str(target), "--steps", "4", "--seed", "3", "--count", "2"]) == 0
    drawn = [Image.open(tmp_path / f"bear_{i}.png") for i in range(2)]
    expected = generate(load(POCKET_FOLDER), PROMPT, seed=3, count=2, settings=Settings(steps=4))
    for ours, theirs in zip(drawn, expected, strict=True):
        assert ImageChops.difference(ours, theirs).getbbox() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bear_0.png", "bear_1.png"]


@pytest.mark.parametrize("negative", [[], ["--negative", "a fox"]])
def test_a_model_in_sixteen_bits_draws_from_prompts(negative, tmp_path):
    target = tmp_path / "bear.png"
    arguments = ["generate", PROMPT, *negative, "--dtype", "bfloat16", "--steps", "2", "-o", str(target)]
    assert main(arguments) == 0 and target.exists()


def test_info_describes_the_pocket_model(capsys):
    assert main(["info"]) == 0
    assert "96 x 96 pixels, 12 x 12 tokens of 1024 codes" in capsys.readouterr().out


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


# The authors' files


def test_info_describes_the_authors_files(tmp_path, capsys):
    (tmp_path / "coco").mkdir()
    assert main(["info", "--model", str(tiny_originals.coco_folder(tmp_path / "coco"))]) == 0
    text = capsys.readouterr().out
    assert "4 x 4 tokens of 11 codes" in text and "text of up to 7 tokens, the empty prompt as null" in text
    (tmp_path / "imagenet").mkdir()
    assert main(["info", "--model", str(tiny_originals.imagenet_folder(tmp_path / "imagenet"))]) == 0
    text = capsys.readouterr().out
    assert "256 x 256 pixels, 16 x 16 tokens" in text and "class label, 0 to 4, with a null class" in text


def test_the_authors_files_draw_and_their_conversion_draws_the_same(tmp_path, capsys):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    tiny_originals.ithq_folder(source)
    assert main(["convert", str(source), str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    for model in (source / "ithq.pth", target):
        arguments = ["generate", "a red car", "-o", str(tmp_path / f"{model.stem}.png"), "--model", str(model)]
        assert main([*arguments, "--steps", "2"]) == 0
    pictures = [Image.open(tmp_path / name) for name in ("ithq.png", "target.png")]
    assert ImageChops.difference(*pictures).getbbox() is None
    capsys.readouterr()
    assert main(["convert", str(source), str(target)]) == 1
    assert "target exists already" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model of each kind of condition."""
    makers = {
        "text": tiny_originals.ithq_folder,
        "class": tiny_originals.imagenet_folder,
        "none": tiny_originals.ffhq_folder,
    }
    return {kind: make(tmp_path_factory.mktemp(kind)) for kind, make in makers.items()}


@pytest.mark.parametrize(("kind", "words"), [("class", ["--class", "3"]), ("none", [])])
def test_models_without_text_draw_too(kind, words, folders, tmp_path):
    target = tmp_path / "picture.png"
    assert main(["generate", *words, "--model", str(folders[kind]), "--steps", "2", "-o", str(target)]) == 0
    (expected,) = generate(load(folders[kind]), *words[1:] or [""], settings=Settings(steps=2))
    assert ImageChops.difference(Image.open(target), expected).getbbox() is None


MISMATCHES = [
    ("text", ["--class", "3"], "draws from a prompt"),
    ("text", [], "draws from a prompt"),
    ("class", ["a fox"], "give it --class"),
    ("class", ["a fox", "--class", "3"], "and no prompt"),
    ("class", ["--class", "5 cats"], "There is no class '5 cats'; expected a number from 0 to 4"),
    ("class", [], "give it --class"),
    ("none", ["a fox"], "give it no prompt"),
]


@pytest.mark.parametrize(("kind", "words", "message"), MISMATCHES)
def test_what_a_model_does_not_draw_from_is_refused(kind, words, message, folders, capsys):
    assert main(["generate", *words, "--model", str(folders[kind])]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
