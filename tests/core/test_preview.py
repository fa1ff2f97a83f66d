"""Images of grids that are not finished: roughly what they decode to, and a checker where they are masked."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pack.vqdiffusion_core import preview
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.networks.specs import VQGANSpec
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from pack.vqdiffusion_core.pipeline import generate

CELL = 8  # the pocket model's, in pixels
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pocket():
    return load(POCKET_FOLDER, torch.float32).prepare_for_inference()


@pytest.fixture(scope="module")
def pocket_decoder(pocket):
    return preview.fit_linear_decoder(pocket.vqgan, CPU)


@pytest.fixture(scope="module")
def finished(pocket):
    """Two images that the pocket model draws, with their tokens."""
    states = []
    images = generate(
        pocket, "a tree on a yellow background", count=2, settings=Settings(4), on_step=lambda step, x: states.append(x)
    )
    return [*zip(states[-1].unflatten(1, (12, 12)), images, strict=True)]


def pixels(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def test_a_finished_grid_looks_as_it_decodes(pocket_decoder, finished):
    for tokens_hw, image in finished:
        error = pixels(preview.token_image(tokens_hw, pocket_decoder, CELL)) - pixels(image)
        cell_error = F.avg_pool2d(error, CELL).abs()  # of 255; one colour for each code was off by 18 and up to 107
        assert cell_error.mean() < 12 and cell_error.max() < 70
        assert error.abs().mean() < 18


def test_what_is_masked_is_a_dark_checker_and_the_rest_of_the_image_is_there(pocket_decoder, finished):
    tokens_hw, image = finished[0]
    upper = tokens_hw.clone()
    upper[6:] = pocket_decoder.codes_KD.shape[0]
    half = preview.token_image(upper, pocket_decoder, CELL)
    assert {colour for _, colour in half.crop((0, 6 * CELL, 96, 96)).getcolors()} == {(33, 33, 33), (61, 61, 61)}
    error = (pixels(half) - pixels(image))[:, : 6 * CELL]
    assert F.avg_pool2d(error, CELL).abs().mean() < 18


def test_a_token_changes_no_more_than_its_neighbours(pocket_decoder, finished):
    tokens_hw = finished[0][0]
    masked = tokens_hw.clone()
    masked[0, 0] = len(pocket_decoder.codes_KD)
    other = masked.clone()
    other[11, 11] = len(pocket_decoder.codes_KD)
    one, two = (preview.token_image(x, pocket_decoder, CELL).crop((0, 0, CELL, CELL)) for x in (masked, other))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (40, 8)])
def test_any_canvas_has_a_preview(pocket_decoder, grid):
    tokens_hw = torch.arange(grid[0] * grid[1]).view(grid)
    assert preview.token_image(tokens_hw, pocket_decoder, 3).size == (3 * grid[1], 3 * grid[0])


CODECS = {
    "small": VQGANSpec((8, 16), 1, (1,), 16, 4, 11, norm_groups=4),
    "of wide codes": VQGANSpec((8, 8, 8, 8, 8), 1, (), 8, 100, 30, norm_groups=4),
    "Gumbel": VQGANSpec((8, 16, 16), 1, (2,), 16, 8, 5, norm_groups=4, gumbel=True),
}


def untrained(name):
    torch.manual_seed(0)
    return VQGAN(CODECS[name]).eval()


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_has_a_preview_of_its_own_and_the_same_each_time(name):
    one, two = (preview.fit_linear_decoder(untrained(name), CPU) for _ in range(2))
    tokens_hw = torch.arange(6 * 6).view(6, 6) % CODECS[name].codebook_size
    assert torch.equal(one(tokens_hw), two(tokens_hw))
    assert one(tokens_hw).std() > 0


def test_random_numbers_of_the_program_are_left_alone():
    vqgan = untrained("small")
    before = torch.get_rng_state()
    preview.fit_linear_decoder(vqgan, CPU)
    assert torch.equal(torch.get_rng_state(), before)
