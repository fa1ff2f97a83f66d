"""What holds for every sampler and edit, whatever the network: proved on worlds small enough to count."""

from itertools import product

import pytest
import torch
from pack.vqdiffusion_core.diffusion.denoiser import Denoiser
from pack.vqdiffusion_core.diffusion.guidance import Guidance, GuidanceScale, Prompt, cfg
from pack.vqdiffusion_core.diffusion.inpainting import Region
from pack.vqdiffusion_core.diffusion.noise import Noise
from pack.vqdiffusion_core.diffusion.samplers import Run, State, ancestral
from pack.vqdiffusion_core.diffusion.sampling import sample, steps
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import REMASK, SAMPLERS, Settings
from pack.vqdiffusion_core.diffusion.windows import windows
from scipy import stats

from .. import tiny

NEVER_REPLACES = Schedule.absorbing(tiny.SPEC.num_timesteps, tiny.SPEC.codebook_size)
MASK, N = tiny.SPEC.mask_id, tiny.SPEC.num_tokens
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


class World:
    """Images of three tokens of two codes each, with known probabilities, and the denoiser that knows them."""

    K, N = 2, 3
    images = torch.tensor(list(product(range(2), repeat=3)))
    p = torch.tensor([0.30, 0.02, 0.05, 0.13, 0.03, 0.17, 0.20, 0.10], dtype=torch.float64)
    schedule = Schedule.absorbing(100, 2)

    def predict(self, x_BN, t, where_BN):
        fits_BP = ((x_BN[:, None] == self.images) | (x_BN[:, None] == self.K)).all(-1)
        p_BP = fits_BP * self.p
        one_BN = p_BP @ self.images.double() / p_BP.sum(1, keepdim=True)
        return torch.stack([1 - one_BN, one_BN], -1)[where_BN].log().float()

    def draw(self, sampler, steps, count=20_000, **changes):
        masked = torch.full((count, self.N), self.K)
        step = SAMPLERS[sampler](Settings(**changes))
        times = self.schedule.timesteps(steps)
        free = torch.ones_like(masked, dtype=torch.bool)
        start, noise = State.from_tokens(masked, self.K), OneNoise(count)
        *_, last = tiny.walk(step, self.predict, start, self.schedule, times, noise, free)
        return torch.bincount(last.x_BN @ torch.tensor([4, 2, 1]), minlength=8)


class OneNoise(Noise):
    """One generator for all images: thousands of them would take most of a test's time."""

    def __init__(self, count):
        self.count, self.generator = count, torch.Generator().manual_seed(0)

    def uniform(self, *shape):
        return torch.rand((self.count, *shape), generator=self.generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("sampler", "steps", "changes"),
    [
        ("ancestral", 200, {}),
        ("exact count", 3, {}),
        ("purity", 3, {}),
        ("purity", 3, {"purity": 5.0}),
        ("remask", 200, {"remask": "rescale", "remask_strength": 0.5}),
        ("remask", 200, {"remask": "cap", "remask_strength": 0.05}),
    ],
)
def test_a_true_denoiser_draws_the_worlds_own_images(sampler, steps, changes):
    """One token at a time, in whatever order, is exact; hundreds of jumps nearly are."""
    world = World()
    drawn = world.draw(sampler, steps, **changes).double()
    assert stats.chisquare(drawn, world.p * drawn.sum()).pvalue > 1e-4


def test_all_tokens_in_one_step_do_not_see_each_other():
    """That the test above can fail: one step draws from the product of the marginals."""
    world = World()
    drawn = world.draw("ancestral", 1).double()
    assert stats.chisquare(drawn, world.p * drawn.sum()).pvalue < 1e-12


def flat(x_BN, t, where_BN):
    return torch.zeros(int(where_BN.sum()), 2).log_softmax(-1)


@pytest.mark.parametrize("strength", [0.05, 1.0])
@pytest.mark.parametrize("remask", REMASK)
def test_remasking_keeps_the_share_of_masked_tokens(remask, strength):
    schedule, count = World.schedule, 20_000
    times = schedule.timesteps(25)
    masked = torch.full((1, count), 2)
    step = SAMPLERS["remask"](Settings(remask=remask, remask_strength=strength))
    states = tiny.walk(step, flat, State.from_tokens(masked, 2), schedule, times, Noise([0]), masked == 2)
    taken_back = 0
    before = masked
    for s, state in zip(times[1:], states, strict=True):
        gamma = schedule.bar(s).gamma
        assert abs((state.x_BN == 2).double().mean().item() - gamma) <= 3.5 * (gamma * (1 - gamma) / count) ** 0.5
        taken_back += int(((before != 2) & (state.x_BN == 2)).sum())
        before = state.x_BN
    assert taken_back > count / 10


def test_doubtful_tokens_are_taken_back_first():
    schedule = World.schedule
    x = torch.zeros(1, 10_000, dtype=torch.int64)
    confidence = torch.where(torch.arange(10_000) % 2 == 0, 0.1, 0.9)[None]
    step = SAMPLERS["remask"](Settings(remask="confidence", remask_strength=0.5))
    (state,) = tiny.walk(step, flat, State(x, confidence), schedule, [50.0, 49.0], Noise([0]), x == 0)
    unsure, sure = ((state.x_BN[0, i::2] == 2).float().mean() for i in (0, 1))
    assert unsure / sure == pytest.approx(torch.tensor(0.8).exp().item(), rel=0.05)


def draw(seeds=(0, 1), *, tokens=None, level=None, prompts=None, canvas=None, schedule=tiny.SCHEDULE, **changes):
    settings = Settings(**{"steps": 5, "guidance": 2.0, "truncation": 0.9} | changes)
    guidance = Guidance(prompts or [Prompt(tiny.text(1))], [], tiny.text(2), settings.guidance_scale())
    size = canvas[0] * canvas[1] if canvas else N
    tokens = torch.full((len(seeds), size), MASK) if tokens is None else tokens
    return list(sample(tiny.transformer(), schedule, guidance, tokens, level, settings, seeds, canvas))


def same(first, second):
    return all(torch.equal(a.x_BN, b.x_BN) for a, b in zip(first, second, strict=True))


def test_purity_of_weight_zero_is_fewer_tokens_by_chance():
    assert same(draw(sampler="purity", purity=0.0), draw(sampler="exact count"))
    assert not same(draw(sampler="purity", purity=3.0), draw(sampler="exact count"))


def test_remasking_of_strength_zero_is_ancestral():
    """Under a schedule that never replaces: otherwise the law itself draws visible tokens anew now and then."""
    first, second = (
        draw(sampler=name, remask_strength=0.0, schedule=NEVER_REPLACES) for name in ("remask", "ancestral")
    )
    assert same(first, second)


@every_sampler
def test_what_a_run_begins_with_stays_and_guides_the_rest(sampler):
    """So that denoise and a soft mask say how much is drawn anew, whatever the sampler."""
    known = tiny.tokens(batch=50)
    for changes in ({"denoise": 0.5}, {"level": torch.full((50, N), 0.5), "soft": True}):
        settings = {"sampler": sampler, "remask_strength": 1.0, "schedule": NEVER_REPLACES, "steps": 8} | changes
        *_, last = draw(range(50), tokens=known, **settings)
        drawn = last.confidence_BN < 1
        assert 0.35 < drawn.double().mean() < 0.55, "the schedule masks 44 % half-way"
        assert (last.x_BN == known)[~drawn].all() and (last.x_BN != known)[drawn].any()


def test_remasking_from_the_middle_keeps_the_share_of_masked_tokens():
    seeds, steps = range(300), 8
    changes = {"sampler": "remask", "remask_strength": 1.0, "denoise": 0.5, "schedule": NEVER_REPLACES, "steps": steps}
    first, *others = draw(seeds, tokens=tiny.tokens(batch=len(seeds)), **changes)
    times, taken_back, before = NEVER_REPLACES.timesteps(steps, NEVER_REPLACES.num_timesteps / 2), 0, first
    for s, state in zip(times[1:], others, strict=True):
        gamma, masked = NEVER_REPLACES.bar(s).gamma, state.x_BN == MASK
        assert abs(masked.double().mean() - gamma) <= 3.5 * (gamma * (1 - gamma) / masked.numel()) ** 0.5
        taken_back += int((masked & (before.x_BN != MASK)).sum())
        before = state
    assert taken_back > masked.numel() / 10


@pytest.mark.parametrize("sampler", ["ancestral", "exact count"])
def test_guidance_never_changes_which_tokens_are_uncovered(sampler):
    masks = [[state.x_BN == MASK for state in draw(sampler=sampler, guidance=g)] for g in (0.0, 1.0, 5.0)]
    for other in masks[1:]:
        assert all(torch.equal(a, b) for a, b in zip(masks[0], other, strict=True))


@every_sampler
def test_regions_with_equal_prompts_are_no_regions(sampler):
    left = (torch.arange(N) % 4 < 2).float()
    parts = [Prompt(tiny.text(1), left), Prompt(tiny.text(1), 1 - left)]
    assert same(draw(sampler=sampler, prompts=parts), draw(sampler=sampler))


def test_a_prompt_for_a_region_is_not_heard_outside():
    def prediction(other):
        left = (torch.arange(N) % 4 < 2).float()
        parts = [Prompt(tiny.text(1), left), Prompt(tiny.text(other), 1 - left)]
        guidance = Guidance(parts, [], tiny.text(2), GuidanceScale(2.0))
        everywhere = torch.ones(1, N, dtype=torch.bool)
        log_p = Denoiser(tiny.transformer(), tiny.SCHEDULE, guidance)(tiny.tokens(), 6, everywhere)
        return log_p[left > 0], log_p[left == 0]

    (left, right), (other_left, other_right) = prediction(3), prediction(4)
    torch.testing.assert_close(left, other_left, atol=1e-5, rtol=1e-5)
    assert (right - other_right).abs().max() > 0.1


def test_where_no_prompt_speaks_the_null_does_alone():
    early = Prompt(tiny.text(1), start=0.0, end=0.5)
    guidance = Guidance([early], [], tiny.text(2), GuidanceScale(3.0))
    assert guidance.weights(0.2) == [3, -2] and guidance.weights(0.5) == [0, 1]


def test_prompts_that_meet_share_by_strength():
    guidance = Guidance([Prompt(None, 3.0), Prompt(None, 1.0)], [Prompt(None)], None, GuidanceScale(2.0))
    assert guidance.weights(0.0) == [1.5, 0.5, -1, 0]


def test_guidance_can_grow_and_can_pause():
    assert [GuidanceScale(5.0, "ramp").at(progress) for progress in (0, 0.5, 1)] == [1, 3, 5]
    assert [GuidanceScale(5.0, start=0.2, end=0.8).at(progress) for progress in (0.1, 0.2, 0.8, 0.9)] == [1, 5, 5, 1]


@every_sampler
def test_a_canvas_of_the_models_own_size_is_plain_sampling(sampler):
    assert same(draw(sampler=sampler, canvas=tiny.SPEC.grid), draw(sampler=sampler))
    (window,) = windows(tiny.SPEC.grid, tiny.SPEC.grid)
    assert window.positions.tolist() == list(range(N)) and window.weight.tolist() == [1] * N


def test_one_window_says_what_no_window_says():
    guidance = cfg(tiny.text(1), tiny.text(2), 2.0)
    x, where = tiny.tokens(batch=2), torch.rand(2, N) > 0.5
    plain = Denoiser(tiny.transformer(), tiny.SCHEDULE, guidance)(x, 6, where)
    through = Denoiser(tiny.transformer(), tiny.SCHEDULE, guidance, None, windows(tiny.SPEC.grid, tiny.SPEC.grid))
    torch.testing.assert_close(through(x, 6, where), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("canvas", [(4, 9), (7, 4), (8, 8), (5, 13)])
def test_windows_see_every_token_and_share_what_they_say_of_it(canvas, overlap):
    total = torch.zeros(canvas[0] * canvas[1])
    for window in windows((4, 4), canvas, overlap):
        rows, columns = window.positions // canvas[1], window.positions % canvas[1]
        assert rows.max() - rows.min() == 3 and columns.max() - columns.min() == 3
        total[window.positions] += window.weight
    torch.testing.assert_close(total, torch.ones_like(total))


@every_sampler
def test_a_wide_canvas_is_drawn_whole_and_its_image_is_its_seeds_alone(sampler):
    both = draw((3, 4), canvas=(5, 11), sampler=sampler)[-1].x_BN
    assert both.shape == (2, 55) and both.max() < MASK
    assert torch.equal(both[1:], draw((4,), canvas=(5, 11), sampler=sampler)[-1].x_BN)


@pytest.mark.parametrize("changes", [{}, {"rounds": 3}, {"soft": True}], ids=str)
@every_sampler
def test_kept_tokens_never_change_and_none_stays_masked(sampler, changes):
    tokens, level = tiny.tokens(batch=2), torch.zeros(2, N)
    level[0, :6], level[1, 3:] = 1.0, 0.4
    states = draw(tokens=tokens, level=level, sampler=sampler, **changes)
    for state in states:
        assert torch.equal(state.x_BN[level == 0], tokens[level == 0])
        assert ((state.confidence_BN == 0) == (state.x_BN == MASK)).all()
    assert len(states) == 6 and states[-1].x_BN.max() < MASK
    assert not torch.equal(states[-1].x_BN, tokens)


@every_sampler
def test_a_softly_marked_token_is_let_go_when_its_share_of_the_run_is_left(sampler):
    tokens, level = tiny.tokens(), torch.ones(1, N)
    level[0, :8] = 0.4

    def run(seed):
        changes = {"sampler": sampler, "soft": True, "steps": 10, "schedule": NEVER_REPLACES}
        return [state.x_BN[0] for state in draw((seed,), tokens=tokens, level=level, **changes)]

    runs = [run(seed) for seed in range(20)]
    for states in runs:
        assert (states[0][8:] == MASK).all()
        for state in states[:6]:  # 0.4 of the run is left after six of ten steps
            assert torch.equal(state[:8], tokens[0, :8])
    changed = sum(int((states[-1] != tokens[0])[:8].sum()) for states in runs)
    assert 0.2 < changed / (20 * 8) < 0.6  # with 0.4 of the run left, four tenths of what is let go are masked


@pytest.mark.parametrize("steps", [1, 5, 7])
def test_rounds_are_within_the_number_of_steps(steps):
    assert len(draw(steps=steps, rounds=3)) == steps + 1


@pytest.mark.parametrize("hole", [False, True])
@pytest.mark.parametrize(("s", "t"), [(0.0, 3.0), (2.0, 3.5), (3.0, 5.0)])
def test_what_is_taken_back_is_masked_as_often_as_before(hole, s, t):
    """Also where it was a hole before a run that begins half-way, and so is masked for certain at its start."""
    schedule, count = Schedule.linear(10, 2, gamma_end=0.9), 20_000
    tokens = torch.full((1, count), 2 if hole else 0)
    region = Region.from_mask(tokens, None, schedule, denoise=0.5)
    gamma_s, gamma_t = (region.mask_probability_BN(time)[0, 0].item() for time in (s, t))
    x_BN = (torch.arange(count)[None] < gamma_s * count) * 2
    share = (region.renoise(x_BN, s, t, Noise([0])) == 2).double().mean().item()
    assert share == pytest.approx(gamma_t, abs=0.015) and (not hole or t < 5 or share == 1)


def test_rounds_come_back_to_the_share_of_the_law():
    schedule, masked = World.schedule, torch.full((1, 20_000), World.K)
    region = Region.from_mask(masked, None, schedule, denoise=1.0)
    run, start = Run(tiny.predictor(flat), schedule, Noise([0])), State.from_tokens(masked, World.K)
    states = steps(ancestral, run, start, [100.0, 50.0, 0.0], region, repeats=[3, 3])
    shares = [(state.x_BN == World.K).double().mean().item() for state in states]
    assert shares == pytest.approx([0.5, 0.5, 0.5, 0, 0, 0], abs=0.015)
