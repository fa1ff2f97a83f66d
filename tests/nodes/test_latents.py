from dataclasses import replace

import pytest
import torch
from pack.nodes import latents
from pack.tests.core import tiny

K = 11
SPEC = replace(tiny.SPEC, codebook_size=K, grid=(4, 5))


def samples(*rows):
    return torch.tensor([[rows]], dtype=torch.float32)


def test_tokens_survive_the_way_through_a_latent():
    tokens = torch.randint(0, K + 1, (3, 4, 5))
    assert torch.equal(latents.read_tokens(latents.to_samples(tokens), K), tokens)


def test_ids_of_the_largest_codebook_are_exact_in_float32():
    tokens = torch.arange(16384 - 12, 16385).view(1, 1, -1)
    assert torch.equal(latents.read_tokens(latents.to_samples(tokens), 16384), tokens)


def test_an_empty_canvas_is_all_masked_and_not_all_zero():
    assert latents.empty(2, (4, 5), K)["samples"].unique().tolist() == [K]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.zeros(1, 4, 8, 8), "grid of 8 x 8 with 4 channels"),
        (torch.zeros(1, 16, 1, 8, 8), r"a tensor \(1, 16, 1, 8, 8\) of float32"),
        (None, "This latent is None"),
        (samples([0, 2.5], [1, 3]), "between the codebook ids"),
        (samples([0, float("nan")], [1, 3]), "between the codebook ids"),
        (samples([0, 12], [1, 3]), "ids from 0 to 12; expected 0 to 10, or 11"),
        (samples([0, -1], [1, 3]), "ids from -1 to 3"),
        (samples([0, float("inf")], [1, 3]), "between the codebook ids|ids from"),
    ],
)
def test_what_is_no_token_grid_is_refused(bad, words):
    with pytest.raises(latents.LatentError, match=words):
        latents.read_tokens(bad, K)


def test_a_smaller_grid_is_refused_with_both_sizes_and_the_pixels_to_use():
    words = "3 x 5 tokens; this model draws 5 x 4 or more, an image of 40 x 32 pixels"
    with pytest.raises(latents.LatentError, match=words):
        latents.read_canvas({"samples": torch.zeros(1, 1, 5, 3)}, SPEC, 8)


def test_a_larger_grid_is_a_canvas():
    assert latents.read_canvas({"samples": torch.zeros(1, 1, 4, 9)}, SPEC, 8).shape == (1, 4, 9)


@pytest.mark.parametrize("shape", [(8, 10), (1, 8, 10), (1, 1, 8, 10)])
def test_a_mask_of_any_layout_marks_the_cells_that_it_touches(shape):
    mask = torch.zeros(8, 10)
    mask[3, 9] = 0.01
    region = latents.to_region(mask.view(shape), 2, (4, 5))
    assert region.nonzero().tolist() == [[0, 1, 4], [1, 1, 4]]


def test_a_region_grows_by_tokens_on_every_side():
    mask = torch.zeros(1, 8, 8)
    mask[0, 4, 4] = 1
    assert latents.to_region(mask, 1, (4, 4), grow=1)[0].sum() == 9


def test_fewer_masks_than_images_repeat_as_in_the_core():
    masks = torch.tensor([0.0, 1.0]).view(2, 1, 1).expand(2, 4, 4)
    assert latents.to_region(masks, 3, (2, 2))[:, 0, 0].tolist() == [0, 1, 0]


def test_the_region_in_pixels_is_whole_tokens():
    region = torch.tensor([[[True, False], [False, False]]])
    mask = latents.to_mask(region, (12, 8))
    assert mask.shape == (1, 12, 8)
    assert mask[0, :6, :4].min() == 1 and mask.sum() == 24


def test_a_mask_that_is_no_whole_number_of_cells_gives_eight_pixels_a_token():
    assert latents.to_mask(torch.ones(1, 2, 3, dtype=torch.bool), (5, 5)).shape == (1, 16, 24)


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (2, 1, 8, 8)])
def test_a_mask_that_another_node_has_broken_is_refused(shape):
    """It would mark nothing, in silence."""
    with pytest.raises(latents.LatentError, match="This mask has values that are not numbers"):
        latents.read_region({"samples": samples([1, 2]), "noise_mask": torch.full(shape, float("nan"))})
