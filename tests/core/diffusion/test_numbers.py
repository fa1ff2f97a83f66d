"""Whatever numbers come in, every id in every state of a run is one, no finished image has a masked token, and none
is ever not a number: in every number type, at the ends of every setting, for networks that are certain or undecided.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pack.vqdiffusion_core.diffusion.guidance import Guidance, Prompt, cfg
from pack.vqdiffusion_core.diffusion.inpainting import token_mask
from pack.vqdiffusion_core.diffusion.logits import apply_purity_prior, apply_temperature, apply_top_k, apply_truncation
from pack.vqdiffusion_core.diffusion.noise import categorical
from pack.vqdiffusion_core.diffusion.posterior import change_probability, draw_posterior, q_posterior, q_sample
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import SPACINGS, Schedule
from pack.vqdiffusion_core.diffusion.settings import ABOUT, SAMPLERS, Settings
from pack.vqdiffusion_core.networks.specs import TransformerSpec

TYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = (2, 3, 11, 512, 2887, 4096, 16384)  # of codebooks
MOST = 1 << 19  # numbers in a table of predictions: what a small machine does often

seeds = st.integers(0, 2**32)


@dataclass
class Network:
    """Stands for a transformer: its logits are those of a hand-written prediction, in a type of 16 or 32 bits."""

    spec: TransformerSpec
    kind: str
    dtype: torch.dtype
    seed: int

    def hidden(self, x_BN, index_B, memory, places_BM=None):
        noise = torch.Generator().manual_seed(self.seed)
        shape = (*x_BN.shape, self.spec.codebook_size)
        logits = {
            "undecided": lambda: torch.zeros(shape),
            "usual": lambda: torch.randn(shape, generator=noise) * 3,
            "certain": lambda: torch.randn(shape, generator=noise) * 1e4,
            "saturated": lambda: torch.randn(shape, generator=noise).sign() * 6e4,
            "one alone": lambda: torch.full(shape, -6e4).index_fill_(-1, torch.tensor(0), 6e4),
        }
        logits_BNK = logits[self.kind]().to(self.dtype)
        if places_BM is None:
            return logits_BNK
        return logits_BNK.gather(1, places_BM[..., None].expand(-1, -1, self.spec.codebook_size))

    def to_logits(self, h_MW):
        return h_MW


KINDS = ("undecided", "usual", "certain", "saturated", "one alone")


@st.composite
def schedules(draw, codebook_size):
    """Of all three families, with ends anywhere: all masked long before T, hardly anything masked at T, one step."""
    T = draw(st.integers(1, 100))
    kind = draw(st.sampled_from(["released", "absorbing", "uniform", "any"]))
    if kind == "released":
        return Schedule.linear(T, codebook_size)
    if kind == "absorbing":
        return Schedule.absorbing(T, codebook_size)
    if kind == "uniform":
        return Schedule.uniform(T, codebook_size)
    gamma = np.sort(draw(st.lists(st.floats(0, 1), min_size=T, max_size=T)))
    stays = np.sort(draw(st.lists(st.floats(0, 1), min_size=T, max_size=T)))[::-1]
    gamma_bar, alpha_bar = np.append(0.0, gamma), np.append(1.0, (1 - gamma) * stays)
    return Schedule(codebook_size, alpha_bar, (1 - alpha_bar - gamma_bar).clip(min=0) / codebook_size, gamma_bar)


@st.composite
def all_settings(draw):
    """Every number anywhere in its range, its ends often; every sampler, spacing and way to remask."""
    few = {"steps": (1, 6), "rounds": (1, 3), "top_k": (0, 20000)}
    numbers = {}
    ranges = {name: (about.low, about.high) for name, about in ABOUT.items() if about.low is not None}
    for name, (low, high) in (ranges | few).items():
        whole = isinstance(getattr(Settings(), name), int)
        between = st.integers(low, high) if whole else st.floats(low, high)
        numbers[name] = draw(st.sampled_from([low, high, getattr(Settings(), name)]) | between)
    numbers["steps"] = min(numbers["steps"], 6)
    return Settings(
        **numbers,
        sampler=draw(st.sampled_from(sorted(SAMPLERS))),
        spacing=draw(st.sampled_from(sorted(SPACINGS))),
        guidance_schedule=draw(st.sampled_from(["constant", "ramp"])),
        remask=draw(st.sampled_from(["cap", "rescale", "confidence"])),
        soft=draw(st.booleans()),
    )


@st.composite
def runs(draw):
    K = draw(st.sampled_from(SIZES) | st.integers(2, 16384))
    most = max(1, min(4096, MOST // K))
    rows = draw(st.integers(1, max(1, int(most**0.5))))
    columns = draw(st.integers(1, most // rows))
    batch = draw(st.integers(1, 2))
    spec = TransformerSpec(K, (rows, columns), 1, 1, 1, 10, condition="none")
    network = Network(spec, draw(st.sampled_from(KINDS)), draw(st.sampled_from(TYPES)), draw(seeds))
    noise = torch.Generator().manual_seed(draw(seeds))
    canvas = (rows + draw(st.integers(0, 2)), columns + draw(st.integers(0, 2)))
    N = canvas[0] * canvas[1]
    tokens = torch.randint(0, K + 1, (batch, N), generator=noise)
    level = draw(st.sampled_from([None, "none", "half", "soft", "all"]))
    levels = {"none": torch.zeros(batch, N), "all": torch.ones(batch, N), "soft": torch.rand(batch, N, generator=noise)}
    levels["half"] = levels["soft"].round()
    return network, draw(schedules(K)), draw(all_settings()), tokens, levels.get(level), canvas


@settings(max_examples=80)
@given(runs(), seeds)
def test_every_run_ends_in_an_image_and_keeps_what_is_not_its_own(run, seed):
    network, schedule, chosen, tokens, level, canvas = run
    K = network.spec.codebook_size
    assume(chosen.sampler == "ancestral" or schedule.gamma_bar[-1] >= 0.5)  # else it is refused, with a reason
    kept = torch.zeros_like(tokens, dtype=torch.bool) if level is None else (level == 0) & (tokens != K)
    if chosen.denoise == 0:
        kept = tokens != K
    half = torch.linspace(0, 1, tokens.shape[1])
    prompts = [Prompt(None, half), Prompt(None, 1 - half, start=0.3)], [Prompt(None, end=0.5)]
    guidance = Guidance(*prompts, None, chosen.guidance_scale())
    image_seeds = list(range(seed, seed + len(tokens)))
    for state in sample(network, schedule, guidance, tokens, level, chosen, image_seeds, canvas):
        assert state.x_BN.dtype == torch.int64 and 0 <= state.x_BN.min() and state.x_BN.max() <= K
        assert state.confidence_BN.isfinite().all()
        assert 0 <= state.confidence_BN.min() and state.confidence_BN.max() <= 1 + 1e-5
        assert torch.equal(state.x_BN[kept], tokens[kept])
    assert state.x_BN.max() < K, "a masked token would reach the decoder"


def bars(*rows):
    """A schedule of two ids by alpha_bar and gamma_bar from t = 1 on."""
    alpha, gamma = np.array([(1.0, 0.0), *rows]).T
    return Schedule(2, alpha, (1 - alpha - gamma) / 2, gamma)


SUDDEN = {
    "replaces all in its first step, masks all in its second": bars((0, 0), (0, 1), (0, 1), (0, 1)),
    "replaces all in its only step": bars((0, 0)),
    "masks all in its first step": bars((0, 1), (0, 1), (0, 1)),
    "masks nothing before its last step": bars((1, 0), (1, 0), (1, 0), (0, 1)),
    "masks what cannot be told from nothing": bars((1, 5e-324), (0.5, 5e-324), (0, 1e-310), (0, 1)),
    "masks half and no more": bars((0.5, 0.5), (0.25, 0.5), (0, 0.5)),
}


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", SUDDEN)
def test_no_mask_is_left_however_sudden_a_schedule_is(name, sampler, spacing):
    schedule, always = SUDDEN[name], cfg(None, None, 1.0)
    if sampler != "ancestral" and schedule.gamma_bar[-1] < 0.5:
        return  # refused, see test_samplers
    network = Network(TransformerSpec(2, (1, 1), 1, 1, 1, 10, condition="none"), "undecided", torch.float32, 0)
    N = 32
    tokens, level = torch.arange(N)[None] % 3, torch.linspace(0, 1, N)[None]
    for denoise, steps, rounds, soft, remask in [
        (1.0, 1, 1, False, "cap"),
        (1.0, 5, 2, True, "rescale"),
        (0.3, 3, 1, False, "rescale"),
        (0.6, 7, 3, True, "confidence"),
        (0.0, 2, 2, False, "cap"),
    ]:
        chosen = Settings(steps=steps, rounds=rounds, denoise=denoise, soft=soft, sampler=sampler, spacing=spacing)
        chosen = replace(chosen, remask=remask, remask_strength=1.0)
        *_, last = sample(network, schedule, always, tokens, level, chosen, [0], (1, N))
        assert last.x_BN.max() < 2


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    ("K", "grid"), [(2, (1, 1)), (2, (64, 64)), (16384, (1, 1)), (16384, (8, 8)), (2887, (32, 32))]
)
def test_the_ends_of_the_sizes_draw_with_every_sampler(sampler, dtype, K, grid):
    network = Network(TransformerSpec(K, grid, 1, 1, 1, 100, condition="none"), "certain", dtype, 0)
    masked = torch.full((1, grid[0] * grid[1]), K)
    chosen = Settings(steps=2, guidance=100.0, truncation=0.5, sampler=sampler)
    *_, last = sample(network, Schedule.linear(100, K), cfg(None, None, 100.0), masked, None, chosen, [0])
    assert 0 <= last.x_BN.min() and last.x_BN.max() < K


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_network_that_predicts_no_numbers_is_an_error_and_no_image(sampler, value):
    spec = TransformerSpec(11, (4, 4), 1, 1, 1, 10, condition="none")

    class Broken(Network):
        def hidden(self, x_BN, index_B, memory, places_BM=None):
            return super().hidden(x_BN, index_B, memory, places_BM).masked_fill(torch.rand(11) < 2, value)

    masked = torch.full((1, 16), 11)
    run = sample(
        Broken(spec, "usual", torch.float16, 0),
        Schedule.linear(10, 11),
        cfg(None, None, 2.0),
        masked,
        None,
        Settings(steps=2, sampler=sampler),
        [0],
    )
    with pytest.raises(ValueError, match=r"predicts what is not a number\. If its numbers have 16 bits"):
        list(run)


# The schedule and the posterior


@settings(max_examples=150)
@given(st.data(), st.sampled_from([2, 3, 11, 16384]))
def test_every_jump_of_every_schedule_is_a_distribution(data, K):
    schedule = data.draw(schedules(K))
    t = data.draw(st.floats(0, schedule.num_timesteps))
    s = data.draw(st.floats(0, t))
    for kernel in (schedule.bar(t), schedule.jump(s, t)):
        assert all(np.isfinite(number) and -1e-9 <= number <= 1 + 1e-9 for number in kernel)
    jump, start = schedule.jump(s, t), schedule.bar(s)
    if start.gamma < 1 and start.alpha > 1e-9:
        assert jump.alpha + K * jump.beta + jump.gamma == pytest.approx(1, abs=1e-6)
    assert 0 <= schedule.network_index(t) < schedule.num_timesteps
    times = schedule.timesteps(data.draw(st.integers(1, 9)), max(t, 1.0), data.draw(st.sampled_from(sorted(SPACINGS))))
    assert times[0] == max(t, 1.0) and times[-1] == 0
    assert np.isfinite(times).all() and times == sorted(times, reverse=True)
    assert 0 <= schedule.time_at(data.draw(st.floats(0, 1))) <= schedule.num_timesteps


@settings(max_examples=100)
@given(st.data(), st.sampled_from([2, 3, 11, 300]), st.sampled_from([torch.float32, torch.float64]), seeds)
def test_every_posterior_is_a_distribution_and_every_draw_one_of_its_ids(data, K, dtype, seed):
    schedule = data.draw(schedules(K))
    t = data.draw(st.floats(1e-3, schedule.num_timesteps))
    s = data.draw(st.sampled_from([0.0, t / 2, t * 0.999]))
    noise = torch.Generator().manual_seed(seed)
    sure = data.draw(st.sampled_from([0.0, 1.0, 1e4]))
    p = (torch.randn(1, 40, K, generator=noise, dtype=dtype) * sure).softmax(-1)
    clean = torch.randint(0, K, (1, 40), generator=noise)
    coin = torch.rand(3, 1, 40, generator=noise, dtype=torch.float64)
    x = q_sample(clean, t, schedule, coin[0])
    assert 0 <= x.min() and x.max() <= K
    table = q_posterior(p, x, s, t, schedule)
    assert table.isfinite().all() and table.min() >= 0 and table.max() <= 1 + 1e-3
    chance = change_probability(x, s, t, schedule)
    assert chance.isfinite().all() and chance.min() >= -1e-9 and chance.max() <= 1 + 1e-9
    drawn = draw_posterior(x, categorical(p[0].log(), coin[1, 0])[None], s, t, schedule, coin[2])
    assert 0 <= drawn.min() and drawn.max() <= K
    assert not ((drawn == K) & (x != K)).any(), "going back in time, a visible token is never masked"
    if s == 0:
        assert drawn.max() < K


# Shaping


@settings(max_examples=150)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(TYPES),
    st.sampled_from([2, 11, 600]),
    st.floats(0, 10),
    st.floats(0, 10),
    st.integers(0, 700),
    st.floats(0, 1),
    seeds,
)
def test_shaping_never_rules_out_the_likeliest_id_nor_makes_a_number_none(
    kind, dtype, K, temperature, sharpness, top_k, rate, seed
):
    network = Network(TransformerSpec(K, (1, 7), 1, 1, 1, 10, condition="none"), kind, dtype, seed)
    log_p = network.hidden(torch.zeros(1, 7), None, None)[0].float().log_softmax(-1)
    kept = apply_truncation(apply_top_k(apply_temperature(log_p, temperature), top_k), rate)
    shaped = apply_purity_prior(kept, kept.amax(-1).exp(), sharpness)
    assert not shaped.isnan().any() and (shaped <= 1e-4).all()
    best = log_p.argmax(-1, keepdim=True)
    assert shaped.gather(-1, best).isfinite().all()
    assert (shaped.amax(-1) - shaped.gather(-1, best)[:, 0] <= 1e-4).all()
    if top_k:
        assert (shaped.isfinite().sum(-1) <= top_k).all()


@given(st.sampled_from([0.0, 5e-324, 1e-300, 1e-50, 1e-40, 1e-7]))
def test_the_coldest_temperatures_leave_the_likeliest_id(temperature):
    log_p = torch.randn(3, 11, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    cold = apply_temperature(log_p, temperature)
    assert torch.equal(cold.argmax(-1), log_p.argmax(-1)) and not cold.isnan().any()
    assert torch.equal(categorical(cold, torch.full((3,), 1 - 2**-53, dtype=torch.float64)), log_p.argmax(-1))


# Regions


@settings(max_examples=60)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), seeds)
def test_a_token_is_drawn_anew_if_and_only_if_a_part_of_its_cell_is_marked(height, width, rows, columns, grow, seed):
    mask = (torch.rand(1, height, width, generator=torch.Generator().manual_seed(seed)) < 0.1).float()
    expected = torch.zeros(rows, columns, dtype=torch.bool)
    for y, x in mask[0].nonzero().tolist():
        # the cells that pixel (y, x) touches when the mask is laid over the grid
        for row in range(y * rows // height, -(-(y + 1) * rows // height)):
            for column in range(x * columns // width, -(-(x + 1) * columns // width)):
                top, left = max(0, row - grow), max(0, column - grow)
                expected[top : row + grow + 1, left : column + grow + 1] = True
    assert torch.equal(token_mask(mask, (rows, columns), grow)[0] > 0, expected)
