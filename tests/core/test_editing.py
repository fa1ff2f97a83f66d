"""Working on an image without the editor: parts with prompts of their own, masks, larger canvases, blending."""

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.diffusion.inpainting import feather_mask
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.editing import Inpaint, RegionalPrompt, initial_tokens
from pack.vqdiffusion_core.pipeline import generate
from PIL import Image

QUICK, POCKET = Settings(steps=3), ["--model", str(POCKET_FOLDER)]
CELL = 8  # pixels


@pytest.fixture(scope="module")
def pocket():
    return load(POCKET_FOLDER, "float32").prepare_for_inference()


@pytest.fixture(scope="module")
def bear(pocket):
    return generate(pocket, "a teddy bear on a blue background", seed=1, settings=QUICK)[0]


def left_half(value=255):
    mask = Image.new("L", (96, 96))
    mask.paste(value, (0, 0, 48, 96))
    return mask


def pixels(image):
    return np.asarray(image).astype(int)


def tokens(model, edit, settings=QUICK):
    """The tokens (12, 12) at the end of a run."""
    seen = []
    generate(
        model, "a tiger on red", edit=edit, settings=settings, on_step=lambda step, tokens_BN: seen.append(tokens_BN)
    )
    return seen[-1][0].view(12, 12)


# Images to work on


@pytest.mark.parametrize("feather", [0, 6])
def test_what_is_not_marked_stays_to_the_token_and_to_the_pixel(pocket, bear, feather):
    edit = Inpaint(bear, left_half(), feather=feather)
    (after,) = generate(pocket, "a tiger on a red background", edit=edit, settings=QUICK)
    changed = (pixels(after) != pixels(bear)).any(-1)
    assert changed[:, :40].any() and not changed[:, 48:].any()
    before_hw, _ = initial_tokens(pocket, edit, None)
    after_hw = tokens(pocket, edit=edit)
    assert torch.equal(before_hw[:, 6:], after_hw[:, 6:]) and not torch.equal(before_hw[:, :6], after_hw[:, :6])


def test_feathering_is_a_slope_from_the_old_image_to_the_new():
    mask_BHW = torch.zeros(1, 32, 32)
    mask_BHW[:, :, :16] = 1
    row = feather_mask(mask_BHW, 4)[0, 16]
    assert row[:12].eq(1).all() and row[16:].eq(0).all() and (row[11:17].diff() < 0).all()
    assert torch.equal(feather_mask(mask_BHW, 0), mask_BHW)


def test_a_mask_may_be_of_any_size_and_can_be_widened(pocket, bear):
    _, mask_strength_hw = initial_tokens(
        pocket, Inpaint(bear, left_half().resize((288, 200), Image.Resampling.NEAREST), grow=1), None
    )
    assert mask_strength_hw.tolist() == [[1.0] * 7 + [0.0] * 5] * 12


@pytest.mark.parametrize(("denoise", "least", "most"), [(0.0, 0, 0), (0.4, 0.1, 0.53), (1.0, 0.5, 1)])
def test_an_image_without_a_mask_is_drawn_anew_as_far_as_denoise_says(pocket, bear, denoise, least, most):
    before_hw, mask_strength_hw = initial_tokens(pocket, Inpaint(bear), None)
    changed = tokens(pocket, edit=Inpaint(bear), settings=Settings(steps=8, denoise=denoise)) != before_hw
    assert mask_strength_hw is None
    assert least <= changed.float().mean() <= most, "denoise is the share that is taken back, here within 3 sigma"


def test_an_image_is_continued_on_a_larger_canvas(pocket, bear):
    wide = Image.new("RGB", (192, 96), "white")
    wide.paste(bear)
    mask = Image.new("L", (192, 96))
    mask.paste(255, (96, 0, 192, 96))
    (after,) = generate(pocket, "a bear on blue", edit=Inpaint(wide, mask), settings=QUICK)
    assert after.size == (192, 96)
    assert (pixels(after)[:, :96] == pixels(bear)).all() and (pixels(after)[:, 96:] != 255).any()


@pytest.mark.parametrize(
    ("side", "message"), [((48, 96), "draws 96 x 96 or more"), ((100, 96), "expected whole tokens of 8 pixels")]
)
def test_an_image_that_does_not_fit_the_tokens_is_refused(pocket, bear, side, message):
    with pytest.raises(ValueError, match=message):
        generate(pocket, "a bear", edit=Inpaint(bear.resize(side)))


# Prompts for parts


def test_parts_speak_where_and_as_strongly_as_they_say():
    part = RegionalPrompt("a cat", (0.25, 0.0, 1.0, 0.5), strength=2.0)
    assert part.strength_N((2, 2)).tolist() == [1.0, 2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "changes", [{"box": (0.5, 0, 0.5, 1)}, {"box": (0, 0, 1, 1.1)}, {"start": 0.6, "end": 0.5}, {"strength": 0}]
)
def test_a_part_that_is_nowhere_or_never_is_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        RegionalPrompt("a cat", **changes)


def test_the_halves_of_a_canvas_are_drawn_from_their_own_prompts(pocket):
    parts = [
        RegionalPrompt("a fox on a red background", (0, 0, 0.5, 1)),
        RegionalPrompt("a fox on a green background", (0.5, 0, 1, 1)),
    ]
    (image,) = generate(pocket, parts=parts, size=(192, 96), settings=Settings(steps=8))
    left, right = (pixels(image)[:8, sides].mean((0, 1)) for sides in (slice(0, 80), slice(112, 192)))
    assert left[0] > left[1] and right[1] > right[0], "red rules on the left, green on the right"


# The command


def test_the_command_draws_parts_on_a_canvas(pocket, tmp_path):
    target = tmp_path / "two.png"
    where = (("0,0,0.5,1", "a fox on red"), ("0.5,0,1,1,0,0.5,2", "an owl on green"))
    arguments = ["generate", *POCKET, "--size", "192x96", "--steps", "3", "-o", str(target)]
    assert main([*arguments, *(word for pair in where for word in ("--part", *pair))]) == 0
    parts = [RegionalPrompt(where[0][1], (0, 0, 0.5, 1)), RegionalPrompt(where[1][1], (0.5, 0, 1, 1), 0, 0.5, 2)]
    (expected,) = generate(pocket, parts=parts, size=(192, 96), settings=QUICK)
    assert (pixels(Image.open(target)) == pixels(expected)).all()


def test_the_command_edits_an_image(pocket, bear, tmp_path):
    bear.save(tmp_path / "bear.png")
    left_half().save(tmp_path / "mask.png")
    given = ["--picture", tmp_path / "bear.png", "--mask", tmp_path / "mask.png", "--grow", "1", "--feather", "3"]
    arguments = ["generate", *POCKET, "a tiger on red", *map(str, given), "--steps", "3", "--sampler", "confidence"]
    assert main([*arguments, "-o", str(tmp_path / "tiger.png")]) == 0
    (expected,) = generate(
        pocket,
        "a tiger on red",
        edit=Inpaint(bear, left_half(), grow=1, feather=3),
        settings=Settings(steps=3, sampler="confidence"),
    )
    assert (pixels(Image.open(tmp_path / "tiger.png")) == pixels(expected)).all()


def edited(folder, image, *options):
    """What the command makes of an image, without a word on stderr that is not progress."""
    image.save(folder / "picture.png")
    given = ["--picture", str(folder / "picture.png"), *map(str, options)]
    assert main(["generate", *POCKET, "a tiger on red", *given, "--steps", "3", "-o", f"{folder}/tiger.png"]) == 0
    return pixels(Image.open(folder / "tiger.png"))


def test_a_mask_with_alpha_marks_its_strokes(bear, tmp_path, capsys):
    clear = Image.new("RGBA", (96, 96), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (0, 0, 48, 96))
    hole = bear.convert("RGBA")
    hole.putalpha(left_half().point(lambda value: 255 - value))
    results = []
    for name, mask in (("white", left_half()), ("strokes", clear), ("hole", hole)):
        mask.save(tmp_path / f"{name}.png")
        results.append(edited(tmp_path, bear, "--mask", tmp_path / f"{name}.png"))
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()
    assert (results[0] != pixels(bear)).any() and "marked" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "line"), [(0, "Nothing is marked, so the image stays"), (255, "All of the image is marked")]
)
def test_a_mask_of_nothing_or_everything_is_said_once(bear, value, line, tmp_path, capsys):
    Image.new("L", (50, 50), value).save(tmp_path / "mask.png")
    after = edited(tmp_path, bear, "--mask", tmp_path / "mask.png", "--count", "1")
    assert (after == pixels(bear)).all() == (value == 0)
    assert capsys.readouterr().err.count(f"vqdiffusion: {line}") == 1


def test_images_are_upright_and_of_8_bits_before_they_are_edited(bear, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    bear.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    grey = bear.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    nothing = Image.new("L", (96, 96))
    for image, shown in ((Image.open(tmp_path / "lying.png"), bear), (deep, grey.convert("RGB"))):
        (after,) = generate(load(POCKET_FOLDER), edit=Inpaint(image, nothing), settings=QUICK)
        assert (pixels(after) == pixels(shown)).all()


def test_a_transparent_image_lies_on_white_or_a_chosen_colour(bear, tmp_path):
    layer = bear.convert("RGBA")
    layer.paste((0, 200, 0, 0), (48, 0, 96, 96))
    Image.new("L", (96, 96)).save(tmp_path / "mask.png")
    for options, colour in (((), (255, 255, 255)), (("--background", "#102030"), (16, 32, 48))):
        after = edited(tmp_path, layer, "--mask", tmp_path / "mask.png", *options)
        assert (after[:, 48:] == colour).all() and (after[:, :48] == pixels(bear)[:, :48]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "left", "a cat"], "--part is 'left'; expected LEFT,TOP,RIGHT,BOTTOM"),
        (["--part", "0,0,0.5,1,0.2", "a cat"], "--part is '0,0,0.5,1,0.2'"),
        (["--part", "0.5,0,0.2,1", "a cat"], "expected left < right"),
        (["a cat", "--mask", "mask.png"], "--mask is given without an image"),
        (["a cat", "--size", "40x40"], "draws 96 x 96 or more"),
        (["a cat", "--picture", "nowhere.png"], "nowhere.png"),
    ],
)
def test_a_mistake_in_an_edit_is_one_line(arguments, message, tmp_path, capsys):
    target = tmp_path / "none.png"
    assert main(["generate", *POCKET, *arguments, "-o", str(target)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not target.exists()
