"""`generate --lora` draws with LoRAs, `convert --lora` makes one part of a model."""

import pytest
import torch
from pack.tests.core import tiny_lora as tiny
from pack.vqdiffusion_core import apply_loras, read_lora
from pack.vqdiffusion_core.checkpoints import load, save
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.lora import write_lora


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a model, and two LoRAs of it."""
    folder = tmp_path_factory.mktemp("lora")
    model = tiny.model(folder / "run")
    save(model, folder / "model")
    for seed in range(2):
        write_lora(tiny.lora(model, seed=seed, size=0.5), folder / f"{seed}.safetensors")
    return folder


def generate(folder, name, *loras, model="model"):
    given = [part for lora in loras for part in ("--lora", lora)]
    target = folder / name
    arguments = ["a green image", "--model", str(folder / model), "--steps", "4", "-o", str(target)]
    assert main(["generate", *arguments, *given]) == 0
    return target.read_bytes()


def test_images_are_drawn_with_each_lora_by_its_strength(folder):
    first, second = (str(folder / f"{seed}.safetensors") for seed in range(2))
    plain, one = generate(folder, "plain.png"), generate(folder, "one.png", first)
    assert generate(folder, "none.png", f"{first}:0") == plain != one
    assert one not in (
        generate(folder, "two.png", first, f"{second}:-0.5"),
        generate(folder, "weak.png", f"{first}:0.3"),
    )


def test_a_list_is_drawn_with_them_too(folder):
    lora = str(folder / "0.safetensors")
    (folder / "list.txt").write_text("a green image\n")
    arguments = ["--prompts", str(folder / "list.txt"), "--model", str(folder / "model"), "--steps", "4"]
    assert main(["generate", *arguments, "--lora", lora, "-o", str(folder / "drawn")]) == 0
    (image,) = (folder / "drawn").glob("*.png")
    assert image.read_bytes() == generate(folder, "alone.png", lora)


def test_a_merged_model_is_the_model_with_the_lora(folder):
    lora = str(folder / "0.safetensors")
    assert main(["convert", str(folder / "model"), str(folder / "merged"), "--lora", f"{lora}:0.7"]) == 0
    expected = apply_loras(load(folder / "model"), [(read_lora(folder / "0.safetensors"), 0.7)])
    merged = load(folder / "merged")
    for part in ("transformer", "text_encoder"):
        ours, theirs = (getattr(model, part).state_dict() for model in (merged, expected))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(merged.learned_null_1LD, expected.learned_null_1LD)


@pytest.mark.parametrize("strength", ["", ":nan"])
def test_what_is_wrong_with_a_lora_is_one_line_and_nothing_is_written(strength, folder, capsys):
    lora = str(folder / ("0.safetensors" if strength else "missing.safetensors"))
    goal = folder / "never"
    assert main(["convert", str(folder / "model"), str(goal), "--lora", lora + strength]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not goal.exists()
