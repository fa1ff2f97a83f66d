"""An image by steps of a diffusion and token by token: .venv/bin/python -m tests.bench.compare

In processor seconds of one thread, which a busy machine does not change much. What a step and a token cost depends on
the shape alone, so weights are random; of an image's tokens, a few along the way are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from vqdiffusion_core.networks.gpt import GPT, Cache
from vqdiffusion_core.networks.inference import FastTransformer
from vqdiffusion_core.networks.specs import GPTSpec

from . import models
from .drawing import COCO_GPT, gpt_of

ROUNDS = 3
STEPS = (100, 50, 25, 16, 8)
PLACES = 6  # tokens along an image
FACES = GPTSpec(1024, (16, 16), 24, 1664, 16, condition="none")  # the published one


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds, the median of some rounds after one that does not count."""
    times: list[float] = []
    for _ in range(ROUNDS + 1):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return median(times[1:])


def step_seconds(network: FastTransformer, length: int) -> float:
    """One network evaluation for a text of this length, without guidance, of as many tokens as a step of 16 draws."""
    spec = network.spec
    x_BN = torch.full((1, spec.num_tokens), spec.mask_id)
    kv = network.precompute_kv(torch.randn(1, length, spec.text_width))
    positions_BM = torch.arange(spec.num_tokens // 16)[None]
    return seconds(lambda: network.to_logits(network.hidden(x_BN, torch.tensor([3]), kv, positions_BM)))


def token_seconds(gpt: GPT, cached: bool) -> float:
    """One token, the mean of some along an image."""
    count, places = gpt.spec.num_tokens, torch.linspace(0, gpt.spec.num_tokens - 2, PLACES).int().tolist()
    text = torch.randn(1, gpt.spec.prefix, gpt.spec.text_width) if gpt.spec.condition == "text" else None
    prefix = gpt.prefix(text, 1, "cpu")
    x_BN, cache = torch.zeros(1, count, dtype=torch.long), Cache(gpt.spec, prefix)
    for kept in cache.layers:
        kept.zero_()

    def along() -> None:
        for place in places:
            if cached:
                cache.length = gpt.spec.prefix + place
                gpt.next(x_BN[:, :1], cache)
            else:
                gpt.next(x_BN[:, : place + 1], Cache(gpt.spec, prefix))

    return seconds(along) / PLACES


def measure(name: str, gpt: GPT, network: FastTransformer | None = None) -> None:
    count, step = gpt.spec.num_tokens, step_seconds(network, gpt.spec.prefix) if network else 0.0
    rows = [(f"{steps} steps", steps * step) for steps in STEPS if network]
    rows += [(f"token by token, {what}", count * token_seconds(gpt, what == "cache")) for what in ("cache", "no cache")]
    for what, image in rows:
        print(f"| {name} | {what} | {image:.3g} s | {count / image:.3g} |", flush=True)


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    pocket = load(POCKET_FOLDER, "float32").prepare_for_inference().transformer
    assert isinstance(pocket, FastTransformer)
    spec = pocket.spec
    shape = spec.codebook_size, spec.grid, spec.layers, spec.width, spec.heads
    print("| shape | way | an image | tokens a second |\n|---|---|---|---|")
    measure("pocket", gpt_of(GPTSpec(*shape, text_width=spec.text_width, prefix=27), torch.float32), pocket)
    coco = models.transformer(models.COCO, torch.float32, "cpu").prepare_for_inference()
    measure("COCO", gpt_of(COCO_GPT, torch.float32), coco)
    measure("faces", gpt_of(FACES, torch.float32))


if __name__ == "__main__":
    main()
