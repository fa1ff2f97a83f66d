"""The `vqdiffusion` command: draws, describes, and says in one line what is wrong."""

import io
import sys

import pytest
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, STICKERS_FOLDER, load
from pack.vqdiffusion_core.cli import main, train
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.networks.inference import FastTransformer
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from pack.vqdiffusion_core.pipeline import generate
from PIL import Image, ImageChops

from .. import tiny_originals

PROMPT = "a penguin on a blue background"


def test_generate_writes_what_the_pipeline_draws(tmp_path, capsys):
    target = tmp_path / "penguin.png"
    assert main(["generate", PROMPT, "-o", str(target), "--steps", "4", "--seed", "3", "--count", "2"]) == 0
    drawn = [Image.open(tmp_path / f"penguin_{i}.png") for i in range(2)]
    expected = generate(load(STICKERS_FOLDER), PROMPT, seed=3, count=2, settings=Settings(steps=4))
    for ours, theirs in zip(drawn, expected, strict=True):
        assert ImageChops.difference(ours, theirs).getbbox() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["penguin_0.png", "penguin_1.png"]


@pytest.mark.parametrize("negative", [[], ["--negative", "a fox"]])
def test_a_model_in_sixteen_bits_draws_from_prompts(negative, tmp_path):
    target = tmp_path / "penguin.png"
    arguments = ["generate", PROMPT, *negative, "--dtype", "bfloat16", "--steps", "2", "-o", str(target)]
    assert main(arguments) == 0 and target.exists()


def test_the_largest_seed_of_the_editor_goes_on_from_zero(tmp_path):
    def drawn(seed, count, name):
        arguments = ["--seed", str(seed), "--count", str(count), "--steps", "1", "-o", str(tmp_path / name)]
        assert main(["generate", PROMPT, *arguments]) == 0

    drawn(2**64 - 1, 2, "largest.png")
    drawn(0, 1, "zero.png")
    drawn(-1, 1, "negative.png")
    for name, same in [("largest_1.png", "zero.png"), ("negative.png", "largest_0.png")]:
        assert ImageChops.difference(Image.open(tmp_path / name), Image.open(tmp_path / same)).getbbox() is None


def test_a_console_without_the_letters_of_a_name_does_not_end_a_list(tmp_path, monkeypatch):
    """Windows in western languages, or its output sent to a file."""
    (tmp_path / "list.txt").write_text("a fox\na cat\n")
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="cp1252"))
    folder = tmp_path / "\u7ea2"
    assert main(["generate", "--prompts", str(tmp_path / "list.txt"), "--steps", "1", "-o", str(folder)]) == 0
    assert len(list(folder.glob("*.png"))) == 2
    assert shown.getvalue().count(b"\\u7ea2") == 2


@pytest.mark.parametrize("words", ["could not create a primitive", "DefaultCPUAllocator: can't allocate memory"])
def test_images_that_do_not_fit_into_memory_at_once_are_made_one_after_the_other(words, tmp_path, monkeypatch):
    model = load(POCKET_FOLDER)
    expected = generate(model, PROMPT, count=3, settings=Settings(steps=1))

    def scarce(work):
        def run(self, tensor, *arguments, **named):
            if len(tensor) > 2:
                raise RuntimeError(words)
            return work(self, tensor, *arguments, **named)

        return run

    monkeypatch.setattr(VQGAN, "decode", scarce(VQGAN.decode))
    monkeypatch.setattr(FastTransformer, "hidden", scarce(FastTransformer.hidden))
    drawn = generate(model, PROMPT, count=3, settings=Settings(steps=1))
    assert [image.tobytes() for image in drawn] == [image.tobytes() for image in expected]


def test_a_training_batch_that_does_not_fit_into_memory_is_one_line(tmp_path, capsys, monkeypatch):
    def run(*arguments, **named):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(train, "run", run)
    assert main(["train", "codec", str(tmp_path / "run"), "--channels", "32,32", "--codes", "16"]) == 1
    error = capsys.readouterr().err
    assert "a smaller --batch" in error and error.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("kind", ["generate", "list", "convert"])
def test_a_terminal_shows_progress_to_its_end_and_a_file_gets_none(kind, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("a fox")
    commands = {
        "generate": (["generate", PROMPT, "--steps", "2", "-o"], "2/2"),
        "list": (["generate", "--prompts", str(tmp_path / "list.txt"), "--steps", "2", "-o"], "1/1"),
        "convert": (["convert", str(POCKET_FOLDER)], "100%"),
    }
    arguments, end = commands[kind]
    for place, shown in (("terminal", Terminal()), ("file", io.StringIO())):
        monkeypatch.setattr(sys, "stderr", shown)
        assert main([*arguments, str(tmp_path / place)]) == 0
        assert (end in shown.getvalue()) if place == "terminal" else not shown.getvalue()


def test_info_describes_the_built_in_model(capsys):
    assert main(["info"]) == 0
    assert "192 x 192 pixels, 24 x 24 tokens of 2048 codes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", PROMPT, "--steps", "0"], "steps is 0"),
        (["generate", PROMPT, "--guidance", "nan"], "guidance is nan"),
        (["generate", PROMPT, "--count", "0"], "count is 0"),
        (["generate", PROMPT, "--seed", str(2**64)], "seed is 18446744073709551616; expected a number from 0 to 2**64"),
        (["generate", PROMPT, "--dtype", "int8"], "dtype is 'int8'"),
        (["generate", PROMPT, "--device", "nonsense"], "device nonsense cannot be used"),
        (["info", "--model", "nowhere"], "nowhere is no folder"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


# The authors' files


def test_a_model_that_draws_token_by_token_is_described_converted_and_draws_from_its_folder(tmp_path, capsys):
    source, converted = tiny_originals.two_stages_folder(tmp_path / "faces"), tmp_path / "converted"
    assert main(["info", "--model", str(source)]) == 0
    said = capsys.readouterr().out
    assert "2 layers x 32, 16 heads, token after token" in said and "condition    none" in said
    assert main(["convert", str(source), str(converted)]) == 0
    images = []
    for model in (source, converted):
        images.append(tmp_path / f"{model.name}.png")
        draw = ["generate", "--model", str(model), "--sampler", "autoregressive", "--size", "80x64"]
        assert main([*draw, "-o", str(images[-1])]) == 0
    first, second = map(Image.open, images)
    assert first.size == (80, 64) and first.tobytes() == second.tobytes()
    assert main(["generate", "--model", str(converted), "-o", str(tmp_path / "none.png")]) == 1
    assert "Use the sampler 'autoregressive'" in capsys.readouterr().err


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
    images = [Image.open(tmp_path / name) for name in ("ithq.png", "target.png")]
    assert ImageChops.difference(*images).getbbox() is None
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
