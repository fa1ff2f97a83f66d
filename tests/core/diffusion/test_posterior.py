"""The reverse step: equal to Bayes by enumeration, to the published tables, to diffusers, and to its own cheap draw."""

import itertools

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core.diffusion.noise import categorical
from pack.vqdiffusion_core.diffusion.posterior import (
    change_probability,
    draw_posterior,
    draw_prior,
    q_posterior,
    q_sample,
)
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from scipy.stats import chisquare

from .. import reference
from .test_schedule import matrix

m = 3  # the mask token of the tables, K = 3
DEFAULT, REPLACING = Schedule.linear(100, 3), Schedule.linear(10, 3, gamma_end=0.9)
# (schedule, t, s, x_t, p(x_s = 0, 1, 2, mask | x_t)) for p(x_0) = (.7, .2, .1); t and s counted from 1, 0 = clean
TABLE = [
    (DEFAULT, 2, 1, 0, (0.99696973, 0.00202018, 0.00101009, 0)),
    (DEFAULT, 2, 1, 2, (0.00707064, 0.00202018, 0.99090918, 0)),
    (DEFAULT, 2, 1, m, (0.69937648, 0.19982209, 0.09991121, 0.00089022)),
    (DEFAULT, 51, 50, 0, (0.99400011, 0.00399992, 0.00199996, 0)),
    (DEFAULT, 51, 50, 2, (0.01399973, 0.00399993, 0.98200033, 0)),
    (DEFAULT, 51, 50, m, (0.01399974, 0.00399993, 0.00199997, 0.98000036)),
    (DEFAULT, 100, 99, 0, (0.7002753, 0.1998129, 0.0999118, 0)),
    (DEFAULT, 100, 99, 2, (0.69933743, 0.19983195, 0.10083061, 0)),
    (DEFAULT, 100, 99, m, (0.00707028, 0.00202032, 0.00101033, 0.98989908)),
    (DEFAULT, 100, 75, m, (0.17676572, 0.05050473, 0.02525253, 0.74747702)),
    (DEFAULT, 100, 75, 0, (0.70001102, 0.19999251, 0.09999647, 0)),
    (DEFAULT, 51, 26, 0, (0.89864991, 0.06756671, 0.03378338, 0)),
    (DEFAULT, 51, 26, 2, (0.23648346, 0.0675668, 0.69594974, 0)),
    (DEFAULT, 51, 26, m, (0.34999352, 0.09999831, 0.04999927, 0.50000891)),
    (DEFAULT, 26, 0, 0, (0.7, 0.2, 0.1, 0)),
    (DEFAULT, 26, 0, 2, (0.7, 0.2, 0.1, 0)),
    (DEFAULT, 26, 0, m, (0.7, 0.2, 0.1, 0)),
    (REPLACING, 6, 5, 0, (0.89417039, 0.06958131, 0.0362483, 0)),
    (REPLACING, 6, 5, 2, (0.24136595, 0.0747009, 0.68393315, 0)),
    (REPLACING, 6, 5, m, (0.13456585, 0.04197442, 0.02345613, 0.8000036)),
    (REPLACING, 10, 9, 0, (0.53714, 0.25920764, 0.20365236, 0)),
    (REPLACING, 10, 9, m, (0.0596717, 0.02880574, 0.02263255, 0.88889)),
    (REPLACING, 10, 5, m, (0.37379703, 0.11659653, 0.06515643, 0.44445)),
]
P = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)


@pytest.mark.parametrize(("schedule", "t", "s", "x", "expected"), TABLE)
def test_the_published_tables(schedule, t, s, x, expected):
    row = q_posterior(P.view(1, 1, 3), torch.tensor([[x]]), s, t, schedule)[0, 0]
    np.testing.assert_allclose(row, expected, atol=1e-7)


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("kind", ["default", "replacing", "uniform", "absorbing"])
def test_the_posterior_is_bayes_by_enumeration(K, kind):
    ends = {"default": (9e-6, 0.99999), "replacing": (0.02, 0.8), "uniform": (0.05, 0.0), "absorbing": (0.1, 0.9)}
    alpha_end, gamma_end = ends[kind]
    gamma_start = 0.0 if kind == "uniform" else 1e-5
    alpha_start = 1 - gamma_start if kind == "absorbing" else 0.999
    schedule = Schedule.linear(6, K, alpha_start, alpha_end, gamma_start, gamma_end)
    generator = torch.Generator().manual_seed(K)
    p = torch.rand(K, generator=generator, dtype=torch.float64)
    p /= p.sum()
    for s, t in itertools.combinations([0, 1, 2, 3.5, 5, 6], 2):
        to_s, to_t, jump = (matrix(kernel, K) for kernel in (schedule.bar(s), schedule.bar(t), schedule.jump(s, t)))
        for x in range(K + 1):
            reachable = to_t[:K, x] > 0
            if not reachable.all():
                continue  # Bayes has no answer where x_t cannot come from an x_0; see the next test
            # sum over x_0 of q(x_t = x | x_s) q(x_s | x_0) / q(x_t = x | x_0) p(x_0)
            bayes = sum(p[i].item() * jump[:, x] * to_s[i] / to_t[i, x] for i in range(K))
            ours = q_posterior(p.view(1, 1, K), torch.tensor([[x]]), s, t, schedule)[0, 0]
            np.testing.assert_allclose(ours, bayes, atol=1e-12)


def test_what_is_visible_stays_under_a_kernel_that_never_replaces():
    schedule = Schedule.linear(6, 3, 1 - 1e-5, 0.1, 1e-5, 0.9)
    for s, t in [(0, 1), (0, 6), (3, 4)]:
        row = q_posterior(P.view(1, 1, 3), torch.tensor([[1]]), s, t, schedule)[0, 0]
        np.testing.assert_allclose(row, [0, 1, 0, 0], atol=1e-12)


def check_draw(schedule, t, s, x, law):
    """200,000 cheap draws have these chances of the ids and the mask."""
    count = 200_000
    generator = torch.Generator().manual_seed(1)
    coin, pick = torch.rand(2, count, generator=generator, dtype=torch.float64)
    x_M = torch.full((count,), x)
    x0_M = categorical(P.log().expand(count, 3), pick)
    changed = coin < change_probability(x_M, s, t, schedule)
    drawn = torch.where(changed, draw_posterior(x_M, x0_M, s, t, schedule, coin), x_M)
    frequencies = torch.bincount(drawn, minlength=4).numpy()
    possible = np.array(law) > 0
    assert frequencies[~possible].sum() == 0
    chances = np.array(law)[possible]
    assert chisquare(frequencies[possible], count * chances / chances.sum()).pvalue > 1e-4


@pytest.mark.parametrize(("schedule", "t", "s", "x", "expected"), TABLE)
def test_the_cheap_draw_has_the_law_of_the_table(schedule, t, s, x, expected):
    check_draw(schedule, t, s, x, expected)


@pytest.mark.parametrize(("t", "s"), [(9, 8), (10, 8), (10, 9)])
def test_the_cheap_draw_has_the_law_where_hardly_anything_is_left_of_the_image(t, s):
    schedule = Schedule.linear(10, 3, alpha_end=0.0, gamma_start=0.0, gamma_end=0.0)
    assert schedule.bar(s).alpha < schedule.bar(s).beta
    law = q_posterior(P.view(1, 1, 3), torch.tensor([[0]]), s, t, schedule)[0, 0]
    check_draw(schedule, t, s, 0, law.numpy())


def test_no_coin_leaves_a_mask_behind_at_the_end():
    x_M = torch.full((2,), m)
    coin = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert (coin < change_probability(x_M, 0, 37, DEFAULT)).all()
    assert draw_posterior(x_M, torch.tensor([1, 2]), 0, 37, DEFAULT, coin).tolist() == [1, 2]


def test_the_forward_process_has_the_frequencies_of_its_bars():
    count = 200_000
    coin = torch.rand(count, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for t in [1, 5, 10]:
        bar = REPLACING.bar(t)
        frequencies = torch.bincount(q_sample(torch.full((count,), 1), t, REPLACING, coin), minlength=4).numpy()
        law = np.array([bar.beta, bar.alpha + bar.beta, bar.beta, bar.gamma])
        assert chisquare(frequencies, count * law).pvalue > 1e-4
    x = torch.tensor([0, 1, 2, m] * 5)
    assert torch.equal(q_sample(x, 0, REPLACING, torch.rand(20, dtype=torch.float64)), x)


STEEP = Schedule.linear(4, 3, alpha_start=0.7, gamma_start=0.2, gamma_end=0.9)  # much happens from the first step on


@pytest.mark.parametrize(("s", "t"), [(0, 1), (0, 3), (1, 3), (2.5, 4)])
def test_the_coin_of_the_forward_process_is_laid_out_as_mask_then_ids_then_stay(s, t):
    jump = STEEP.jump(s, t)
    edges = np.cumsum([0.0, jump.gamma, jump.beta, jump.beta, jump.beta])
    coin = torch.from_numpy(np.concatenate([edges + 1e-9, edges[1:] - 1e-9]))
    start = {"s": s} if s else {}  # from clean tokens, unless it is said from when
    moved = q_sample(torch.full((9,), 1), t, STEEP, coin, **start)
    assert moved.tolist() == [m, 0, 1, 2, 1, m, 0, 1, 2]
    assert q_sample(torch.full((9,), m), t, STEEP, coin, **start).eq(m).all(), "a mask stays a mask"


@pytest.mark.parametrize(
    "schedule", [Schedule.linear(9, 3, gamma_end=0.6), Schedule.uniform(9, 3)], ids=["half masked", "uniform"]
)
def test_the_prior_is_masks_by_the_last_bar_and_else_any_id(schedule):
    count = 100_000
    coin = torch.rand(count, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    frequencies = torch.bincount(draw_prior(schedule, coin), minlength=4).numpy()
    gamma = schedule.bar(9).gamma
    law = np.array([(1 - gamma) / 3] * 3 + [gamma])
    assert frequencies[law == 0].sum() == 0
    assert chisquare(frequencies[law > 0], count * law[law > 0]).pvalue > 1e-4
    assert draw_prior(schedule, torch.tensor([1 - 2**-53], dtype=torch.float64)).item() == 2


def test_a_schedule_that_ends_all_but_masked_is_taken_to_end_so():
    coin = torch.tensor([0.0, 0.5, 0.9985, 1 - 2**-53], dtype=torch.float64)
    assert draw_prior(Schedule.linear(9, 3, gamma_end=0.9995), coin).tolist() == [m] * 4
    assert draw_prior(Schedule.linear(9, 3, gamma_end=0.998), coin).tolist() == [m, m, 0, 2]


def test_each_image_of_a_batch_may_be_at_a_time_of_its_own():
    s_B, t_B = np.array([0, 4, 8]), np.array([1, 9, 10])
    p_BNK, x_BN = P.expand(3, 2, 3), torch.tensor([[0, m]] * 3)
    together = q_posterior(p_BNK, x_BN, s_B, t_B, REPLACING)
    for i in range(3):
        alone = q_posterior(p_BNK[:1], x_BN[:1], float(s_B[i]), float(t_B[i]), REPLACING)
        assert torch.allclose(together[i], alone[0], atol=1e-15)


def test_what_cannot_have_happened_gets_no_weight():
    row = q_posterior(P.view(1, 1, 3), torch.tensor([[m]]), 3, 5, Schedule.uniform(9, 3))
    assert row.eq(0).all(), "under a kernel that never masks there is no masked token"


def reference_step(log_p_BNK, x_BN, index, K, uniform_BKN):
    """A step as diffusers numbers it (index 0 is the last), with its way to draw and the uniforms that it would use."""
    table = q_posterior(log_p_BNK.double().exp(), x_BN, index, index + 1, Schedule.linear(100, K))
    log_p_BKN = table.log().transpose(1, 2).float()
    return reference.gumbel_categorical(log_p_BKN[:, : uniform_BKN.shape[1]], uniform_BKN, dim=1)


def diffusers_step(log_p_BNK, x_BN, index, K, seed):
    from diffusers import VQDiffusionScheduler

    scheduler = VQDiffusionScheduler(num_vec_classes=K + 1)
    scheduler.set_timesteps(100)
    generator = torch.Generator().manual_seed(seed)
    return scheduler.step(log_p_BNK.transpose(1, 2), torch.tensor(index), x_BN, generator=generator).prev_sample


def uniforms(shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_given_the_same_uniforms_the_tokens_are_those_of_diffusers():
    logits = 3 * torch.sin(torch.arange(80.0)).view(1, 5, 16)
    log_p = logits.log_softmax(1).transpose(1, 2)
    x = torch.tensor([[5] * 8 + [0, 1, 2, 3, 4, 0, 1, 2]])
    recorded = {
        99: [5, 5, 5, 5, 5, 5, 5, 5, 0, 0, 3, 1, 1, 2, 4, 0],
        98: [5, 5, 5, 5, 5, 5, 5, 5, 0, 1, 2, 3, 1, 0, 1, 0],
        90: x[0].tolist(),
        2: [2, 5, 5, 3, 3, 5, 5, 4, 0, 1, 2, 3, 4, 0, 1, 2],
        1: [2, 2, 0, 3, 3, 3, 2, 4, 0, 1, 2, 3, 4, 0, 1, 2],
        0: [2, 2, 0, 3, 3, 3, 2, 4, 0, 0, 3, 1, 1, 2, 4, 0],
    }
    for index, expected in recorded.items():
        uniform = uniforms((1, 6 if index else 5, 16), seed=1234)
        ours = reference_step(log_p, x, index, 5, uniform)
        assert ours.tolist() == [expected]
        assert torch.equal(ours, diffusers_step(log_p, x, index, 5, seed=1234))


def test_two_steps_with_one_generator_are_those_of_diffusers():
    log_p = (torch.arange(12.0) / 5).view(1, 3, 4).log_softmax(1).transpose(1, 2)
    generator = torch.Generator().manual_seed(0)
    x = torch.tensor([[m, m, 0, 2]])
    x = reference_step(log_p, x, 50, 3, torch.rand((1, 4, 4), generator=generator))
    assert x.tolist() == [[3, 3, 0, 2]]
    assert reference_step(log_p, x, 0, 3, torch.rand((1, 3, 4), generator=generator)).tolist() == [[1, 1, 2, 1]]


def test_a_large_state_steps_as_in_diffusers_at_every_time():
    K, N = 64, 256
    generator = torch.Generator().manual_seed(7)
    log_p = (3 * torch.randn(1, N, K, generator=generator)).log_softmax(-1)
    x = torch.randint(0, K + 1, (1, N), generator=generator)
    for index in range(100):
        uniform = uniforms((1, K + 1 if index else K, N), seed=index)
        ours = reference_step(log_p, x, index, K, uniform)
        theirs = diffusers_step(log_p, x, index, K, seed=index)
        assert (ours != theirs).sum() <= 1  # float32 against float64 may part where the two best are within 1e-4
