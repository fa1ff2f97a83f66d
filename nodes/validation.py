"""What our nodes' inputs take, held against what arrives before a node works."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, NamedTuple, ParamSpec, TypeVar

from . import runtime
from .host_types import describe, is_clip, is_conditioning, is_image, is_images, is_latent, is_mask
from .model import ManagedModel
from .vae import Vae

P = ParamSpec("P")
R = TypeVar("R")


class SocketType(NamedTuple):
    accepts: Callable[[Any], bool]
    what: str  # what that is, in words
    source: str  # the node that gives it


MODEL = SocketType(lambda value: isinstance(value, ManagedModel), "a VQ-Diffusion model", "VQ-Diffusion Loader")
CLIP = SocketType(is_clip, "a CLIP", "VQ-Diffusion Loader")
VAE = SocketType(lambda value: isinstance(value, Vae), "the VAE of a VQ-Diffusion model", "VQ-Diffusion Loader")
LATENT = SocketType(is_latent, "a latent", "VQ-Diffusion Empty Tokens or VQ-Diffusion Encode")
CONDITIONING = SocketType(is_conditioning, "a prompt or a class", "CLIP Text Encode or VQ-Diffusion Class Encode")
MASK = SocketType(is_mask, "a mask of at least one pixel", "a node that gives a MASK")
IMAGE = SocketType(is_image, "images of at least one pixel", "Load Image or another node that gives an IMAGE")
IMAGES = SocketType(is_images, IMAGE.what, IMAGE.source)

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
    "images": IMAGES,
}


def validate_inputs(execute: Callable[P, R]) -> Callable[P, R]:
    """`execute` of a node, which raises ValueError where an input is not of its socket's type. Its notices are shown on
    the node.
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
                validate_input(name, value)
        return execute(*arguments, **named)

    return run


def validate_input(name: str, value: Any) -> None:
    socket = SOCKETS[name]
    if not socket.accepts(value):
        raise ValueError(f"{name} is {describe(value)}; expected {socket.what}. Connect {socket.source}.")
