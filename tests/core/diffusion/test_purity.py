"""The purity prior as the paper's code has it: truncated, measured by the image's purest token, then sharpened."""

import pytest
import torch
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS, Settings
from pack.vqdiffusion_core.networks.specs import TransformerSpec
from scipy.stats import chisquare

K, SIDE = 4, 64
N = SIDE * SIDE
SPEC = TransformerSpec(K, (SIDE, SIDE), 1, 1, 1, 100, condition="none")
SURE, UNSURE = [0.55, 0.30, 0.10, 0.05], [0.36, 0.34, 0.2, 0.1]  # p(x_0 | x_t) of even and odd tokens
KNOWN = [0.91, 0.03, 0.03, 0.03]  # of a token that is visible


class World:
    """A network that predicts these, whatever it sees."""

    spec = SPEC
    dtype = torch.float32

    def hidden(self, x_BN, index_B, memory, places_BM=None):
        p_NK = torch.tensor([SURE, UNSURE]).repeat(N // 2, 1)
        p_BNK = torch.where((x_BN == K)[..., None], p_NK, torch.tensor(KNOWN))
        return p_BNK if places_BM is None else p_BNK.gather(1, places_BM[..., None].expand(-1, -1, K))

    def to_logits(self, h_MK):
        return h_MK.log()


def of_the_original(p_NK, rate, weight):
    """What its p_sample draws from, in its order and with its floor: p_NK, of all tokens of an image."""
    falling, order = p_NK.sort(descending=True, stable=True)
    kept = torch.zeros_like(p_NK, dtype=torch.bool).scatter_(1, order, falling.cumsum(1) - falling < rate)
    log_p_NK = p_NK.log().masked_fill(~kept, -70.0)
    score_N = log_p_NK.exp().amax(1)
    score_N = score_N / score_N.max()
    return ((1 + weight * score_N[:, None]) * log_p_NK).softmax(1)


def draw(tokens, seed=0, **changes):
    settings = Settings(**{"steps": 1, "guidance": 1.0} | changes)
    return [s.x_BN[0] for s in sample(World(), Schedule.linear(100, K), UNCONDITIONAL, tokens, None, settings, [seed])]


BLANK = torch.full((1, N), K)
UNCONDITIONAL = cfg(None, None, 1.0)


@pytest.mark.parametrize("known", [0, 64], ids=["blank", "with known tokens"])
@pytest.mark.parametrize("weight", [0.5, 3.0])
@pytest.mark.parametrize("rate", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_tokens_are_drawn_from_what_the_paper_s_code_draws_from(sampler, rate, weight, known):
    tokens = BLANK.clone()
    tokens[0, :known] = 0
    p_NK = torch.tensor([SURE, UNSURE]).repeat(N // 2, 1)
    p_NK[:known] = torch.tensor(KNOWN)
    expected = of_the_original(p_NK, rate, weight)[known : known + 2]
    region = torch.ones(1, N)
    region[0, :known] = 0
    settings = Settings(steps=1, sampler=sampler, truncation=rate, sharpness=weight)
    *_, last = sample(World(), Schedule.linear(100, K), UNCONDITIONAL, tokens, region, settings, [0])
    for p_K, drawn in zip(expected, (last.x_BN[0, known::2], last.x_BN[0, known + 1 :: 2]), strict=True):
        seen, possible = torch.bincount(drawn, minlength=K), p_K > 1e-9
        assert not seen[~possible].any()
        if possible.sum() > 1:
            share = p_K[possible].double()
            assert chisquare(seen[possible], share / share.sum() * len(drawn)).pvalue > 1e-4


@pytest.mark.parametrize("weight", [0.5, 2.0])
@pytest.mark.parametrize("sharpness", [0.0, 4.0])
def test_the_order_is_by_purity_as_it_was_before_sharpening(sharpness, weight):
    _, first, *_ = draw(BLANK, steps=100, sampler="purity", purity=weight, sharpness=sharpness, truncation=0.9)
    sure, loss_mask = ((first[i::2] < K).sum().item() for i in (0, 1))
    _, later, *_ = draw(BLANK, steps=20, sampler="purity", purity=weight, sharpness=sharpness, truncation=0.9)
    sure, loss_mask = (a + (later[i::2] < K).sum().item() for i, a in enumerate((sure, loss_mask)))
    expected = torch.tensor([SURE[0] ** weight, UNSURE[0] ** weight])
    assert chisquare([sure, loss_mask], expected / expected.sum() * (sure + loss_mask)).pvalue > 1e-3


def test_an_image_does_not_depend_on_the_purest_token_of_another():
    tokens = torch.stack([torch.full((N,), K), torch.tensor([0, K]).repeat(N // 2)])
    level = torch.stack([torch.ones(N), torch.tensor([0.0, 1.0]).repeat(N // 2)])
    settings = Settings(steps=4, sampler="ancestral", sharpness=3.0)

    def last(count):
        states = sample(
            World(), Schedule.linear(100, K), UNCONDITIONAL, tokens[:count], level[:count], settings, list(range(count))
        )
        *_, state = states
        return state.x_BN

    assert torch.equal(last(2)[:1], last(1))
