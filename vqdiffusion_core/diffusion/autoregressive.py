"""Drawing token after token, row by row: how a `GPT` draws (Esser et al. 2021, section 3.2), with the guidance, logits
processors and seeds of a diffusion.

On a canvas larger than the model's grid a window slides from token to token, and what it shows is read anew (3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ..networks.gpt import GPT, Cache
from ..networks.oom import first_that_fits
from ..networks.precision import Bfloat16
from ..notices import notify
from .denoiser import of_images
from .guidance import Condition, Guidance
from .logits import LogitsProcessor
from .noise import Noise
from .predictor import Predictor
from .samplers import State
from .settings import DEFAULTS, Settings
from .windows import Grid, cells

SCARCE = (
    "Memory is too small for what is kept of all these images at once, so every token reads those before it anew. A "
    "smaller batch is much quicker."
)
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
    given = network, guidance, x_BN.shape, canvas, device
    wider = WiderReader(*given) if network.dtype is torch.float16 else None
    predict = Predictor(Reader(*given), processors, 0.0, wider)
    for row in range(canvas[0]):
        for n in range(row * canvas[1], (row + 1) * canvas[1]):
            where_BN = torch.zeros_like(editable_BN)
            where_BN[:, n] = editable_BN[:, n]
            if where_BN.any():
                x0_M, log_p_M, _ = predict(x_BN, n, where_BN, pick_BN)
                x_BN[where_BN], confidence_BN[where_BN] = x0_M, log_p_M.exp()
        yield State(x_BN.clone(), confidence_BN.clone())


class Reader:
    """log p of the next token by guidance: a `Denoise` whose time is the number of tokens before. What was read stays
    in a cache as long as the window does not move and the same images go through together.
    """

    def __init__(self, network: GPT, guidance: Guidance, shape: Sequence[int], canvas: Grid, device: torch.device):
        self.network = network
        self.conditions, weights_CBN = conditions_by_token(network, guidance, shape)
        self.weights_CBN = weights_CBN.to(device)
        self.canvas = canvas
        self.device = device
        self.kept: dict[tuple[int, int], tuple[Cache, Tensor]] = {}  # the canvas positions that a cache has seen

    @torch.no_grad()
    def __call__(self, x_BN: Tensor, n: float, where_BN: Tensor, images: slice) -> Tensor:
        read = partial(self.read, x_BN, int(n), where_BN, images)
        return first_that_fits((read, partial(self.forget_others, read)), "these images")

    def forget_others(self, read: Callable[[], Tensor]) -> Tensor:
        """Make room by what is kept of other images, which is then worked out again."""
        if self.kept:
            notify(SCARCE)
        self.kept.clear()
        return read()

    def read(self, x_BN: Tensor, n: int, where_BN: Tensor, images: slice) -> Tensor:
        key = images.start, images.stop
        before_S = places_before(*divmod(n, self.canvas[1]), self.canvas, self.network.spec.grid)
        cache, seen_S = self.kept.pop(key, None) or self.begin(images)  # not kept where memory runs out
        if not torch.equal(before_S[: len(seen_S)], seen_S):
            cache.length, seen_S = 0, before_S[:0]
        new_BS = x_BN[images, before_S[len(seen_S) :]].to(self.device).repeat(len(self.weights_CBN), 1)
        log_p_CBK = self.network.next(new_BS, cache).float().log_softmax(-1).unflatten(0, (len(self.weights_CBN), -1))
        self.kept[key] = cache, before_S
        log_p_BK = (self.weights_CBN[:, images, n, None] * log_p_CBK).sum(0).log_softmax(-1)
        return log_p_BK[where_BN[images, n].nonzero()[:, 0].to(self.device)]

    def begin(self, images: slice) -> tuple[Cache, Tensor]:
        """A cache for some images, which has seen nothing yet."""
        count = images.stop - images.start
        given = [None if condition is None else of_images(condition, images) for condition in self.conditions]
        prefix_BPW = torch.cat([self.network.prefix(condition, count, self.device) for condition in given])
        return Cache(self.network.spec, prefix_BPW), torch.empty(0, dtype=torch.long)


class WiderReader(Reader):
    """By numbers of float32's range, for a network of float16."""

    def __call__(self, x_BN: Tensor, n: float, where_BN: Tensor, images: slice) -> Tensor:
        with Bfloat16():
            return super().__call__(x_BN, n, where_BN, images)


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
