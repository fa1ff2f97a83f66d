"""Kernels that are matrices: what they are, by enumeration, and that they are undone by the same reverse step."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core.diffusion.matrix_schedule import MATRIX_KERNELS, MatrixSchedule
from pack.vqdiffusion_core.diffusion.noise import categorical
from pack.vqdiffusion_core.diffusion.posterior import (
    change_probability,
    draw_posterior,
    draw_prior,
    q_posterior,
    q_sample,
)
from pack.vqdiffusion_core.training.objective import divergence
from scipy.linalg import expm
from scipy.stats import chisquare

T, K, COUNT = 6, 5, 40_000
CODES = torch.tensor([[0.0, 0.1], [0.1, 0.0], [1.0, 0.2], [1.2, 0.0], [3.0, 0.1]])
TIMES = [0, 1, 2, 3.5, 5, 6]


@pytest.fixture(params=MATRIX_KERNELS)
def schedule(request):
    return MATRIX_KERNELS[request.param](T, CODES)


def matrix(schedule, s, t):
    """q(x_t | x_s), row by row, from the rates alone."""
    m_s, m_t = np.interp([s, t], np.arange(T + 1), schedule.mixing)
    return torch.from_numpy(expm((m_t - m_s) * schedule.rates_KK.numpy()))


def uniform(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("s", "t"), list(combinations(TIMES, 2)))
def test_the_posterior_is_that_of_bayes_by_enumeration(schedule, s, t):
    p_K = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05], dtype=torch.float64)
    jump_KK, at_s_KK, at_t_KK = matrix(schedule, s, t), matrix(schedule, 0, s), matrix(schedule, 0, t)
    for j in range(K):
        by_bayes_K = sum(p_K[i] * jump_KK[:, j] * at_s_KK[i] / at_t_KK[i, j] for i in range(K))
        law = q_posterior(p_K.expand(1, 1, K), torch.tensor([[j]]), s, t, schedule)[0, 0]
        assert law[K] == 0 and torch.allclose(law[:K], by_bayes_K, rtol=0, atol=1e-12)
        assert law.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("s", "t"), list(combinations(TIMES, 2)))
def test_rows_sum_to_one_and_jumps_compose(schedule, s, t):
    ids = torch.arange(K)
    at_s, at_t = (schedule.rows(ids, schedule.mixing_at(time, ids)) for time in (s, t))
    jump = schedule.rows(ids, schedule.mixing_at(t, ids) - schedule.mixing_at(s, ids))
    assert torch.allclose(at_t.sum(1), torch.ones(K, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(at_s @ jump, at_t, rtol=0, atol=1e-12)
    assert torch.allclose(jump, matrix(schedule, s, t), rtol=0, atol=1e-12)


def test_what_is_known_of_a_token_falls_on_a_straight_line_and_at_the_end_nothing_is(schedule):
    told = [schedule.information(m) for m in schedule.mixing]
    assert np.allclose(told, np.linspace(1, 0, T + 1), atol=0.03)
    ids = torch.arange(K)
    assert torch.allclose(schedule.rows(ids, schedule.mixing_at(T, ids)), torch.tensor(1 / K).double(), atol=0.02)


def test_tokens_move_to_codes_that_are_like_them():
    for kernel in MATRIX_KERNELS.values():
        schedule = kernel(T, torch.arange(12.0)[:, None])
        ids = torch.arange(12)
        at_1 = schedule.rows(ids, schedule.mixing_at(1, ids)).fill_diagonal_(0)
        near = torch.diagonal(at_1, 1).mean()
        assert near > 3 * torch.diagonal(at_1, 11).mean()


def test_one_step_forward_draws_the_row_of_its_token_and_masks_stay(schedule):
    x = torch.tensor([2]).repeat(COUNT)
    drawn = q_sample(x[None], 5, schedule, uniform(1, 1, COUNT), s=2)[0]
    assert chisquare(drawn.bincount(minlength=K), COUNT * matrix(schedule, 2, 5)[2].numpy()).pvalue > 1e-3
    assert q_sample(torch.tensor([[K]]), 5, schedule, uniform(1, 1, 1)).item() == K


@pytest.mark.parametrize("times", [[6, 4, 1, 0], [6, 2.5, 0]], ids=["whole", "between"])
def test_with_a_perfect_prediction_the_way_back_gives_the_law_of_the_data(schedule, times):
    law_K = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05], dtype=torch.float64)
    x = q_sample(categorical(law_K.log().expand(COUNT, K), uniform(0, COUNT)), times[0], schedule, uniform(1, COUNT))
    for n, (t, s) in enumerate(pairwise(times)):
        p_x0_KK = law_K * matrix(schedule, 0, t)  # (j, i) up to a factor, since rows are columns
        guess = categorical(p_x0_KK.log()[x], uniform(10 + n, COUNT))
        coin = uniform(20 + n, COUNT)
        assert (coin < change_probability(x, s, t, schedule)).all()
        x = draw_posterior(x, guess, s, t, schedule, coin)
        expected_K = law_K @ matrix(schedule, 0, s)
        assert chisquare(x.bincount(minlength=K), COUNT * expected_K.numpy()).pvalue > 1e-3
    assert schedule.bar(T).gamma == 0 and draw_prior(schedule, uniform(3, 1, 50)).max() < K


def test_a_masked_token_becomes_what_the_network_says_at_once(schedule):
    x0 = torch.arange(K)
    masked = torch.full((K,), K)
    assert torch.equal(draw_posterior(masked, x0, 0, 3, schedule, uniform(0, K)), x0)


def test_the_loss_is_the_divergence_of_both_posteriors_at_each_tokens_own_time(schedule):
    p_MK = torch.tensor([[0.4, 0.3, 0.2, 0.05, 0.05]] * 3)
    x0, xt, t = torch.tensor([0, 1, 4]), torch.tensor([1, 1, 3]), np.array([1, 3, 6])
    loss_M = divergence(p_MK, x0, xt, t, schedule)
    for m in range(3):
        truth_K = torch.eye(K, dtype=torch.float64)[x0[m]]
        q, p = (
            q_posterior(law.double()[None, None], xt[m].view(1, 1), t[m] - 1, t[m], schedule)[0, 0, :K]
            for law in (truth_K, p_MK[m])
        )
        assert loss_M[m].item() == pytest.approx(torch.xlogy(q, q / p).nan_to_num().sum().item(), abs=1e-5)


@pytest.mark.parametrize(
    ("rates", "mixing", "said"),
    [
        (torch.ones(3, 2), [0, 1], "K x K"),
        (torch.tensor([[0.0, 1], [2, 0]]), [0, 1], "symmetric"),
        (torch.tensor([[0.0, -1], [-1, 0]]), [0, 1], "symmetric"),
        (torch.ones(2, 2), [0, 1, 1], "does not rise"),
    ],
)
def test_what_is_no_kernel_is_refused(rates, mixing, said):
    with pytest.raises(ValueError, match=said):
        MatrixSchedule.of(rates, np.array(mixing, dtype=float))
