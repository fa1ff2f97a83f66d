"""Ways to run the network and the decoder that might be worth building."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vqdiffusion_core.networks.specs import TransformerSpec
from vqdiffusion_core.networks.vqgan import VQGAN

from . import models
from .gpu_setting import Setting
from .results import Row, shown

KERNELS = ("CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")


def measured(setting: Setting, what: str, eager: float | None, make: Callable[[], Callable[[], object]]) -> Row:
    """`make` gives the work; where either fails, that is what was found."""
    try:
        times = setting.times(make())
    except Exception as error:
        return Row(what, f"not possible: {type(error).__name__}: {' '.join(str(error).split()):.160}")
    return Row(what, shown(times), ratio=eager / times.median if eager else None)


@torch.no_grad()
def network(setting: Setting) -> Iterator[Row]:
    """Ratios are to the network as it is."""
    cases = (("COCO", models.COCO, 1), ("COCO", models.COCO, 8), ("ITHQ", models.ITHQ, 1))
    for name, spec, batch in cases[: 1 if setting.dry else None]:
        yield from trunks(setting, f"{name}, batch of {batch}", setting.spec(spec), 2 * batch)
        torch._dynamo.reset()


def trunks(setting: Setting, name: str, spec: TransformerSpec, rows: int) -> Iterator[Row]:
    network = models.transformer(spec, torch.bfloat16, str(setting.device)).prepare_for_inference()
    x = torch.full((rows, spec.num_tokens), spec.mask_id, device=setting.device)
    index = torch.tensor([50], device=setting.device)
    kv = network.precompute_kv(models.text(torch.bfloat16, str(setting.device)).expand(rows, -1, -1))

    @torch.no_grad()
    def trunk() -> object:
        return network.hidden(x, index, kv)

    eager = setting.times(trunk)
    yield Row(f"{name}: as it is", shown(eager))
    for kernel in KERNELS if setting.on_card else KERNELS[-1:]:
        yield measured(setting, f"{name}: {kernel}", eager.median, lambda kernel=kernel: by_kernel(trunk, kernel))
    yield measured(setting, f"{name}: captured", eager.median, lambda: captured(setting, trunk))
    for block in network.blocks:
        block.compile(fullgraph=True, dynamic=False, backend="eager" if setting.dry else "inductor")
    yield measured(setting, f"{name}: blocks compiled", eager.median, lambda: trunk)
    yield measured(setting, f"{name}: compiled and captured", eager.median, lambda: captured(setting, trunk))


def by_kernel(work: Callable[[], object], kernel: str) -> Callable[[], object]:
    def call() -> object:
        with sdpa_kernel(getattr(SDPBackend, kernel)):
            return work()

    return call


def captured(setting: Setting, work: Callable[[], object]) -> Callable[[], object]:
    """The work's kernels as one CUDA graph."""
    if not setting.on_card:
        return work
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


DECODERS = {  # whether convolutions may round to TF32, and the memory format and type of the weights
    "TF32": (True, torch.contiguous_format, torch.float32),
    "exact": (False, torch.contiguous_format, torch.float32),
    "TF32, channels last": (True, torch.channels_last, torch.float32),
    "bfloat16, channels last": (True, torch.channels_last, torch.bfloat16),
}


@torch.no_grad()
def codec(setting: Setting) -> Iterator[Row]:
    """Ratios are to float32 with TF32 convolutions."""
    side = 4 if setting.dry else 32
    for batch in (1, 8):
        tokens = torch.zeros(batch, side, side, dtype=torch.long, device=setting.device)
        base = None
        for what, (tf32, form, dtype) in DECODERS.items():
            vqgan = VQGAN(setting.codec_spec()).eval().requires_grad_(False)
            vqgan.to(setting.device, dtype, memory_format=form)  # pyright: ignore[reportCallIssue]
            decode = partial(vqgan.decode, tokens)
            with torch.backends.cudnn.flags(allow_tf32=tf32):
                base = base or setting.times(decode).median
                yield measured(setting, f"batch of {batch}: {what}", base, partial(partial, decode))
