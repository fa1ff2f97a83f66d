"""The loop that every image comes from: noise, then step by step to time 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..networks.gpt import GPT
from ..networks.inference import FastTransformer
from .autoregressive import check_settings, draw_rows
from .denoiser import Denoiser, WiderDenoiser
from .guidance import Guidance
from .inpainting import Region
from .noise import Noise
from .posterior import divide
from .predictor import Predictor
from .samplers import Jump, Run, State, Step
from .schedule import Schedule
from .settings import AUTOREGRESSIVE, DEFAULTS, SAMPLERS, Settings
from .windows import Grid, windows


def sample(
    transformer: FastTransformer | GPT,
    schedule: Schedule,
    guidance: Guidance,
    tokens_BN: Tensor,
    mask_strength_BN: Tensor | None,
    settings: Settings,
    seeds: Sequence[int],
    canvas: Grid | None = None,
) -> Iterator[State]:
    """Draw tokens anew; yields the state before the first step and after each, of which there are `count_steps`. The
    last one has no mask left.

    `tokens_BN` holds ids 0..K, K the mask, row by row of the `canvas` (the model's own grid, unless given), and lies
    where the network computes and the conditions lie. All else, and so the states, lies on the CPU.
    `mask_strength_BN`, 0..1, marks what is drawn anew: all, without it. `seeds` has one seed an image.
    """
    check_sampler(transformer, schedule, settings)
    if mask_strength_BN is not None and not settings.soft:
        mask_strength_BN = (mask_strength_BN > 0).float()
    grid, device, tokens_BN = transformer.spec.grid, tokens_BN.device, tokens_BN.cpu()
    region, noise = Region.from_mask(tokens_BN, mask_strength_BN, schedule, settings.denoise), Noise(list(seeds))
    if isinstance(transformer, GPT):
        check_settings(settings, region.editable_BN(0))
    x_BN = region.add_noise(tokens_BN, region.editable_BN(region.start), region.start, noise)
    state = State.from_tokens(tokens_BN, transformer.spec.mask_id).corrupt(x_BN)
    yield state
    if isinstance(transformer, GPT):
        editable_BN, processors = region.editable_BN(0), settings.logits_processors()
        yield from draw_rows(transformer, guidance, state, editable_BN, processors, noise, canvas or grid, device)
        return
    frames = None if canvas in (None, grid) else windows(grid, canvas, settings.overlap)
    given = transformer, schedule, guidance, region, frames, device
    wider = WiderDenoiser(*given) if transformer.dtype is torch.float16 else None
    predict = Predictor(Denoiser(*given), settings.logits_processors(), settings.sharpness, wider)
    repeats = repeats_of_jumps(settings.steps, settings.rounds)
    times = schedule.timesteps(len(repeats), region.start, settings.spacing)
    step = SAMPLERS[settings.sampler](settings)
    yield from steps(step, Run(predict, schedule, noise), state, times, region, repeats)


def steps(
    step: Step, run: Run, state: State, times: Sequence[float], region: Region, repeats: Sequence[int]
) -> Iterator[State]:
    """Jump by jump from times[0] down to times[-1], which is 0 at the end of a run.

    Tokens of a soft region join when their time has come. Jump i is taken back and done again until it was done
    repeats[i] times (the corrector of Campbell et al. 2022; RePaint's resampling, Lugmayr et al. 2022).
    """
    before, gamma_join_BN = times[0], region.mask_probability_at_join_BN(times[0])
    for (t, s), count in zip(pairwise(times), repeats, strict=True):
        if region.is_soft or max(repeats) > 1:  # else none joins, and no noise is spent on it
            joins_BN = region.editable_BN(t) & ~region.editable_BN(before)
            state = state.corrupt(region.add_noise(state.x_BN, joins_BN, t, run.noise))
            gamma_join_BN = torch.where(joins_BN, region.mask_probability_at_join_BN(t), gamma_join_BN)
        jump = make_jump(region, t, s, gamma_join_BN)
        for left in reversed(range(count)):
            state = step(run, state, jump)
            yield state
            if left:
                state = state.corrupt(region.renoise(state.x_BN, s, t, run.noise))
                # of what the run began with, some is masked now too, and no longer stays
                stays_BN = divide(1 - jump.gamma_t_BN, 1 - jump.gamma_s_BN)
                jump = jump._replace(gamma_join_BN=1 - stays_BN * (1 - jump.gamma_join_BN))
        gamma_join_BN = jump.gamma_join_BN
        before = t


def make_jump(region: Region, t: float, s: float, gamma_join_BN: Tensor) -> Jump:
    """The jump from t to s. Tokens that become editable only after t have no part in it."""
    editable_BN = region.editable_BN(t)
    gamma_t_BN, gamma_s_BN = (region.mask_probability_BN(time) * editable_BN for time in (t, s))
    return Jump(t, s, editable_BN, gamma_t_BN, gamma_s_BN, gamma_join_BN)


def count_steps(transformer: FastTransformer | GPT, settings: Settings, canvas: Grid) -> int:
    """Of a run: network evaluations, or rows where tokens are drawn one after the other."""
    return canvas[0] if isinstance(transformer, GPT) else settings.steps


def check_sampler(transformer: FastTransformer | GPT, schedule: Schedule, settings: Settings) -> None:
    """Raise ValueError where a model cannot draw in this way."""
    if isinstance(transformer, GPT):
        if settings.sampler != AUTOREGRESSIVE:
            raise ValueError(
                f"sampler is {settings.sampler!r}, which draws tokens in any order, but this model draws each from "
                f"those before it. Use the sampler {AUTOREGRESSIVE!r}."
            )
        return
    if settings.sampler == AUTOREGRESSIVE:
        raise ValueError(
            f"sampler is {AUTOREGRESSIVE!r}, but this model has learned to draw tokens in any order. Use the sampler "
            f"{DEFAULTS.sampler!r} or another one, or load an autoregressive model."
        )
    gamma = schedule.bar(schedule.num_timesteps).gamma
    if settings.sampler != "ancestral" and gamma < 0.5:
        raise ValueError(
            f"sampler is {settings.sampler!r}, which uncovers masked tokens, but this model's schedule masks only "
            f"{gamma:.0%} of them. Use the sampler 'ancestral'."
        )


def repeats_of_jumps(steps: int, rounds: int) -> list[int]:
    """How often each jump is done, so that there are `steps` network evaluations in all.

    >>> repeats_of_jumps(16, 1) == [1] * 16, repeats_of_jumps(8, 3)
    (True, [3, 3, 2])
    """
    whole, rest = divmod(steps, rounds)
    return [rounds] * whole + [rest] * (rest > 0)
