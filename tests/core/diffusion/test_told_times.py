"""The network's time: at every step the row of its tables that was trained on a state like the one that it sees."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.schedule import SPACINGS, Schedule
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS, Settings
from pack.vqdiffusion_core.networks.specs import TransformerSpec

K, T = 3, 100
SCHEDULE = Schedule.linear(T, K)
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


@dataclass
class Listening:
    """A network that finds all ids alike, and writes down what it is told and shown."""

    spec: TransformerSpec
    rows: list = field(default_factory=list)  # told, one list of a row an image for each evaluation
    masked: list = field(default_factory=list)  # shares, likewise
    dtype = torch.float32

    def hidden(self, x_BN, index_B, memory, places_BM=None):
        self.rows.append(index_B.tolist())
        self.masked.append((x_BN == K).double().mean(1).tolist())
        return torch.zeros(*(x_BN if places_BM is None else places_BM).shape, K)

    def to_logits(self, h_BMK):
        return h_BMK


def listen(tokens=None, level=None, *, grid=(8, 8), canvas=None, schedule=SCHEDULE, **changes):
    """The network after a run; from a blank canvas, unless tokens are given."""
    canvas = canvas or grid
    network = Listening(TransformerSpec(K, grid, 1, 1, 1, schedule.num_timesteps, condition="none"))
    tokens = torch.full((1, canvas[0] * canvas[1]), K) if tokens is None else tokens
    settings = Settings(**changes)
    list(sample(network, schedule, cfg(None, None, 1.0), tokens, level, settings, list(range(len(tokens))), canvas))
    return network


def rows(*arguments, **changes):
    return [row for told in listen(*arguments, **changes).rows for row in told]


def known(count=64, masked=0):
    tokens = torch.arange(count)[None] % K
    tokens[:, :masked] = K
    return tokens


def marked(count, of=64):
    return (torch.arange(of) < count).float()[None]


@every_sampler
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [99]),
        (2, [99, 49]),
        (10, [99, 89, 79, 69, 59, 49, 39, 29, 19, 9]),
        (16, [99, 93, 87, 80, 74, 68, 61, 55, 49, 43, 37, 30, 24, 18, 11, 5]),
    ],
)
def test_on_a_blank_canvas_it_is_the_row_of_the_states_time(sampler, steps, expected):
    assert rows(sampler=sampler, steps=steps) == expected


@every_sampler
def test_in_as_many_steps_as_were_trained_it_is_that_of_diffusers(sampler):
    from diffusers import VQDiffusionScheduler

    theirs = VQDiffusionScheduler(num_vec_classes=K + 1, num_train_timesteps=T)
    theirs.set_timesteps(T)
    told = rows(sampler=sampler, steps=T, grid=(40, 40))
    assert is_part_of(told, theirs.timesteps.tolist()) and len(told) > 95, "a step that draws nothing does not ask"


def test_more_steps_than_were_trained_tell_each_row_again():
    told = rows(sampler="exact count", steps=200, grid=(30, 30))
    assert told == [t // 2 for t in range(199, 1, -1)], "nothing is left for the last two"


@every_sampler
@pytest.mark.parametrize("canvas", [(8, 8), (8, 13), (11, 9)])
def test_a_larger_canvas_is_told_the_same_in_every_window(sampler, canvas):
    told = rows(canvas=canvas, sampler=sampler, steps=5)
    assert sorted(set(told), reverse=True) == [99, 79, 59, 39, 19]
    assert told == sorted(told, reverse=True)


@every_sampler
@pytest.mark.parametrize(("denoise", "expected"), [(0.5, [49, 39, 29, 19, 9]), (0.25, [24, 19, 14, 9, 4])])
def test_an_image_taken_back_half_way_is_told_the_states_of_the_rest(sampler, denoise, expected):
    assert rows(known(900), grid=(30, 30), denoise=denoise, sampler=sampler, steps=5) == expected


def nearest(share):
    """Of all trained states, worked out by diffusers, that whose masked share is the nearest."""
    from diffusers import VQDiffusionScheduler

    gamma_bar = VQDiffusionScheduler(num_vec_classes=K + 1, num_train_timesteps=T).log_cumprod_ct[:T].double().exp()
    return int((gamma_bar - share).abs().argmin())


@every_sampler
@pytest.mark.parametrize("count", [1, 5, 16, 21, 32, 63])
def test_of_a_part_it_is_the_nearest_state_by_the_share_that_is_masked(sampler, count):
    gamma = [SCHEDULE.bar(t).gamma for t in range(100, 0, -10)]
    expected = [nearest(count / 64 * each) for each in gamma]
    told = rows(known(), marked(count), sampler=sampler, steps=10)
    # a small part has steps that draw nothing
    assert told == expected if count > 30 else is_part_of(told, expected)


def is_part_of(some, more):
    left = iter(more)
    return bool(some) and all(each in left for each in some)


def test_half_of_an_image_is_told_so():
    assert rows(known(), marked(32), sampler="exact count", steps=10) == [49, 44, 39, 34, 29, 24, 19, 14, 9, 4]


def test_a_part_is_told_to_each_image_and_to_each_window():
    tokens = known().repeat(2, 1)
    levels = torch.cat([marked(16), marked(64)])
    assert listen(tokens, levels, sampler="exact count", steps=2).rows == [[25, 99], [12, 49]]
    left = (torch.arange(128).view(8, 16) % 16 < 8).float().view(1, 128)
    told = rows(known(128), left, canvas=(8, 16), sampler="exact count", steps=2, overlap=0.0)
    assert told == [99, 49], "the right window has nothing to draw"
    told = rows(known(128), left, canvas=(8, 16), sampler="exact count", steps=1, overlap=0.5)
    assert told == [99, 49], "half of the middle window is masked"


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    ("level", "denoise", "rounds"),
    [("all", 0.6, 1), ("half", 1.0, 1), ("half", 0.3, 3), ("soft", 0.6, 1), ("soft", 0.8, 3)],
)
@every_sampler
def test_what_it_is_told_is_what_it_sees(sampler, level, denoise, spacing, rounds):
    """On a canvas so large that shares are what they are expected to be; an eighth of it is a hole already."""
    N = 64 * 64
    soft = torch.rand(1, N, generator=torch.Generator().manual_seed(0))
    levels = {"all": None, "half": soft.round(), "soft": soft}
    changes = {"spacing": spacing, "rounds": rounds, "soft": level == "soft", "denoise": denoise, "steps": 6}
    network = listen(known(N, N // 8), levels[level], grid=(64, 64), sampler=sampler, remask_strength=0.3, **changes)
    for (told,), (masked,) in zip(network.rows, network.masked, strict=True):
        below, above = SCHEDULE.gamma_bar[[told, min(told + 2, T)]]
        assert below - 0.03 < masked < above + 0.03


def test_a_hole_in_a_run_that_begins_half_way_is_a_blank_canvas_of_its_own():
    for sampler in SAMPLERS:
        told = rows(known(900, masked=900), grid=(30, 30), denoise=0.5, sampler=sampler, steps=5)
        gamma = [SCHEDULE.bar(t).gamma / SCHEDULE.bar(50).gamma for t in (50, 40, 30, 20, 10)]
        assert told == [nearest(each) for each in gamma], sampler


BARS = {
    "masks nothing": Schedule.uniform(10, K),
    "masks nine tenths": Schedule.linear(10, K, gamma_end=0.9),
    "masks in its first half alone": Schedule(
        K,
        np.concatenate([np.linspace(1, 0.5, 6), np.linspace(0.4, 0, 5)]),
        np.concatenate([np.zeros(6), np.linspace(0.1, 0.5, 5)]) / K,
        np.concatenate([np.linspace(0, 0.5, 6), np.full(5, 0.5)]),
    ),
}


@pytest.mark.parametrize("name", BARS)
def test_whatever_a_schedule_masks_a_whole_canvas_is_told_its_own_time(name):
    told = rows(schedule=BARS[name], sampler="ancestral", steps=10, grid=(30, 30))
    assert told == list(range(9, -1, -1))


# Where users are


@pytest.fixture
def told(monkeypatch):
    """The rows that any real network is told."""
    from pack.vqdiffusion_core.networks.inference import FastTransformer

    rows, hidden = [], FastTransformer.hidden

    def heard(self, x_BN, index_B, *rest):
        rows.extend(index_B[: len(index_B) // 2 or 1].tolist())  # guided: both branches in one pass
        return hidden(self, x_BN, index_B, *rest)

    monkeypatch.setattr(FastTransformer, "hidden", heard)
    return rows


@every_sampler
def test_the_command_tells_it_the_rows_of_the_chain(sampler, told, tmp_path):
    assert main(["generate", "a cat", "--steps", "5", "--sampler", sampler, "-o", str(tmp_path / "cat.png")]) == 0
    assert set(told) == {99, 79, 59, 39, 19} and told == sorted(told, reverse=True)
