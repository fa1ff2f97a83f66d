"""What a step asks of the network's device: a clean token wherever it wants one, drawn from the denoiser's log p."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..networks.oom import AdaptiveBatches
from ..notices import notify
from .logits import LogitsProcessor, apply_purity_prior
from .noise import categorical

# (x_BN, t, where_BN, images) -> log p(x_0 | x_t) of these images at the M positions where `where_BN` is true, in order:
# (M, K), float32, on the device.
Denoise = Callable[[Tensor, float, Tensor, slice], Tensor]

OVERFLOW = (
    "Some numbers of this model are too large for float16, so those steps were worked out again in bfloat16. Take "
    "bfloat16 as the dtype to save the time."
)


class Prediction(NamedTuple):
    """What was drawn at M positions, on the CPU."""

    x0_M: Tensor  # ids, int64
    log_p_M: Tensor  # of each
    log_purity_M: Tensor  # the highest log p at each position, before the purity prior


# (x_BN, t, where_BN, uniform_BN) -> the draw at the positions where `where_BN` is true, by these uniform numbers
Predict = Callable[[Tensor, float, Tensor, Tensor], Prediction]


@dataclass(frozen=True)
class Predictor:
    """A denoiser whose log p goes through the processors, in this order, and then through the purity prior.

    Arguments lie on the CPU, and so does the result: it comes back at once, the one time that a step waits for its
    device. As many images go through together as fit into memory, and of one image as many tokens: a large canvas has
    more of them than the network's own grid. The purity prior weighs up all of an image, so there it stays whole.
    """

    denoise: Denoise
    processors: Sequence[LogitsProcessor]
    purity_prior: float
    wider: Denoise | None = None  # by numbers of a greater range
    batches: AdaptiveBatches = field(default_factory=AdaptiveBatches)
    parts: AdaptiveBatches = field(default_factory=AdaptiveBatches)  # of the asked tokens of one image

    def __call__(self, x_BN: Tensor, t: float, where_BN: Tensor, uniform_BN: Tensor) -> Prediction:
        drawn_M3 = self.batches.map(partial(self.draw_images, x_BN, t, where_BN, uniform_BN), len(x_BN))
        image_M = where_BN.nonzero()[:, 0]
        overflowed = image_M[~are_numbers(drawn_M3)].unique().tolist()
        if overflowed and self.wider:
            notify(OVERFLOW)
            again = replace(self, denoise=self.wider)
            for image in overflowed:  # each alone: a seed's image stays the same in any batch
                images = slice(image, image + 1)
                drawn_M3[image_M == image] = again.draw_images(x_BN, t, where_BN, uniform_BN, images)
        return unpack(drawn_M3)

    def draw_images(self, x_BN: Tensor, t: float, where_BN: Tensor, uniform_BN: Tensor, images: slice) -> Tensor:
        distribution = self.distribution_with_prior if self.purity_prior else self.distribution

        def draw_where(where_BN: Tensor) -> Tensor:
            return draw(*distribution(x_BN, t, where_BN, images), uniform_BN[images][where_BN[images]])

        asked_M = where_BN[images].flatten().nonzero()[:, 0] + images.start * where_BN.shape[1]
        if images.stop - images.start > 1 or len(asked_M) == 0 or self.purity_prior:
            return draw_where(where_BN)
        return self.parts.map(lambda part: draw_where(only(where_BN, asked_M[part])), len(asked_M))

    def distribution(self, x_BN: Tensor, t: float, where_BN: Tensor, images: slice) -> tuple[Tensor, Tensor]:
        """log p (M, K) to draw from, and the highest of each (M,)."""
        log_p_MK = self.denoise(x_BN, t, where_BN, images)
        log_p_MK = reduce(lambda log_p, process: process(log_p), self.processors, log_p_MK)
        return log_p_MK, log_p_MK.amax(-1)

    def distribution_with_prior(self, x_BN: Tensor, t: float, where_BN: Tensor, images: slice) -> tuple[Tensor, Tensor]:
        """Purity counts in parts of the highest in the image (Tang et al. 2022), so all of it is looked at."""
        where_bN = where_BN[images]
        log_p_NK, log_purity_N = self.distribution(x_BN, t, torch.ones_like(where_BN), images)
        log_purity_bN = log_purity_N.view_as(where_bN)
        purity_N = (log_purity_bN - log_purity_bN.amax(1, keepdim=True)).exp().flatten()
        asked_M = where_bN.flatten().nonzero()[:, 0].to(log_p_NK.device)
        log_p_MK = apply_purity_prior(log_p_NK[asked_M], purity_N[asked_M], self.purity_prior)
        return log_p_MK, log_purity_N[asked_M]


def only(where_BN: Tensor, position_m: Tensor) -> Tensor:
    """True at these positions alone, counted through the batch."""
    return torch.zeros_like(where_BN).flatten().index_fill(0, position_m, True).view_as(where_BN)


def draw(log_p_MK: Tensor, log_purity_M: Tensor, uniform_M: Tensor) -> Tensor:
    """An id from each distribution, its log p and the purity, (M, 3) on the CPU."""
    x0_M = categorical(log_p_MK, uniform_M)
    log_p_M = log_p_MK.gather(-1, x0_M[:, None])[:, 0]
    return torch.stack([x0_M.float(), log_p_M, log_purity_M], -1).cpu()  # float32 holds ids below 2**24


def are_numbers(drawn_M3: Tensor) -> Tensor:
    return drawn_M3[:, 2].isfinite()


def unpack(drawn_M3: Tensor) -> Prediction:
    """Raises ValueError where the network predicted no numbers."""
    x0_M, log_p_M, log_purity_M = drawn_M3.unbind(-1)
    if not are_numbers(drawn_M3).all():
        raise ValueError(
            "The network predicts what is not a number. If its numbers have 16 bits, they were too few: take float32 "
            "as the dtype. Otherwise the model's file is damaged: copy or download it again."
        )
    return Prediction(x0_M.long(), log_p_M, log_purity_M)
