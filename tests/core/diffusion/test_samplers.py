"""Whole runs: the law of the masked share, what stays, and that an image is its seed's alone."""

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.noise import Noise, categorical
from pack.vqdiffusion_core.diffusion.samplers import MOST, State
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import SPACINGS, Schedule
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS, Settings
from scipy.stats import chisquare

from .. import tiny

MASK = tiny.SPEC.mask_id
WIDE = Schedule.linear(100, 8)


def uniform_prediction(x_BN, t, where_BN):
    return torch.zeros(int(where_BN.sum()), 8)


KEPT = torch.zeros(1, 4_000, dtype=torch.bool)


def states_of(sampler, steps, spacing="uniform", predict=uniform_prediction, **changes):
    times = WIDE.timesteps(steps, spacing=spacing)
    masked = torch.full((1, 4_000), 8)
    state = State.from_tokens(masked, 8)
    return times, list(
        tiny.walk(SAMPLERS[sampler](Settings(**changes)), predict, state, WIDE, times, Noise([0]), ~KEPT)
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("steps", "spacing"), [*((steps, "uniform") for steps in (1, 2, 25, 200)), *((16, spacing) for spacing in SPACINGS)]
)
def test_the_masked_share_after_every_jump_is_gamma_bar(sampler, steps, spacing):
    times, states = states_of(sampler, steps, spacing, remask_strength=0.3)
    N = KEPT.numel()
    for s, state in zip(times[1:], states, strict=True):
        gamma = WIDE.bar(s).gamma
        sigma = (gamma * (1 - gamma) / N) ** 0.5
        assert abs((state.x_BN == 8).double().mean().item() - gamma) <= 3.5 * sigma + 0.5 / N
    assert (states[-1].x_BN < 8).all()


def test_exact_count_chooses_by_lot():
    """Which tokens come first is no matter of their place: a quarter of them lies in each quarter of the image."""
    _, states = states_of("exact count", 4)
    first = (states[0].x_BN[0] != 8).view(4, -1).sum(1)
    assert chisquare(first.numpy()).pvalue > 1e-4


@pytest.mark.parametrize(("sampler", "steps"), [("ancestral", 100), ("remask", 10), ("exact count", 5), ("purity", 5)])
def test_the_network_is_asked_only_for_what_is_drawn_and_not_at_all_for_nothing(sampler, steps):
    """A masked token is drawn once, so that ancestral asks for each of them once, whatever the number of steps."""
    asked = []

    def counting(x_BN, t, where_BN):
        asked.append(int(where_BN.sum()))
        return uniform_prediction(x_BN, t, where_BN)

    never_replaces, masked = Schedule.absorbing(100, 8), torch.full((1, 40), 8)
    free = torch.ones_like(masked, dtype=torch.bool)
    free[:, 30:] = False
    times = never_replaces.timesteps(steps)
    step = SAMPLERS[sampler](Settings(remask_strength=0.0))
    list(tiny.walk(step, counting, State.from_tokens(masked, 8), never_replaces, times, Noise([0]), free))
    assert min(asked) > 0 and len(asked) <= steps
    if sampler in ("ancestral", "remask"):
        assert sum(asked) == 30
    again = len(asked)
    list(
        tiny.walk(
            step, counting, State.from_tokens(torch.zeros_like(masked), 8), never_replaces, times, Noise([0]), free
        )
    )
    assert len(asked) == again, "an image without masks is finished"


def test_a_token_that_the_law_replaced_is_none_that_the_network_was_sure_of():
    replacing = Schedule.uniform(4, 8)

    def sure_of_seven(x_BN, t, where_BN):
        return torch.tensor([-1e9] * 7 + [0.0]).expand(int(where_BN.sum()), 8)

    ones = torch.ones(1, 4_000, dtype=torch.int64)
    start = State(ones, torch.zeros(1, 4_000))
    step = SAMPLERS["ancestral"](Settings())
    state = next(tiny.walk(step, sure_of_seven, start, replacing, [4.0, 2.0, 0.0], Noise([0]), ~KEPT))
    seven, moved = state.x_BN == 7, (state.x_BN != 7) & (state.x_BN != 1)
    assert moved.any() and not state.confidence_BN[moved].any()
    assert seven.any() and state.confidence_BN[seven].median() == MOST


def test_of_a_token_that_noise_has_changed_nothing_is_known():
    before = State(torch.tensor([[3, 3, 3]]), torch.tensor([[0.4, 0.5, 0.6]]))
    assert before.corrupt(torch.tensor([[2, 3, 8]])).confidence_BN.tolist() == [[0, 0.5, 0]]


def run(seeds, *, tokens=None, region=None, history=False, canvas=None, **changes):
    tokens = torch.full((len(seeds), tiny.SPEC.num_tokens), MASK) if tokens is None else tokens
    settings = Settings(**{"steps": 5, "guidance": 2.0, "truncation": 0.9} | changes)
    guidance = cfg(tiny.text(1), tiny.text(2), settings.guidance)
    states = list(sample(tiny.transformer(), tiny.SCHEDULE, guidance, tokens, region, settings, seeds, canvas))
    assert len(states) == settings.steps + 1
    return [state.x_BN for state in states] if history else states[-1].x_BN


def test_an_image_of_a_batch_is_that_of_its_seed_alone():
    batch = run([3, 4, 5])
    for i, seed in enumerate([3, 4, 5]):
        assert torch.equal(batch[i : i + 1], run([seed]))
    assert not torch.equal(batch[0], batch[1])


def test_a_run_leaves_nothing_behind_for_the_next():
    first = run([3])
    run([3], guidance=5.0, truncation=0.1)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(run([3]), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("steps", [1, 3, 10, 23])
def test_no_mask_is_left_and_every_id_is_in_the_codebook(steps):
    tokens = run([0, 1], steps=steps)
    assert ((tokens >= 0) & (tokens < MASK)).all()


def region(*marked):
    region = torch.zeros(1, tiny.SPEC.num_tokens, dtype=torch.bool)
    region[0, list(marked)] = True
    return region


@pytest.mark.parametrize("denoise", [0.3, 1.0])
def test_known_tokens_never_change(denoise):
    known, hole = tiny.tokens(), region(0, 1, 5, 6)
    for state in run([0], tokens=known, region=hole, denoise=denoise, history=True):
        assert torch.equal(state[~hole], known[~hole])
    assert not torch.equal(state, known)


def test_an_empty_region_gives_the_image_back():
    assert torch.equal(run([0], tokens=tiny.tokens(), region=region()), tiny.tokens())


def test_denoise_zero_gives_the_image_back():
    assert torch.equal(run([0], tokens=tiny.tokens(), denoise=0.0), tiny.tokens())


def test_a_region_of_everything_is_a_new_image():
    everything = torch.ones(1, tiny.SPEC.num_tokens, dtype=torch.bool)
    assert torch.equal(run([0], tokens=tiny.tokens(), region=everything), run([0]))


def test_a_masked_token_outside_the_region_is_drawn_too():
    known = tiny.tokens()
    known[0, 9] = MASK
    assert (run([0], tokens=known, region=region(0)) < MASK).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_mask_at_a_time_that_has_none_is_drawn_at_once(sampler):
    """As a hole is whose run begins half-way, under a schedule that masks late."""
    late = Schedule(8, np.array([1.0, 1.0, 0.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    state = State.from_tokens(torch.full((1, 50), 8), 8)
    step = SAMPLERS[sampler](Settings())
    (last,) = tiny.walk(step, uniform_prediction, state, late, [1.0, 0.0], Noise([0]), ~KEPT[:, :50])
    assert (last.x_BN < 8).all()


def test_images_with_holes_of_different_size_stay_those_of_their_seeds():
    known, holes = tiny.tokens(batch=2), torch.cat([region(0, 1), region(*range(12))])
    both = run([7, 8], tokens=known, region=holes)
    for i, seed in enumerate([7, 8]):
        assert torch.equal(both[i : i + 1], run([seed], tokens=known[i : i + 1], region=holes[i : i + 1]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("steps", -3), ("guidance", float("nan")), ("guidance", -1), ("truncation", 1.5), ("denoise", 2)],
)
def test_settings_without_a_meaning_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is"):
        Settings(**{name: value})
    with pytest.raises(ValueError, match="sampler is 'euler'"):
        Settings(sampler="euler")


def test_a_categorical_draw_never_takes_the_impossible():
    log_p = torch.tensor([[float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")]]).expand(4, 5)
    edges = torch.tensor([0.0, 0.5 - 2**-53, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert categorical(log_p, edges).tolist() == [1, 1, 3, 3]
