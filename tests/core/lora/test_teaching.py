"""`vqdiffusion train lora`: from a folder of images to a file that draws, the same each time, and on from there."""

import errno
import shutil
from pathlib import Path

import pytest
import torch
from pack.tests.core import tiny_lora as tiny
from pack.tests.core.tiny_training import write_images
from pack.vqdiffusion_core import apply_loras, read_lora
from pack.vqdiffusion_core.checkpoints import load, save
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.distributed import ALONE
from pack.vqdiffusion_core.lora import write_lora
from pack.vqdiffusion_core.notices import notices_to
from pack.vqdiffusion_core.training import optimization
from pack.vqdiffusion_core.training.adapters import AdaptedNetworks
from pack.vqdiffusion_core.training.data import Folder
from pack.vqdiffusion_core.training.diffusion import Batch, Networks
from pack.vqdiffusion_core.training.lora import Lesson, LoraTraining, lora_training
from pack.vqdiffusion_core.training.teaching import UNKNOWN
from PIL import Image

PACE = ["--batch", "2", "--rank", "2", "--learning-rate", "0.02"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a model, and images of a character that has no captions."""
    folder = tmp_path_factory.mktemp("teach")
    save(tiny.model(folder / "run"), folder / "model")
    (folder / "images").mkdir()
    for path in write_images(folder / "images").glob("*.txt"):
        path.unlink()
    return folder


def teach(folder, run, *options, steps=4, data="images"):
    """The file that is learned, or the exit code of a command that failed."""
    given = ["--data", str(folder / data), "--model", str(folder / "model"), "--steps", str(steps), *PACE]
    code = main(["train", "lora", str(run), *given, *options])
    return code or (Path(run) / "pim.safetensors").read_bytes()


@pytest.fixture(scope="module")
def taught(folder):
    return teach(folder, folder / "taught", "--word", "pim")


def test_what_was_learned_is_a_lora_of_the_model_that_draws(taught, folder):
    lora, model = read_lora(str(folder / "taught" / "pim.safetensors")), load(folder / "model")
    lora.check_fit(model)
    assert lora.about.words == ("pim",) and lora.about.rank == 2 and lora.about.recipe["steps"] == 4
    assert all(B.any() for _, B in lora.pairs.values()) and lora.tokens and lora.null_1LD is None
    image = folder / "pim.png"
    file = folder / "taught" / "pim.safetensors"
    draw = ["generate", "a pim", "--model", str(folder / "model"), "--steps", "2", "--lora", str(file)]
    assert main([*draw, "-o", str(image)]) == 0 and Image.open(image).size == (16, 16)


def test_adapters_alone_learn_where_no_word_is_taught(folder, tmp_path):
    shutil.copytree(folder / "images", tmp_path / "images")
    write_images(tmp_path / "images")
    shutil.copytree(folder / "model", tmp_path / "model")
    assert teach(tmp_path, tmp_path / "run", "--save-as", str(tmp_path / "run" / "pim.safetensors"), steps=1)
    lora = read_lora(tmp_path / "run" / "pim.safetensors")
    assert lora.about.words == () and not lora.tokens and any(B.any() for _, B in lora.pairs.values())


def test_the_same_seed_is_the_same_file_and_another_is_not(taught, folder, tmp_path):
    assert teach(folder, tmp_path / "again", "--word", "pim") == taught
    assert teach(folder, tmp_path / "other", "--word", "pim", "--seed", "1") != taught


def test_a_teaching_that_was_interrupted_ends_at_the_same_file(taught, folder, tmp_path, monkeypatch):
    class PowerCut(Exception):
        pass

    step = LoraTraining.step

    def cut_in_the_fourth(self, number, *given):
        if number == 3:
            raise PowerCut
        return step(self, number, *given)

    with monkeypatch.context() as patched:
        patched.setattr(LoraTraining, "step", cut_in_the_fourth)
        with pytest.raises(PowerCut):
            teach(folder, tmp_path / "run", "--word", "pim", "--save-every", "2")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2 and all("lora_" in name or "delta" in name for name in state["training"]["networks"])
    assert teach(folder, tmp_path / "run", "--word", "pim") == taught


def test_memory_is_said_before_it_begins(folder, tmp_path, capsys):
    teach(folder, tmp_path / "run", "--word", "pim", steps=1)
    assert "takes some" in capsys.readouterr().out.splitlines()[0]


def test_the_gradients_are_those_of_the_low_rank_update(folder):
    """Of the weights W + B A, by the chain rule, where the trainer's own network has them."""
    inputs = (
        torch.randint(16, (2, 64), generator=torch.Generator().manual_seed(0)),
        torch.tensor([3, 7]),
        torch.zeros(2, load(folder / "model").text_encoder.length, dtype=torch.int64),
        torch.tensor([False, True]),
        torch.arange(2 * 64),
    )
    model, lora = load(folder / "model", "float32"), tiny.lora(load(folder / "model", "float32"))
    adapted = AdaptedNetworks(model, 2, start=lora)
    plain = load(folder / "model", "float32")
    apply_loras(plain, [(lora, 1.0)])
    networks = Networks(plain.transformer, plain.text_encoder, plain.null())
    networks.requires_grad_(True)
    ours, theirs = adapted(*inputs), networks(*inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for logits in (ours, theirs):
        logits.square().mean().backward()
    for name, layer in adapted.adapted.items():
        full = plain.transformer.get_submodule(name).weight.grad
        torch.testing.assert_close(layer.lora_B.weight.grad, full @ lora.pairs[name][0].T, rtol=1e-3, atol=1e-4)
        assert layer.weight.grad is None


def test_frozen_weights_of_sixteen_bits_draw_and_learn(folder):
    networks = AdaptedNetworks(load(folder / "model", "float32"), 2)
    networks.freeze_in(torch.bfloat16)
    layer = networks.adapted["blocks.0.attn1.query"]
    assert layer(torch.ones(1, 16)).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.ones(1, 16)).float().sum().backward()
    assert layer.lora_B.weight.grad.dtype == torch.float32


def test_captions_of_the_folder_are_what_is_learned_from(folder, tmp_path, capsys):
    shutil.copytree(folder / "images", tmp_path / "images")
    for name in ("red", "green", "blue"):
        (tmp_path / "images" / f"{name}.txt").write_text(f"the pim is {name}")
    shutil.copytree(folder / "model", tmp_path / "model")
    teach(tmp_path, tmp_path / "run", "--word", "pim", steps=1)
    assert "No caption has the word" not in capsys.readouterr().err
    teach(tmp_path, tmp_path / "other", "--word", "pom", "--save-as", str(tmp_path / "other/pim.safetensors"), steps=1)
    assert "No caption has the word 'pom'" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "rank"), [(3, 3), (1, 2)])
def test_a_lora_is_gone_on_with(taught, folder, tmp_path, asked, rank):
    """What it was is where it begins, of a higher rank too; a lower one has no room for that."""
    first = read_lora(folder / "taught" / "pim.safetensors")
    source = Folder(folder / "images", 16, captions=False)
    source.listed = [["a pim"]] * 3
    lesson = Lesson("pim", asked, start=first)
    said = []
    with notices_to(said.append):
        training = lora_training(load(folder / "model", "float32"), lesson, source, tmp_path, ALONE, batch=2)
    assert isinstance(training.networks, AdaptedNetworks)
    begun = training.networks.lora("pim", first.about)
    for name, (A, B) in first.pairs.items():
        torch.testing.assert_close(begun.pairs[name][1] @ begun.pairs[name][0], B @ A)
    assert begun.tokens.keys() == first.tokens.keys()
    assert training.lora("pim", 0).about.rank == rank == training.networks.rank
    assert any("The rank stays 2, that of pim.safetensors" in line for line in said) == (asked < rank)


@pytest.fixture
def of_one_letter(folder, tmp_path):
    """A training whose word has room in the captions of the tiny model, four rows a step."""
    source = Folder(folder / "images", 16, captions=False)
    source.listed = [["a o"], ["o"], ["o red"]]
    return lora_training(load(folder / "model", "float32"), Lesson("o", 2), source, tmp_path, ALONE, batch=4)


def test_half_of_what_is_learned_from_is_what_the_model_drew_without_the_word(of_one_letter):
    (word,), seen = of_one_letter.words.word_ids, set()
    for step in range(4):
        batch = of_one_letter.noisy_batch(step, progress=0.0)
        has_word_B = (batch.ids_BL == word).any(1)
        assert has_word_B.tolist() == [step % 2 == 0, step % 2 == 1] * 2
        assert ((batch.x0_BN == UNKNOWN).all(1) == ~has_word_B).all() and not batch.drop_B[has_word_B].any()
        seen |= {tuple(ids_L) for ids_L in batch.ids_BL[has_word_B].tolist()}
    assert len(seen) > 3  # other words stand beside the new one now and then


def test_what_the_model_says_already_teaches_nothing(of_one_letter):
    """Of the prior, until the lesson has changed something."""
    batch = of_one_letter.noisy_batch(0, progress=0.0)
    lesson, prior = (Batch(*(rows[i::2] for rows in batch)) for i in range(2))
    gradients = []
    for part in (lesson, prior):
        of_one_letter.networks.zero_grad()
        of_one_letter.backward(part, 2)
        gradients.append(max(float(p.grad.abs().max()) for p in of_one_letter.weights if p.grad is not None))
    assert gradients[1] < 1e-3 * gradients[0]


def test_one_image_is_learned_and_said_to_be_few(folder, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    shutil.copy(folder / "images" / "red.png", tmp_path / "images")
    shutil.copytree(folder / "model", tmp_path / "model")
    assert teach(tmp_path, tmp_path / "run", "--word", "pim", steps=1)
    assert "There is one image to learn from" in capsys.readouterr().err


def small(folder):
    Image.new("RGB", (9, 9)).save(folder / "images" / "small.png")


def captions_alone(folder):
    for path in (folder / "images").iterdir():
        path.with_suffix(".txt").write_text("a pim")
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "options", "said"),
    [
        (small, ["--word", "pim"], "small.png is 9 x 9 pixels; expected 16 x 16 or more"),
        (captions_alone, ["--word", "pim"], "it holds 3 files of captions. Expected a folder of .png"),
        (lambda folder: None, [], "has no caption"),
        (lambda folder: None, ["--word", "Image"], "knows the word 'Image' already and would forget what it means"),
        (lambda folder: None, ["--word", "pim", "--rank", "0"], "rank is 0; expected a number from 1 to 512"),
        (lambda folder: None, ["--word", "pim", "--begin-with", "OTHER"], "is a LoRA of another model"),
        (lambda folder: None, ["--word", "pim", "--save-as", "pim.ckpt"], "expected a name that ends in .safetensors"),
    ],
)
def test_what_cannot_be_taught_is_said_in_one_line(spoil, options, said, folder, tmp_path, capsys):
    shutil.copytree(folder / "images", tmp_path / "images")
    shutil.copytree(folder / "model", tmp_path / "model")
    write_lora(tiny.lora(tiny.model(tmp_path / "wide", width=24)), tmp_path / "other.safetensors")
    spoil(tmp_path)
    given = [str(tmp_path / "other.safetensors") if option == "OTHER" else option for option in options]
    assert teach(tmp_path, tmp_path / "run", *given) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in message and not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_loss_that_is_no_number_ends_it_and_what_was_learned_is_kept(folder, tmp_path, capsys, monkeypatch):
    clip, seen = torch.nn.utils.clip_grad_norm_, []

    def third_time_nan(*given):
        seen.append(1)
        return torch.tensor(float("nan")) if len(seen) == 3 else clip(*given)

    monkeypatch.setattr(optimization.nn.utils, "clip_grad_norm_", third_time_nan)
    assert teach(folder, tmp_path / "run", "--word", "pim", "--save-every", "2") == 1
    assert "broke down in step 3" in capsys.readouterr().err
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 2


def test_a_disk_that_is_full_at_the_end_costs_nothing_that_was_learned(taught, folder, tmp_path, capsys, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pack.vqdiffusion_core.lora.file.write_safetensors", full)
        assert teach(folder, tmp_path / "run", "--word", "pim") == 1
    assert "pim.safetensors cannot be written: No space left on device" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").glob("*.safetensors")] == []
    assert teach(folder, tmp_path / "run", "--word", "pim") == taught
