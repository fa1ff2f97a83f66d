"""What arrives at a node's sockets, checked before the node works: ComfyUI takes a plain value for a link of any type,
and other nodes may hand on anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch

from . import runtime
from .model import ManagedModel
from .vae import Vae
from .values import described, is_image, is_mask

P = ParamSpec("P")
R = TypeVar("R")


class Expected(NamedTuple):
    """What a socket takes, in words, and where it comes from."""

    fits: Callable[[Any], bool]
    what: str
    source: str


def is_latent(value: Any) -> bool:
    return isinstance(value, dict) and "samples" in value


def is_conditioning(value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    pairs = [pair for pair in value if isinstance(pair, list | tuple) and len(pair) == 2]
    return len(pairs) == len(value) and all(torch.is_tensor(vectors) and isinstance(d, dict) for vectors, d in pairs)


def is_clip(value: Any) -> bool:
    """None too, which a model that reads no text gives; other encoders too, whose vectors the sampler looks at."""
    return value is None or hasattr(value, "encode_from_tokens_scheduled")


MODEL = Expected(lambda value: isinstance(value, ManagedModel), "a VQ-Diffusion model", "VQ-Diffusion Loader")
CLIP = Expected(is_clip, "a CLIP", "VQ-Diffusion Loader")
VAE = Expected(lambda value: isinstance(value, Vae), "the VAE of a VQ-Diffusion model", "VQ-Diffusion Loader")
LATENT = Expected(is_latent, "a latent", "VQ-Diffusion Empty Tokens or VQ-Diffusion Encode")
CONDITIONING = Expected(is_conditioning, "a prompt or a class", "CLIP Text Encode or VQ-Diffusion Class Encode")
MASK = Expected(is_mask, "a mask of at least one pixel", "a node that gives a MASK")
IMAGE = Expected(is_image, "images of at least one pixel", "Load Image or another node that gives an IMAGE")

# By the ids of our inputs, which mean the same in every node. None stands for an optional one that is not connected.
SOCKETS = {
    "vq_model": MODEL,
    "clip": CLIP,
    "vae": VAE,
    "samples": LATENT,
    "latent": LATENT,
    "positive": CONDITIONING,
    "negative": CONDITIONING,
    "mask": MASK,
    "pixels": IMAGE,
}


def validate_inputs(execute: Callable[P, R]) -> Callable[P, R]:
    """`execute` of a node, which raises ValueError where something arrives that its sockets do not take. Its notices
    are shown on the node.
    """
    parameters = signature(execute)

    @wraps(execute)
    @runtime.with_notices
    @runtime.usual_defaults()
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        given = parameters.bind(*arguments, **named).arguments
        optional = {name for name, parameter in parameters.parameters.items() if parameter.default is None}
        for name, value in given.items():
            if name in SOCKETS and not (value is None and name in optional):
                check(name, value)
        return execute(*arguments, **named)

    return run


def check(name: str, value: Any) -> None:
    expected = SOCKETS[name]
    if not expected.fits(value):
        raise ValueError(f"{name} is {described(value)}; expected {expected.what}. Connect {expected.source}.")
