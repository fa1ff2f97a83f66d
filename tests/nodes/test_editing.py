"""Token Mask and Token Inspector, and the images of tokens."""

import re

import folder_paths
import pytest
import torch
from pack.nodes.inpainting import VQDiffusionTokenMask
from pack.nodes.inspector import CELL, VQDiffusionTokenInspector
from pack.nodes.latents import LatentError
from pack.nodes.prompt import VQDiffusionTextEncode
from pack.nodes.sampling import VQDiffusionSampler
from pack.nodes.tokens import VQDiffusionEmptyTokens
from pack.vqdiffusion_core import editing, preview
from PIL import Image

MASK = 11


def tokens(batch=1):
    return {"samples": torch.arange(16).remainder(MASK).float().view(1, 1, 4, 4).repeat(batch, 1, 1, 1)}


@pytest.fixture(autouse=True)
def temp(monkeypatch, tmp_path):
    """Where ComfyUI keeps what only the editor shows."""
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    return tmp_path


def test_a_mask_marks_tokens_and_comes_back_as_the_region_really_drawn():
    mask = torch.zeros(1, 32, 32)
    mask[0, 9, 9] = 0.2
    marked, region = VQDiffusionTokenMask.execute(tokens(2), grow=0, mask=mask).args
    assert torch.equal(marked["samples"], tokens(2)["samples"])
    assert marked["noise_mask"].shape == (2, 1, 4, 4) and marked["noise_mask"][0, 0].nonzero().tolist() == [[1, 1]]
    assert region.shape == (2, 32, 32) and region[0].nonzero().amin(0).tolist() == [8, 8] and region[0].sum() == 64


def test_a_feathered_region_fades_in_from_its_edge_and_marks_the_same_tokens():
    hard, soft = (VQDiffusionTokenMask.execute(tokens(), 0, painted="4x4: 0-1,0-3", feather=n).args for n in (0, 4))
    assert torch.equal(hard[0]["noise_mask"], soft[0]["noise_mask"])
    across = soft[1][0, 10]
    assert hard[1][0, 10].tolist() == [1.0] * 16 + [0.0] * 16
    assert across[:12].min() == 1 and not across[16:].any(), "the border of the image is no edge"
    assert (across[12:16].diff() < 0).all() and 0 < across[15] < 0.3


def test_what_is_painted_is_added_to_the_mask_and_both_grow():
    mask = torch.zeros(1, 4, 4)
    mask[0, 0, 0] = 1
    marked, _ = VQDiffusionTokenMask.execute(tokens(), grow=1, mask=mask, painted="4x4: 3,3").args
    assert marked["noise_mask"][0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_a_painting_alone_is_a_region_in_the_pixels_of_the_image(model):
    marked, region = VQDiffusionTokenMask.execute(tokens(), grow=0, vae=model.vae, painted="4x4: 1-2,1").args
    assert marked["noise_mask"][0, 0].nonzero().tolist() == [[1, 1], [1, 2]]
    assert region.shape == (1, 16, 16) and region[0].nonzero().amin(0).tolist() == [4, 4] and region.sum() == 32


def test_a_painting_of_another_grid_is_laid_over_the_whole_image():
    marked, _ = VQDiffusionTokenMask.execute(tokens(), grow=0, painted="2x2: 1,0").args
    assert marked["noise_mask"][0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def told(**given):
    """What Token Mask says about a region."""
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editing, "notify", lines.append)  # the node's own listener shows it in the editor
        marked, _ = VQDiffusionTokenMask.execute(tokens(), **given).args
    return marked["noise_mask"], lines


def test_nothing_painted_and_no_mask_marks_nothing():
    marked, (line,) = told(grow=2)
    assert not marked.any() and line.startswith("Nothing is marked")


def test_a_region_of_everything_is_said_and_any_other_is_not():
    marked, (line,) = told(grow=0, mask=torch.full((1, 4, 4), 0.01))
    assert marked.all() and line.startswith("All of the image is marked")
    assert told(grow=0, painted="4x4: 1,1")[1] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("heart", "begins with 'heart'; expected its columns and rows"),
        ("0x4:", "from 1 to 256"),
        ("257x4:", "from 1 to 256"),
        ("4x4: 1;2", "part '1;2'; expected columns and rows"),
        ("4x4: 4,0", "part '4,0'; expected columns from 0 to 3 and rows from 0 to 3"),
        ("4x4: 2-1,0", "the lower first"),
        ("4x4:" + " 0,0" * 500_000, "2000004 characters long"),
    ],
)
def test_what_is_no_painting_is_refused(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        VQDiffusionTokenMask.execute(tokens(), grow=0, painted=text)


def test_the_canvas_gets_the_first_image_with_its_masked_tokens(model, temp):
    half = tokens(2)
    half["samples"][0, 0, :2] = MASK
    (canvas,) = VQDiffusionTokenMask.execute(half, grow=0, vae=model.vae).ui["vq_canvas"]
    (file,) = canvas["images"]
    assert canvas["grid"] == [4, 4] and file["type"] == "temp"
    with Image.open(temp / file["filename"]) as image:
        assert image.size == (16, 16)
        upper = {colour for _, colour in image.crop((0, 0, 16, 8)).getcolors()}
    assert upper == {(33, 33, 33), (61, 61, 61)}


def test_the_inspector_shows_masked_tokens_as_dark_checkers(model):
    half = tokens()
    half["samples"][0, 0, :2] = MASK
    (image,) = VQDiffusionTokenInspector.execute(half, model.vae).args
    assert image.shape == (1, 4 * CELL, 4 * CELL, 3)
    squares = image[0, CELL // 4 : 2 * CELL : CELL // 2, CELL // 4 :: CELL // 2]  # the middles of the checker's squares
    greys = sorted({round(value, 3) for value in squares.flatten().tolist()})
    assert greys == sorted(preview.CHECKER)
    assert image[0, 2 * CELL :].std() > image[0, : 2 * CELL].std()


def test_an_empty_canvas_can_be_inspected(model):
    (image,) = VQDiffusionTokenInspector.execute({"samples": torch.full((2, 1, 4, 4), MASK)}, model.vae).args
    assert len(image) == 2 and image.max() < 0.3


def drawn(model, **changes):
    positive = VQDiffusionTextEncode.execute(model.clip, "red")[0]
    canvas = VQDiffusionEmptyTokens.execute(model, 2)[0]
    settings = {"seed": 0, "steps": 4, "guidance": 1.0, "truncation": 1.0, "sampler": "ancestral", "denoise": 1.0}
    return VQDiffusionSampler.execute(model, positive, canvas, **settings | changes)[0]


def test_the_history_is_an_image_for_every_step_with_what_changed_in_a_frame(model):
    latent = drawn(model)
    (images,) = VQDiffusionTokenInspector.execute(latent, model.vae, "history").args
    assert images.shape == (5, 4 * CELL, 4 * CELL, 3)
    history = latent["vq_history"]
    corners = images[:, CELL - 1 :: CELL, CELL - 1 :: CELL]  # where frames are and grid lines are not
    framed = torch.isclose(corners, torch.tensor(preview.MARK)).all(-1)
    for step in range(1, 5):
        assert torch.equal(framed[step], history.first_Shw[step] != history.first_Shw[step - 1])
    assert not framed[0].any()


def test_the_editor_is_told_when_and_how_surely_each_token_was_drawn(model):
    latent = drawn(model)
    told = VQDiffusionTokenInspector.execute(latent, model.vae).ui["vq_tokens"][0]
    assert told["grid"] == [4, 4] and told["steps"] == 4 and len(told["frames"]) == 5
    assert told["ids"] == latent["samples"][0].flatten().int().tolist()
    assert set(told["drawn_at"]) <= {1, 2, 3, 4} and all(0 < sure <= 1 for sure in told["confidence"])


def test_tokens_that_a_node_has_changed_have_no_history(model):
    latent = drawn(model)
    flipped = latent | {"samples": latent["samples"].flip(2)}
    assert "steps" not in VQDiffusionTokenInspector.execute(flipped, model.vae).ui["vq_tokens"][0]
    for show in ("confidence", "history"):
        with pytest.raises(LatentError, match="These tokens have no history"):
            VQDiffusionTokenInspector.execute(flipped, model.vae, show)


def test_doubtful_tokens_are_tinted(model):
    latent = drawn(model)
    (plain,), (tinted,) = (
        VQDiffusionTokenInspector.execute(latent, model.vae, show).args for show in ("tokens", "confidence")
    )
    change_hw = (plain - tinted).abs().mean(-1)[0].unflatten(0, (4, CELL)).unflatten(2, (4, CELL)).mean((1, 3))
    doubt_hw = 1 - latent["vq_history"].confidence_Bhw[0]
    assert torch.corrcoef(torch.stack([change_hw.flatten(), doubt_hw.flatten()]))[0, 1] > 0.5


def test_what_stands_in_for_masked_tokens_is_the_most_frequent_visible_id():
    grid = torch.tensor([[[3, 3, 2], [MASK, MASK, MASK]], [[MASK] * 3, [MASK] * 3]])
    assert preview.fill_masked(grid, MASK).tolist() == [[[3, 3, 2], [3, 3, 3]], [[0] * 3, [0] * 3]]
    assert grid[0, 1, 0] == MASK, "the tokens themselves were changed"
