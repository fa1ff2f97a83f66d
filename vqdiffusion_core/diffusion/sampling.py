"""The loop that every image comes from: noise, then step by step to time 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..networks.transformer import Transformer
from .denoiser import Denoiser, across
from .guidance import Guidance
from .inpainting import Region
from .noise import Noise, exact_device
from .samplers import Run, State, Step
from .schedule import Schedule
from .settings import SAMPLERS, Settings
from .windows import Grid, windows


def sample(
    transformer: Transformer,
    schedule: Schedule,
    guidance: Guidance,
    tokens_BN: Tensor,
    mask_strength_BN: Tensor | None,
    settings: Settings,
    seeds: Sequence[int],
    canvas: Grid | None = None,
) -> Iterator[State]:
    """Draw tokens anew; yields the state before the first step and after each. The last one has no mask left.

    `tokens_BN` holds ids 0..K, K the mask, row by row of the `canvas` (the model's own grid, unless given).
    `mask_strength_BN`, 0..1, marks what is drawn anew: all, without it. `seeds` has one seed an image.
    """
    check_masks(schedule, settings)
    if mask_strength_BN is not None and not settings.soft:
        mask_strength_BN = (mask_strength_BN > 0).float()
    grid, device, exact = transformer.spec.grid, tokens_BN.device, exact_device(tokens_BN.device)
    tokens_BN = tokens_BN.to(exact)
    region, noise = Region.of(tokens_BN, mask_strength_BN, schedule, settings.denoise), Noise(list(seeds))
    nothing_BN = torch.zeros_like(tokens_BN, dtype=torch.bool)
    state = State.of(region.released(tokens_BN, region.start, nothing_BN, noise), transformer.spec.mask_id)
    yield state.to(device)
    frames = None if canvas in (None, grid) else windows(grid, canvas, settings.overlap)
    predict = across(settings.shape(Denoiser(transformer, schedule, guidance, region, frames)), device, exact)
    rounds = spread(settings.steps, settings.rounds)
    times = schedule.timesteps(len(rounds), region.start, settings.spacing)
    step = SAMPLERS[settings.sampler](settings)
    states = steps(step, Run(predict, schedule, noise), state, times, region, rounds)
    yield from (later.to(device) for later in states)


def steps(
    step: Step, run: Run, state: State, times: Sequence[float], region: Region, rounds: Sequence[int]
) -> Iterator[State]:
    """Jump by jump from times[0] down to times[-1], which is 0 at the end of a run.

    Tokens of a soft region join when their time has come. Jump i is taken back and done again until it was done
    rounds[i] times (the corrector of Campbell et al. 2022; RePaint's resampling, Lugmayr et al. 2022).
    """
    device = state.x_BN.device
    drawn_BN = region.drawn_BN(region.start).to(device)
    changes = not region.hard or max(rounds) > 1  # else no noise is spent on what never joins
    for (t, s), count in zip(pairwise(times), rounds, strict=True):
        if changes:
            state = state.noisy(region.released(state.x_BN, t, drawn_BN > 0, run.noise))
            drawn_BN = region.drawn_BN(t).to(device)
        for left in reversed(range(count)):
            state = step(run, state, t, s, drawn_BN)
            yield state
            if left:
                state = state.noisy(region.taken_back(state.x_BN, s, t, run.noise))


def check_masks(schedule: Schedule, settings: Settings) -> None:
    gamma = schedule.bar(schedule.num_timesteps).gamma
    if settings.sampler != "ancestral" and gamma < 0.5:
        raise ValueError(
            f"sampler is {settings.sampler!r}, which uncovers masked tokens, but this model's schedule masks only "
            f"{gamma:.0%} of them. Use the sampler 'ancestral'."
        )


def spread(steps: int, rounds: int) -> list[int]:
    """How often each jump is done, so that there are `steps` network evaluations in all.

    >>> spread(16, 1) == [1] * 16, spread(8, 3)
    (True, [3, 3, 2])
    """
    whole, rest = divmod(steps, rounds)
    return [rounds] * whole + [rest] * (rest > 0)
