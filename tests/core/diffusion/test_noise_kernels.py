"""Kernels as data: each way of losing tokens has its bars, and is undone by the same reverse step."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core.checkpoints.diffusers_config import schedule_config
from pack.vqdiffusion_core.diffusion.noise import categorical
from pack.vqdiffusion_core.diffusion.posterior import change_probability, draw_posterior, q_sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.training.recipe import KERNELS
from scipy.stats import chisquare

T, K, COUNT = 20, 3, 40_000
LAW = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)


def test_the_absorbing_kernel_never_replaces():
    schedule = Schedule.absorbing(T, K)
    assert not schedule.beta_bar.any() and schedule.gamma_bar[-1] == pytest.approx(1, abs=1e-4)


def test_the_uniform_kernel_never_masks():
    schedule = Schedule.uniform(T, K)
    assert not schedule.gamma_bar.any() and K * schedule.beta_bar[-1] == pytest.approx(1, abs=1e-4)


def test_mask_and_replace_does_both():
    schedule = KERNELS["mask-and-replace"](T, K)
    assert schedule.gamma_bar[-1] == pytest.approx(0.9) and K * schedule.beta_bar[-1] == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_models_folder_remembers_its_kernel_in_two_pairs_of_ends(kernel):
    schedule = KERNELS[kernel](T, K)
    config = schedule_config(schedule)
    assert "alpha_bar" not in config, "straight bars need no table"
    ends = [config[f"{name}_cum_{end}"] for name in ("alpha", "gamma") for end in ("start", "end")]
    again = Schedule.linear(T, K, *ends)
    assert np.array_equal(again.beta_bar, schedule.beta_bar) and np.array_equal(again.gamma_bar, schedule.gamma_bar)


@pytest.mark.parametrize("times", [[20, 13, 6, 2, 0], [20, 9.5, 0]], ids=["whole", "between"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_with_a_perfect_prediction_the_way_back_gives_the_law_of_the_data(kernel, times):
    schedule = KERNELS[kernel](T, K)
    generator = torch.Generator().manual_seed(len(times))

    def uniform():
        return torch.rand(COUNT, generator=generator, dtype=torch.float64)

    x0 = categorical(LAW.log().expand(COUNT, K), uniform())
    x = q_sample(x0, times[0], schedule, uniform())
    for t, s in pairwise(times):
        coin, guess = uniform(), categorical(prediction(x, t, schedule).log(), uniform())
        changed = coin < change_probability(x, s, t, schedule)
        x = torch.where(changed, draw_posterior(x, guess, s, t, schedule, coin), x)
        # half-way too, the state is as likely as the forward process makes it
        law = np.append(schedule.bar(s).alpha * LAW + schedule.bar(s).beta, schedule.bar(s).gamma)
        counts = torch.bincount(x, minlength=K + 1).numpy()
        assert counts[law == 0].sum() == 0
        assert chisquare(counts[law > 0], COUNT * law[law > 0] / law.sum()).pvalue > 1e-4


def prediction(x_M, t, schedule):
    """p(x_0 | x_t) by Bayes, of tokens whose law is LAW: (M, K)."""
    bar = schedule.bar(t)
    arrived = torch.full((K, K + 1), bar.beta, dtype=torch.float64) + bar.alpha * torch.eye(K, K + 1)
    arrived[:, K] = bar.gamma
    joint = LAW[:, None] * arrived
    return (joint / joint.sum(0).clamp(min=1e-300))[:, x_M].T
