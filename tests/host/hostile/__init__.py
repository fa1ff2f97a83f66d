"""A custom node pack that hands other nodes what no honest node does. Each node has one input, which of its horrors.

It also lets a test ask ComfyUI's process for the memory that it holds, and for the threads of its pool.
"""

import ctypes
import gc
import sys
import threading

import psutil
import torch
from aiohttp import web
from server import PromptServer  # noqa: TID251  A test may ask how the process is; the pack never does.


@PromptServer.instance.routes.get("/hostile/memory")
async def held_memory(request):
    """Resident bytes: "kept", with what is free and kept by the allocator for later, and "held", without that."""
    process = psutil.Process()
    kept = process.memory_info().rss
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return web.json_response({"kept": kept, "held": process.memory_info().rss})


@PromptServer.instance.routes.get("/hostile/pool")
async def pool_threads(request):
    """How many threads asyncio's pool has: it starts each when it is first wanted and then keeps it, up to a number."""
    return web.json_response(sum(thread.name.startswith("asyncio_") for thread in threading.enumerate()))


def horror(kind, returns, horrors):
    """A node class of ComfyUI that returns one of the horrors, each made anew by a function."""

    class Node:
        CATEGORY = "hostile"
        RETURN_TYPES = (returns,)
        FUNCTION = "run"
        INPUT_TYPES = classmethod(lambda cls: {"required": {"kind": (sorted(horrors),)}})

        def run(self, kind):
            return (horrors[kind](),)

    Node.__name__ = kind
    return Node


def tokens(*shape):
    return torch.zeros(shape or (1, 1, 12, 12))


def latent(samples=None, **more):
    return lambda: {"samples": tokens() if samples is None else samples} | more


LATENTS = {
    "not a number": latent(tokens() * float("nan")),
    "infinite": latent(tokens() + float("inf")),
    "negative": latent(tokens() - 1),
    "enormous": latent(tokens() + 1e30),
    "whole numbers": latent(tokens().long()),
    "16 bits": latent(tokens().half()),
    "complex": latent(tokens().to(torch.complex64)),
    "yes and no": latent(tokens().bool()),
    "no image": latent(tokens(0, 1, 12, 12)),
    "no rows": latent(tokens(1, 1, 0, 12)),
    "flat": latent(tokens(12, 12)),
    "a film": latent(tokens(1, 1, 3, 12, 12)),
    "a wide strip": latent(tokens(1, 1, 12, 400)),
    "a list": lambda: {"samples": [[0]]},
    "nothing": lambda: {},
    "none": lambda: {"samples": None},
    "mask not a number": latent(noise_mask=torch.full((1, 12, 12), float("nan"))),
    "mask infinite": latent(noise_mask=torch.full((1, 12, 12), float("-inf"))),
    "mask of other batch": latent(noise_mask=torch.ones(3, 1, 12, 12)),
    "mask empty": latent(noise_mask=torch.ones(1, 0, 12)),
    "mask flat": latent(noise_mask=torch.ones(144)),
    "mask of five dimensions": latent(noise_mask=torch.ones(1, 1, 1, 12, 12)),
    "mask a text": latent(noise_mask="all"),
    "mask with channels": latent(noise_mask=torch.ones(1, 4, 12, 12)),
    "batch index short": latent(tokens(3, 1, 12, 12), batch_index=[0]),
    "batch index negative": latent(batch_index=[-5]),
    "batch index text": latent(batch_index=["x"]),
    "batch index enormous": latent(batch_index=[2**80]),
    "batch index none": latent(batch_index=[None]),
    "history a text": latent(vq_history="x", history="x"),
}


def conditioning(vectors=None, **more):
    return lambda: [[torch.zeros(1, 24, 128) if vectors is None else vectors, more]]


CONDITIONINGS = {
    "empty": lambda: [],
    "no vectors": lambda: [[None, {}]],
    "vectors not a number": conditioning(torch.full((1, 24, 128), float("nan"))),
    "vectors of another model": conditioning(torch.zeros(1, 77, 768)),
    "vectors flat": conditioning(torch.zeros(128)),
    "vectors of no length": conditioning(torch.zeros(1, 0, 128)),
    "vectors of five images": conditioning(torch.zeros(5, 24, 128)),
    "vectors whole": conditioning(torch.zeros(1, 24, 128).long()),
    "vectors very long": conditioning(torch.zeros(1, 5000, 128)),
    "class": conditioning(torch.ones(1, 1, 1), vq_class=1),
    "class negative": conditioning(-torch.ones(1, 1, 1), vq_class=-1),
    "class a text": conditioning(torch.ones(1, 1, 1), vq_class="x"),
    "class none": conditioning(torch.ones(1, 1, 1), vq_class=None),
    "class half": conditioning(torch.full((1, 1, 1), 0.5), vq_class=0.5),
    "strength not a number": conditioning(strength=float("nan")),
    "strength negative": conditioning(strength=-1.0),
    "strength a text": conditioning(strength="loud"),
    "strength infinite": conditioning(strength=float("inf")),
    "area short": conditioning(area=(1, 2)),
    "area empty": conditioning(area=()),
    "area text": conditioning(area="everywhere"),
    "area of texts": conditioning(area=("percentage", "a", "b", "c", "d")),
    "area not a number": conditioning(area=(float("nan"),) * 4),
    "area none": conditioning(area=(None,) * 4),
    "area a number": conditioning(area=5),
    "area enormous": conditioning(area=(10**12, 10**12, -(10**12), -(10**12))),
    "area outside": conditioning(area=(1, 1, 500, 500)),
    "area negative": conditioning(area=(-5, -5, 0, 0)),
    "mask a text": conditioning(mask="x"),
    "mask empty": conditioning(mask=torch.zeros(0, 5)),
    "mask not a number": conditioning(mask=torch.full((1, 8, 8), float("nan"))),
    "mask of other batch": conditioning(mask=torch.ones(7, 8, 8)),
    "mask of four dimensions": conditioning(mask=torch.ones(1, 1, 8, 8)),
    "time not a number": conditioning(start_percent=float("nan")),
    "time backwards": conditioning(start_percent=0.9, end_percent=0.1),
    "time a text": conditioning(end_percent="late"),
    "time outside": conditioning(start_percent=-3, end_percent=7),
    "control a text": conditioning(control="net"),
    "hooks a text": conditioning(hooks="hook"),
}

MASKS = {
    "not a number": lambda: torch.full((1, 20, 20), float("nan")),
    "infinite": lambda: torch.full((1, 20, 20), float("inf")),
    "negative": lambda: -torch.ones(1, 20, 20),
    "empty": lambda: torch.ones(1, 0, 20),
    "no image": lambda: torch.ones(0, 20, 20),
    "flat": lambda: torch.ones(20),
    "of five images": lambda: torch.ones(5, 20, 20),
    "of four dimensions": lambda: torch.ones(1, 1, 20, 20),
    "of one pixel": lambda: torch.ones(1, 1, 1),
    "whole numbers": lambda: torch.ones(1, 20, 20).long(),
    "yes and no": lambda: torch.ones(1, 20, 20).bool(),
    "large": lambda: torch.ones(1, 3000, 3000),
}

IMAGES = {
    "not a number": lambda: torch.full((1, 96, 96, 3), float("nan")),
    "infinite": lambda: torch.full((1, 96, 96, 3), float("inf")),
    "far too bright": lambda: torch.full((1, 96, 96, 3), 1e30),
    "grey": lambda: torch.zeros(1, 96, 96, 1),
    "transparent": lambda: torch.zeros(1, 96, 96, 4),
    "without colours": lambda: torch.zeros(1, 96, 96),
    "no image": lambda: torch.zeros(0, 96, 96, 3),
    "no rows": lambda: torch.zeros(1, 0, 96, 3),
    "of one pixel": lambda: torch.zeros(1, 1, 1, 3),
    "bytes": lambda: torch.zeros(1, 96, 96, 3, dtype=torch.uint8),
    "doubles": lambda: torch.zeros(1, 96, 96, 3, dtype=torch.float64),
    "of odd size": lambda: torch.zeros(1, 101, 99, 3),
}

# Not written as {...}: ComfyUI-Manager's scanner would take these for nodes of the pack.
NODE_CLASS_MAPPINGS = dict(
    HostileLatent=horror("HostileLatent", "LATENT", LATENTS),
    HostileConditioning=horror("HostileConditioning", "CONDITIONING", CONDITIONINGS),
    HostileMask=horror("HostileMask", "MASK", MASKS),
    HostileImage=horror("HostileImage", "IMAGE", IMAGES),
)
