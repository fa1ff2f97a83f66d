"""From network to prediction: guidance, truncation, and only where it is asked for."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from pack.vqdiffusion_core.diffusion.denoiser import SIZES, ConditionCache, Denoiser
from pack.vqdiffusion_core.diffusion.guidance import Guidance, GuidanceScale, Prompt, cfg
from pack.vqdiffusion_core.diffusion.logits import apply_truncation
from pack.vqdiffusion_core.diffusion.predictor import Predictor
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.networks import kernels

from .. import tiny

EVERYWHERE = torch.ones(2, tiny.SPEC.num_tokens, dtype=torch.bool)


def predict(guidance, x=None, where=EVERYWHERE, t=6):
    x = tiny.tokens(batch=2) if x is None else x
    return Denoiser(tiny.transformer(), tiny.SCHEDULE, guidance)(x, t, where)


def plain(text, t=6):
    network = tiny.transformer()
    memory = network.precompute_kv(text.expand(2, -1, -1))
    with torch.no_grad():
        return network(tiny.tokens(batch=2), torch.tensor([t - 1]), memory).log_softmax(-1).flatten(0, 1)


@pytest.mark.parametrize("scale", [0, 0.5, 1, 1.5, 5])
@pytest.mark.parametrize("null_length", [7, 14], ids=["one pass", "two passes"])
def test_guidance_is_the_papers_formula(scale, null_length):
    cond, null = tiny.text(1), tiny.text(2, null_length)
    log_p, log_p_null = plain(cond), plain(null)
    mixed = log_p_null + scale * (log_p - log_p_null)
    expected = mixed - mixed.logsumexp(-1, keepdim=True)
    torch.testing.assert_close(predict(cfg(cond, null, scale)), expected, atol=1e-5, rtol=1e-5)


def test_the_mix_is_that_of_the_diffusers_pipeline():
    log_p, log_p_null = plain(tiny.text(1)), plain(tiny.text(2))
    for scale in (1.5, 5.0):
        theirs = log_p_null + scale * (log_p - log_p_null)  # its __call__, batched as (B, K, N)
        theirs -= torch.logsumexp(theirs, dim=-1, keepdim=True)
        ours = predict(cfg(tiny.text(1), tiny.text(2), scale))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def unguided(*prompts):
    return Guidance(prompts, [], None, GuidanceScale(1.0))


def test_a_condition_of_weight_zero_is_not_computed():
    broken = Prompt(torch.full((1, 7, tiny.SPEC.text_width), float("nan")), start=0.5)
    guidance = unguided(Prompt(tiny.text(1)), broken)
    torch.testing.assert_close(predict(guidance), plain(tiny.text(1)), atol=1e-5, rtol=1e-5)
    assert predict(guidance, t=4).isnan().any()


def test_a_weight_by_token_is_a_prompt_by_region():
    left = torch.zeros(tiny.SPEC.grid)
    left[:, :2] = 1
    left = left.flatten()
    guidance = unguided(Prompt(tiny.text(1), left), Prompt(tiny.text(2), 1 - left))
    expected = torch.where(left.repeat(2)[:, None] > 0, plain(tiny.text(1)), plain(tiny.text(2)))
    torch.testing.assert_close(predict(guidance), expected, atol=1e-5, rtol=1e-5)


def test_only_the_asked_positions_come_back_in_order():
    where = torch.zeros_like(EVERYWHERE)
    where[0, 3] = where[1, 0] = where[1, 15] = True
    expected = plain(tiny.text(1)).view(2, -1, tiny.SPEC.codebook_size)[where]
    ours = predict(unguided(Prompt(tiny.text(1))), where=where)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_whatever_is_asked_for_the_network_works_in_a_few_shapes_alone(monkeypatch):
    """oneDNN compiles a kernel for every shape and keeps up to 1024 of them, 0.3 MB each and more by the holes that
    they leave in the heap; a run asks for other numbers of tokens in every step.
    """
    spec = replace(tiny.SPEC, grid=(8, 8))
    shapes, linear = set(), kernels.linear

    def watched(x, weight, bias=None):
        shapes.add((x.shape, weight.shape))
        return linear(x, weight, bias)

    monkeypatch.setattr(kernels, "linear", watched)
    denoiser = Denoiser(tiny.transformer(spec=spec), tiny.SCHEDULE, cfg(tiny.text(1), tiny.text(2), 2.0))
    x = torch.zeros(1, spec.num_tokens, dtype=torch.int64)
    for count in range(1, spec.num_tokens + 1):
        assert len(denoiser(x, 6, torch.arange(spec.num_tokens)[None] < count)) == count
    shapes_by_layer = Counter(weight for _, weight in shapes)
    assert max(shapes_by_layer.values()) <= SIZES


def test_a_position_of_the_batch_has_a_text_of_its_own():
    both = torch.cat([tiny.text(1), tiny.text(2)])
    ours = predict(unguided(Prompt(both))).view(2, -1, tiny.SPEC.codebook_size)
    for i, text in enumerate([tiny.text(1), tiny.text(2)]):
        torch.testing.assert_close(ours[i], plain(text).view_as(ours)[i], atol=1e-5, rtol=1e-5)


def test_where_images_go_through_one_by_one_each_has_its_own_regions():
    left = torch.arange(tiny.SPEC.num_tokens) % 4 < 2
    strength = torch.stack([left, ~left]).float()
    guidance = unguided(Prompt(tiny.text(1), strength), Prompt(tiny.text(2), 1 - strength))
    denoiser = Denoiser(tiny.transformer(), tiny.SCHEDULE, guidance)
    together = denoiser(tiny.tokens(batch=2), 6, EVERYWHERE)
    alone = [denoiser(tiny.tokens(batch=2), 6, EVERYWHERE, slice(i, i + 1)) for i in range(2)]
    torch.testing.assert_close(torch.cat(alone), together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rate", [0, 0.3, 0.86, 0.99])
def test_truncation_keeps_what_diffusers_keeps(rate):
    from diffusers import VQDiffusionPipeline

    logits = 3 * torch.randn(50, 40, generator=torch.Generator().manual_seed(3))
    log_p = logits.log_softmax(-1)
    theirs = VQDiffusionPipeline.truncate(None, log_p.T[None], rate)[0].T
    kept = apply_truncation(log_p, rate) > float("-inf")
    assert torch.equal(kept, theirs > float("-inf"))
    mass = (log_p.exp() * kept).sum(-1)
    assert (mass >= rate).all() and (kept.sum(-1) >= 1).all()
    if rate == 0:
        assert (kept.sum(-1) == 1).all()


@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 0.86, 0.999])
@pytest.mark.parametrize("sharpness", [0.01, 3], ids=["flat", "peaked"])
def test_truncation_among_many_ids_keeps_what_sorting_all_keeps(rate, sharpness):
    """Rounded logits, so that many ids are equally likely, and more of them than are looked at first."""
    logits = (20 * sharpness * torch.randn(6, 1500, generator=torch.Generator().manual_seed(0))).round() / 20
    log_p = logits.log_softmax(-1)
    falling, order = log_p.exp().sort(dim=-1, descending=True, stable=True)
    count = (falling.cumsum(-1) - falling < rate).sum(-1).clamp(min=1)
    kept = apply_truncation(log_p, rate) > float("-inf")
    assert [set(row.nonzero()[:, 0].tolist()) for row in kept] == [
        set(ids[:n].tolist()) for ids, n in zip(order, count, strict=True)
    ]


def test_truncation_by_hand():
    log_p = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    kept = {
        rate: (apply_truncation(log_p, rate) > float("-inf")).int().tolist() for rate in (0, 0.4, 0.41, 0.7, 0.71, 1)
    }
    assert kept == {
        0: [0, 0, 0, 1],
        0.4: [0, 0, 0, 1],
        0.41: [0, 0, 1, 1],
        0.7: [0, 0, 1, 1],
        0.71: [0, 1, 1, 1],
        1: [1, 1, 1, 1],
    }
    ties = apply_truncation(torch.full((4,), 0.25).log(), 0.5)
    assert (ties > float("-inf")).int().tolist() == [1, 1, 0, 0]


def test_truncation_follows_guidance():
    guidance = cfg(tiny.text(1), tiny.text(2), 5.0)
    denoiser = Denoiser(tiny.transformer(), tiny.SCHEDULE, guidance)
    x = tiny.tokens(batch=2)
    expected = apply_truncation(denoiser(x, 6, EVERYWHERE), 0.5)
    predict = Predictor(denoiser, Settings(truncation=0.5).logits_processors(), 0.0)
    assert torch.equal(predict.distribution(x, 6, EVERYWHERE, slice(0, 2))[0], expected)


@pytest.mark.parametrize("texts", [1, 3])
def test_what_is_read_of_a_text_is_kept_once_however_many_images_share_it(texts):
    text = torch.cat([tiny.text(seed) for seed in range(texts)])
    cache = ConditionCache(tiny.transformer(), [text, tiny.text(7)])
    read = [cache.read((0, 1), images) for images in (slice(0, 3), slice(0, 2))]
    kept = [len(kv[0][0]) for kv in read if isinstance(kv, list)]  # keys of the first layer
    assert kept == ([2, 2] if texts == 1 else [6, 4])
    assert (read[0] is read[1]) == (texts == 1)
