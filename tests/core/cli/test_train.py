"""`vqdiffusion train`: from a folder of images to a model that draws, and on from there."""

import pytest
import torch
from pack.tests.core.tiny_training import write_images
from pack.vqdiffusion_core.checkpoints import CheckpointError, load
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.diffusion.matrix_schedule import MATRIX_KERNELS
from pack.vqdiffusion_core.training import memory
from PIL import Image

CODEC = ["--size", "16", "--channels", "8,8", "--codes", "16", "--steps", "3", "--batch", "2"]
DIFFUSION = ["--size", "16", "--layers", "1", "--width", "16", "--heads", "2", "--steps", "3", "--batch", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def codec(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "run"
    assert main(["train", "codec", str(folder), "--data", str(data), *CODEC]) == 0
    return folder


@pytest.fixture(scope="module")
def model(data, codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion")
    begin = ["--codec", str(codec), "--kernel", "uniform"]
    run = ["train", "diffusion", str(folder / "run"), "--data", str(data), *begin, *DIFFUSION]
    assert main([*run, "--save-as", str(folder / "model")]) == 0
    return folder / "model"


def test_a_folder_of_images_becomes_a_model_that_draws(model, tmp_path):
    image = tmp_path / "picture.png"
    draw = ["generate", "a red image", "--model", str(model), "--steps", "2", "-o", str(image)]
    assert main([*draw, "--sampler", "ancestral"]) == 0  # its kernel masks nothing, and the others uncover masks
    assert Image.open(image).size == (16, 16)


def test_a_model_that_draws_token_after_token_is_trained_by_the_same_options(data, codec, tmp_path):
    run = ["train", "autoregressive", str(tmp_path / "run"), "--data", str(data), "--codec", str(codec), *DIFFUSION]
    assert main([*run, "--save-as", str(tmp_path / "model")]) == 0
    image = tmp_path / "picture.png"
    draw = ["generate", "a red image", "--model", str(tmp_path / "model"), "-o", str(image)]
    assert main([*draw, "--sampler", "autoregressive", "--guidance", "2"]) == 0
    assert Image.open(image).size == (16, 16)
    tune = ["train", "diffusion", str(tmp_path / "tune"), "--data", str(data), "--model", str(tmp_path / "model")]
    assert main([*tune, *DIFFUSION]) == 1
    assert main(["train", "diffusion", str(tmp_path / "run"), "--data", str(data), "--codec", str(codec)]) == 1


def test_a_model_remembers_the_kernel_that_it_was_trained_with(model):
    schedule = load(model).schedule
    assert not schedule.gamma_bar.any() and schedule.beta_bar[-1] == pytest.approx(1 / 16, rel=1e-4)


@pytest.mark.parametrize("kernel", MATRIX_KERNELS)
def test_a_kernel_of_matrices_is_trained_saved_converted_and_draws(kernel, codec, data, tmp_path):
    run = ["train", "diffusion", str(tmp_path / "run"), "--data", str(data), "--codec", str(codec), *DIFFUSION]
    assert main([*run, "--kernel", kernel, "--save-as", str(tmp_path / "model")]) == 0
    assert main(["convert", str(tmp_path / "model"), str(tmp_path / "copy")]) == 0
    one, two = (load(tmp_path / name).schedule for name in ("model", "copy"))
    assert torch.equal(one.rates_KK, two.rates_KK) and (one.mixing == two.mixing).all()
    image, other = tmp_path / "image.png", tmp_path / "other.png"
    draw = ["generate", "a red image", "--model", str(tmp_path / "copy"), "--sampler", "ancestral", "--steps", "3"]
    assert main([*draw, "-o", str(image)]) == 0
    assert main([*draw, "--picture", str(image), "--denoise", "0.3", "-o", str(other)]) == 0
    assert Image.open(other).size == (16, 16)
    (tmp_path / "copy" / "scheduler" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="scheduler has no weights"):
        load(tmp_path / "copy")


def test_a_run_does_not_go_on_with_another_matrix(codec, data, tmp_path, capsys):
    run = ["train", "diffusion", str(tmp_path / "run"), "--data", str(data), "--codec", str(codec), *DIFFUSION]
    assert main([*run, "--kernel", "embedding"]) == 0
    assert main([*run, "--kernel", "gaussian"]) == 1
    assert "was begun with kernel" in capsys.readouterr().err


def test_a_model_names_the_words_that_its_captions_never_had_also_when_it_was_converted(model, tmp_path, capsys):
    assert main(["convert", str(model), str(tmp_path / "copy")]) == 0
    for folder in (model, tmp_path / "copy"):
        capsys.readouterr()
        draw = ["generate", "a red image of a purple zebra", "--model", str(folder), "-o", str(tmp_path / "x.png")]
        assert main([*draw, "--steps", "1", "--sampler", "ancestral"]) == 0
        assert 'This model does not know "of", "purple", "zebra":' in capsys.readouterr().err


def test_a_model_that_is_trained_on_learns_new_words_and_keeps_the_old(model, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    write_images(tmp_path / "data")
    for caption in (tmp_path / "data").glob("*.txt"):
        caption.write_text("a zebra")
    tune = ["train", "diffusion", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--model", str(model)]
    assert main([*tune, *DIFFUSION, "--save-as", str(tmp_path / "tuned")]) == 0
    old, new = (load(folder).text_encoder.known_words for folder in (model, tmp_path / "tuned"))
    assert old and "zebra" not in old and new == old | {"a", "zebra"}


def test_a_saved_model_is_fine_tuned_at_its_own_size(model, data, tmp_path):
    tune = ["train", "diffusion", str(tmp_path / "run"), "--data", str(data), "--model", str(model)]
    pace = ["--steps", "6", "--batch", "2", "--learning-rate", "0.05", "--accumulate", "2", "--checkpoint-activations"]
    assert main([*tune, *pace, "--save-as", str(tmp_path / "tuned")]) == 0
    before, after = load(model), load(tmp_path / "tuned")
    assert not after.learned_null_1LD.equal(before.learned_null_1LD)
    same = zip(before.text_encoder.parameters(), after.text_encoder.parameters(), strict=True)
    assert all(ours.equal(theirs) for ours, theirs in same)


@pytest.mark.parametrize("batch", ["1", "5"])
@pytest.mark.parametrize("kernel", ["absorbing", "uniform"])
def test_one_image_trains_in_batches_of_any_size(batch, kernel, codec, data, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    for name in ("red.png", "red.txt"):
        (one / name).write_bytes((data / name).read_bytes())
    size = ["--data", str(one), *CODEC[:-1], batch]
    assert main(["train", "codec", str(tmp_path / "codec"), *size]) == 0
    begin = ["--codec", str(codec), "--kernel", kernel, "--data", str(one), *DIFFUSION[:-1], batch]
    run = tmp_path / "run"
    assert main(["train", "diffusion", str(run), *begin]) == 0
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["codec", "--size", "17", "--channels", "8,8"], "size is 17; 2 resolutions need a multiple of 2"),
        (["codec", "--channels", "8,9"], "expected two numbers or more, each a multiple of 8"),
        (["codec", "--size", "32", "--channels", "8,8"], "is 16 x 16 pixels; expected 32 x 32 or more"),
        (["codec", "--batch", "0", "--size", "16"], "batch is 0"),
        (["codec", "--accumulate", "0", "--size", "16"], "accumulate is 0; expected more than 0"),
        (["codec", "--steps", "0", "--size", "16"], "steps is 0"),
        (["diffusion", "--codec", "NOWHERE"], "is no folder and no file; expected those of a model"),
        (["diffusion", "--codec", "NOWHERE", "--blank-share", "1"], "blank share is 1.0; expected 0 or more"),
        (["diffusion", "--codec", "NOWHERE", "--token-share", "0.5", "2"], "token share is 2.0; expected more than 0"),
        (["diffusion", "--codec", "CODEC", "--size", "15"], "tokens are 2 pixels wide: choose a multiple"),
        (["diffusion", "--codec", "CODEC", "--width", "190"], "the width a multiple of the heads"),
        (["diffusion", "--model", "MODEL", "--size", "8"], "train it with --size 16"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(arguments, said, codec, model, data, tmp_path, capsys):
    folders = {"MODEL": str(model), "CODEC": str(codec)}
    kind, *rest = [folders.get(argument, argument) for argument in arguments]
    assert main(["train", kind, str(tmp_path / "run"), "--data", str(data), *rest]) == 1
    message = capsys.readouterr().err.strip()
    assert said in message and "\n" not in message
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize("kind", ["codec", "diffusion", "autoregressive"])
def test_what_a_run_takes_is_said_before_it_begins_and_what_no_device_has_is_not_begun(
    kind, codec, data, tmp_path, capsys, monkeypatch
):
    options = CODEC if kind == "codec" else ["--codec", str(codec), *DIFFUSION]
    command = ["train", kind, str(tmp_path / "run"), "--data", str(data), *options]
    with monkeypatch.context() as patch:
        patch.setattr(memory, "device_bytes", lambda device: 10_000)
        assert main(command) == 1
    assert "but cpu has 1e-05 GB. No --accumulate makes it fit" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("takes some 0.0")


def test_the_built_in_scenes_have_one_size(tmp_path, capsys):
    assert main(["train", "codec", str(tmp_path), "--size", "64"]) == 1
    assert "the built-in scenes are drawn at 96" in capsys.readouterr().err
