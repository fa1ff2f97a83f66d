"""What a card can do, and what a guided step takes of it."""

from __future__ import annotations

import gc
import runpy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from vqdiffusion_core.diffusion.settings import Settings
from vqdiffusion_core.memory import image_bytes, step_bytes
from vqdiffusion_core.networks.specs import TransformerSpec
from vqdiffusion_core.networks.vqgan import VQGAN

from . import drawing, models
from .gpu_setting import Setting
from .results import Row, shown

HALF = torch.bfloat16


def limits(setting: Setting) -> Iterator[Row]:
    side, size = (64, 1 << 16) if setting.dry else (8192, 1 << 30)
    x, y = (torch.rand(side, side, device=setting.device, dtype=HALF) for _ in range(2))
    source, target = (torch.empty(size, dtype=torch.uint8, device=setting.device) for _ in range(2))
    few = torch.zeros(8, device=setting.device)
    many = range(10 if setting.dry else 1000)
    product = setting.times(lambda: x @ y).median
    yield Row("products of bfloat16", f"{2 * side**3 / product / 1e12:.0f} TFLOP/s")
    copy = setting.times(lambda: target.copy_(source)).median
    yield Row("copies", f"{2 * size / copy / 1e12:.2f} TB/s")
    launch = setting.times(lambda: [few.add_(1) for _ in many]).median / len(many)
    yield Row("a launch", f"{launch * 1e6:.1f} us", "4 to 8 in the model")
    wait = setting.times(lambda: [few[0].item() for _ in many]).median / len(many)
    yield Row("a wait", f"{wait * 1e6:.1f} us", "15 in the model")


def step_of(setting: Setting, spec: TransformerSpec, batch: int, dtype: torch.dtype) -> drawing.Run:
    spec = replace(setting.spec(spec), text_width=512)
    run = drawing.Run(models.transformer(spec, dtype, str(setting.device)).prepare_for_inference(), batch=batch)
    run.settings = Settings(steps=16, guidance=models.GUIDANCE, sampler="confidence")
    run.step()
    return run


def steps(setting: Setting) -> Iterator[Row]:
    pocket = load(POCKET_FOLDER).transformer.spec
    counted = launches_counted()
    sizes = {"pocket": (pocket, (1, 32)), "COCO": (models.COCO, (1, 8)), "ITHQ": (models.ITHQ, (1, 8))}
    for name, (spec, batches) in sizes.items():
        for batch in batches[:1] if setting.dry else batches:
            run = step_of(setting, spec, batch, HALF)
            times, (kernels, waits) = setting.times(run.step), kernels_and_waits(setting, run.step)
            rate = models.step_flops(run.network.spec, passes=2 * batch) / times.median / 1e12
            expected = f"{counted[name]} kernels, 1 wait" if name in counted else ""
            ratio = kernels / counted[name] if name in counted else None
            note = f"{shown(times)} a step, {rate:.0f} TFLOP/s"
            yield Row(f"{name}, batch of {batch}", f"{kernels:.0f} kernels, {waits} waits", expected, ratio, note)
            del run
            gc.collect()


def launches_counted() -> dict[str, int]:
    """By the fake device of the tests, which find the checkout as `pack`."""
    runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))
    return import_module("pack.tests.device.test_budgets").LAUNCHES


def kernels_and_waits(setting: Setting, step: Callable[[], None]) -> tuple[float, int]:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.on_card else [])]
    with profile(activities=activities) as seen:
        for _ in range(2):
            step()
    kernels = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in seen.events() or ())
    if setting.on_card:
        torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            step()
    finally:
        if setting.on_card:
            torch.cuda.set_sync_debug_mode("default")
    return kernels / 2, sum("synchroniz" in str(warning.message) for warning in said)


def memory(setting: Setting) -> Iterator[Row]:
    for name, spec, batch in (("COCO", models.COCO, 1), ("COCO", models.COCO, 16), ("ITHQ", models.ITHQ, 8)):
        run = step_of(setting, spec, batch, HALF)
        schedule, guidance = models.schedule(run.network.spec), run.guidance
        asked = step_bytes(run.network, schedule, guidance, run.masked_BN, run.settings)
        yield memory_row(f"{name}: a step, batch of {batch}", asked, taken(setting, run.image))
        del run
        gc.collect()
    spec = setting.codec_spec()
    codec = VQGAN(spec).to(setting.device).eval().requires_grad_(False)
    for side in (4,) if setting.dry else (32, 64, 128):
        tokens = torch.zeros(1, side, side, dtype=torch.long, device=setting.device)
        pixels = torch.zeros(1, 3, side * spec.downscale, side * spec.downscale, device=setting.device)
        for encoding, work in ((False, partial(codec.decode, tokens)), (True, partial(codec.encode, pixels))):
            asked = image_bytes(spec, pixels[0, 0].numel(), encoding=encoding)
            what = f"{'encode' if encoding else 'decode'} {pixels.shape[-1]} x {pixels.shape[-1]}"
            yield memory_row(what, asked, taken(setting, work))


def memory_row(what: str, asked: int, taken: int | None) -> Row:
    found, ratio = ("not counted on a CPU", None) if taken is None else (f"{taken / 1e6:.0f} MB", asked / taken)
    wrong = ratio is not None and not 0.8 <= ratio <= 1.25
    return Row(what, found, f"{asked / 1e6:.0f} MB asked for", ratio, "beyond a quarter" if wrong else "")


@torch.no_grad()
def taken(setting: Setting, work: Callable[[], object]) -> int | None:
    """Bytes beyond those that were taken before; None where nobody counts."""
    work()
    if not setting.on_card:
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before


def bench(setting: Setting) -> Iterator[Row]:
    """The sections of `./dev bench`, but for those that a card does not change."""
    from .run import sections

    if setting.dry:
        models.COCO, models.ITHQ = setting.spec(models.COCO), setting.spec(models.ITHQ)
    known = sections(quick=setting.dry)
    for name in ("step",) if setting.dry else ("step", "decode", "image", "ithq", "throughput", "autoregressive"):
        yield from known[name]()
