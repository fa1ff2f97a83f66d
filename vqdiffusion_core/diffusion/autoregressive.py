"""Drawing token after token, row by row: how a `GPT` draws (Esser et al. 2021, section 3.2), with the guidance, logits
processors and seeds of a diffusion.

On a canvas larger than the model's grid a window slides from token to token, and what it shows is read anew (3.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor

from ..networks.gpt import GPT, Cache
from ..notices import notify
from .guidance import Condition, Guidance
from .logits import LogitsProcessor
from .noise import Noise
from .predictor import draw, unpack
from .samplers import State
from .settings import DEFAULTS, Settings
from .windows import Grid, cells

UNHEARD = ("steps", "spacing", "sharpness", "rounds", "overlap", "soft")  # settings that mean nothing here


def draw_rows(
    network: GPT,
    guidance: Guidance,
    state: State,
    editable_BN: Tensor,
    processors: Sequence[LogitsProcessor],
    noise: Noise,
    canvas: Grid,
    device: torch.device,
) -> Iterator[State]:
    """The state after each row of the canvas. Tokens that are not editable stay, and are read by those after them."""
    x_BN, confidence_BN = state.x_BN.clone(), state.confidence_BN.clone()
    pick_BN = noise.uniform(x_BN.shape[1])
    reader = Reader(network, guidance, x_BN.shape, device)
    for row in range(canvas[0]):
        for column in range(canvas[1]):
            n = row * canvas[1] + column
            if (editable_B := editable_BN[:, n]).any():
                log_p_BK = reader.log_p(x_BN, n, places_before(row, column, canvas, network.spec.grid))
                log_p_BK = reduce(lambda log_p, process: process(log_p), processors, log_p_BK)
                x_B, log_p_B, _ = unpack(draw(log_p_BK, log_p_BK.amax(-1), pick_BN[:, n]))
                x_BN[:, n] = torch.where(editable_B, x_B, x_BN[:, n])
                confidence_BN[:, n] = torch.where(editable_B, log_p_B.exp(), confidence_BN[:, n])
        yield State(x_BN.clone(), confidence_BN.clone())


class Reader:
    """log p of the next token by guidance. What was read stays in a cache as long as the window does not move."""

    def __init__(self, network: GPT, guidance: Guidance, shape: Sequence[int], device: torch.device):
        conditions, weights_CBN = conditions_by_token(network, guidance, shape)
        self.network = network
        self.device = device
        self.weights_CBN = weights_CBN.to(device)
        with torch.no_grad():
            prefix_BPW = torch.cat([network.prefix(condition, shape[0], device) for condition in conditions])
        self.cache = Cache(network.spec, prefix_BPW)
        self.seen_S = torch.empty(0, dtype=torch.long)  # the canvas positions whose tokens are in the cache

    @torch.no_grad()
    def log_p(self, x_BN: Tensor, n: int, before_S: Tensor) -> Tensor:
        """(B, K), float32, of the token at n, from those at the canvas positions `before_S`."""
        if not torch.equal(before_S[: len(self.seen_S)], self.seen_S):
            self.cache.length, self.seen_S = 0, before_S[:0]
        new_BS = x_BN[:, before_S[len(self.seen_S) :]].to(self.device).repeat(len(self.weights_CBN), 1)
        self.seen_S = before_S
        log_p_CBK = self.network.next(new_BS, self.cache).float().log_softmax(-1).unflatten(0, (-1, len(x_BN)))
        return (self.weights_CBN[:, :, n, None] * log_p_CBK).sum(0).log_softmax(-1)


def places_before(row: int, column: int, canvas: Grid, grid: Grid) -> Tensor:
    """The canvas positions that the token at this place is drawn from: those before it in the window around it.

    >>> places_before(1, 1, (3, 3), (3, 3)).tolist(), places_before(2, 3, (4, 5), (2, 2)).tolist()
    ([0, 1, 2, 3], [7, 8, 12])
    """
    top, left = (
        max(0, min(at - size // 2, length - size)) for at, size, length in zip((row, column), grid, canvas, strict=True)
    )
    return cells(grid, canvas, (top, left))[: (row - top) * grid[1] + column - left]


def conditions_by_token(network: GPT, guidance: Guidance, shape: Sequence[int]) -> tuple[list[Condition], Tensor]:
    """The conditions that speak anywhere, and how loudly at each token, (C, B, N); the progress of the run is the share
    of tokens before it. Raises ValueError where the model has not learned what one of them asks for.
    """
    batch, count = shape
    if network.spec.condition == "none":
        return [None], torch.ones(1, batch, count)
    by_token = [
        torch.stack([torch.as_tensor(weight).expand(batch, count)[:, n] for weight in guidance.weights(n / count)])
        for n in range(count)
    ]
    weights_CBN = torch.stack(by_token, -1).float()
    speaks_C = weights_CBN.flatten(1).any(1)
    conditions = [each for each, speaks in zip(guidance.conditions, speaks_C.tolist(), strict=True) if speaks]
    for condition in conditions:
        check_condition(network, condition)
    return conditions, weights_CBN[speaks_C]


def check_condition(network: GPT, condition: Condition) -> None:
    spec = network.spec
    if condition is not None and spec.condition == "class" and (condition == spec.null_class).any():
        raise ValueError(
            "This autoregressive model has never drawn without a class, so that guidance has nothing to push away "
            "from. Set guidance to 1, or connect another class as the negative one."
        )
    if condition is not None and spec.condition == "text" and condition.shape[1] != spec.prefix:
        raise ValueError(
            f"A prompt has {condition.shape[1]} text vectors; this autoregressive model reads {spec.prefix}, no "
            "fewer and no more. Encode it in one piece, without joining conditionings."
        )


def check_settings(settings: Settings, editable_BN: Tensor) -> None:
    """Raise ValueError for what cannot be drawn in this order, and say what has no effect on it."""
    if 0 < settings.denoise < 1:
        raise ValueError(
            f"denoise is {settings.denoise}; an autoregressive model draws a token from clean ones, so that there is "
            "no half-way. Set denoise to 1, and mark what to draw anew by a mask."
        )
    if (editable_BN[:, :-1] & ~editable_BN[:, 1:]).any():
        raise ValueError(
            "After what is marked there are tokens that stay. An autoregressive model draws row by row from what lies "
            "before, and does not see them: mark everything from the first marked token to the end, or take a "
            "diffusion model."
        )
    for name in UNHEARD:
        if (value := getattr(settings, name)) != getattr(DEFAULTS, name):
            notify(f"{name} is {value}, which has no effect on the sampler {settings.sampler}.")
