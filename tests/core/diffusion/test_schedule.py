"""The schedule: cumulative kernels, jumps between them, and lists of times."""

import itertools

import numpy as np
import pytest
from pack.vqdiffusion_core.diffusion.schedule import Schedule

CASES = [(100, 4096), (100, 2887), (10, 3)]


@pytest.mark.parametrize(("T", "K"), CASES)
def test_the_default_bars_are_those_of_diffusers(T, K):
    from diffusers import VQDiffusionScheduler

    peer = VQDiffusionScheduler(num_vec_classes=K + 1, num_train_timesteps=T)
    ours = Schedule.linear(T, K)
    jumps = [ours.jump(t, t + 1) for t in range(T)]
    for name, log_bar, log_step in [
        ("alpha", peer.log_cumprod_at, peer.log_at),
        ("beta", peer.log_cumprod_bt, peer.log_bt),
        ("gamma", peer.log_cumprod_ct, peer.log_ct),
    ]:
        rtol = 1e-6 if name != "beta" else 2e-5  # theirs is a float32 log of 1e-10
        np.testing.assert_allclose(getattr(ours, f"{name}_bar")[1:], log_bar.double().exp()[:T], rtol=rtol)
        np.testing.assert_allclose([getattr(jump, name) for jump in jumps], log_step.double().exp(), rtol=rtol)


@pytest.mark.parametrize(("T", "K"), CASES)
def test_every_kernel_sums_to_one(T, K):
    schedule = Schedule.linear(T, K)
    for s, t in [(0, 1), (0, T), (T - 1, T), (0.5, 2.25), (1, T / 2)]:
        for kernel in (schedule.bar(t), schedule.jump(s, t)):
            assert kernel.alpha + K * kernel.beta + kernel.gamma == pytest.approx(1, abs=1e-12)


def matrix(kernel, K):
    """The (K + 1) x (K + 1) transition matrix, rows = from."""
    Q = np.full((K + 1, K + 1), kernel.beta)
    Q[np.diag_indices(K)] += kernel.alpha
    Q[:, K] = kernel.gamma
    Q[K] = np.eye(K + 1)[K]
    return Q


@pytest.mark.parametrize("gamma_end", [0.99999, 0.9])
def test_two_jumps_are_one(gamma_end):
    schedule = Schedule.linear(10, 3, gamma_end=gamma_end)
    for s, r, t in [(0, 1, 2), (0, 4, 10), (3, 5.5, 9), (1, 9, 10)]:
        two = matrix(schedule.jump(s, r), 3) @ matrix(schedule.jump(r, t), 3)
        np.testing.assert_allclose(two, matrix(schedule.jump(s, t), 3), atol=1e-12)


def test_times_end_clean_and_are_whole_where_they_can_be():
    schedule = Schedule.linear(100, 4096)
    for steps in [1, 2, 3, 7, 16, 25, 99, 100]:
        times = schedule.timesteps(steps)
        assert (times[0], times[-1], len(times)) == (100, 0, steps + 1)
        assert all(t == round(t) for t in times) and all(a > b for a, b in itertools.pairwise(times))
    times = schedule.timesteps(250)
    assert len(set(times)) == 251
    assert [schedule.network_index(t) for t in (100, 99.5, 99.4, 99, 1, 0.4)] == [99, 99, 98, 98, 0, 0]
    with pytest.raises(ValueError, match="steps is 0"):
        schedule.timesteps(0)


def test_the_time_of_a_masked_share_is_where_gamma_bar_has_it():
    schedule = Schedule.linear(100, 4096)
    for t in [0, 1, 17, 50.5, 100]:
        assert schedule.time_at(schedule.bar(t).gamma) == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize("row", [(0.9, 0.1, 0.0), (0.999, 0.0, 0.001), (0.0, 0.0, 1.0)])
def test_a_schedule_that_does_not_begin_clean_is_refused(row):
    """A run over it would end with masked tokens, or with replaced ones."""
    bars = [np.linspace(first, last, 5) for first, last in zip(row, (0.0, 0.0, 1.0), strict=True)]
    with pytest.raises(ValueError, match="do not begin with 1, 0 and 0"):
        Schedule(1, *bars)


@pytest.mark.parametrize("spacing", ["masked", "cosine", "loop"])
def test_where_nothing_is_masked_yet_steps_are_spaced_evenly(spacing):
    assert Schedule.uniform(8, 3).timesteps(4, spacing=spacing) == [8, 6, 4, 2, 0]
    late = Schedule(1, np.array([1.0, 1, 1, 1, 0]), np.zeros(5), np.array([0.0, 0, 0, 0, 1]))
    assert late.timesteps(2, 2.0, spacing) == [2, 1, 0]


def test_bars_of_another_codebook_are_refused():
    bars = Schedule.linear(10, 3, gamma_end=0.9)
    with pytest.raises(ValueError, match="codebook"):
        Schedule(30, bars.alpha_bar, bars.beta_bar, bars.gamma_bar)
