"""Whether a card gives what the CPU gives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from vqdiffusion_core.diffusion.settings import SAMPLERS, Settings
from vqdiffusion_core.editing import Inpaint, RegionalPrompt
from vqdiffusion_core.pipeline import generate

from .gpu_setting import Setting
from .results import Row

ALLOWED = 0.05  # grey levels of 255, on the mean, in float32
FLAGS = ("", "--gpu-only", "--highvram", "--lowvram", "--novram", "--cpu-vae", "--force-fp16", "--disable-smart-memory")


def cases(dry: bool) -> dict[str, dict[str, Any]]:
    """What is drawn, by name: a fox, if nothing else is said."""
    picture, mask = Image.effect_noise((96, 96), 60).convert("RGB"), Image.new("L", (96, 96))
    mask.paste(255, (30, 30, 70, 60))
    few = Settings(steps=1 if dry else 4)
    parts = [RegionalPrompt("a tiger", (0, 0, 0.5, 1)), RegionalPrompt("a fox", (0.5, 0, 1, 1))]
    samplers = {f"sampler {name}": {"settings": Settings(steps=few.steps, sampler=name)} for name in SAMPLERS}
    others = {
        "three at once": {"settings": few, "count": 3},
        "a large canvas": {"settings": few, "size": (192, 96)},
        "prompts for parts": {"settings": few, "parts": parts},
        "an edit": {"settings": few, "edit": Inpaint(picture, mask, grow=1, feather=4)},
    }
    return {name: {"prompt": "a fox on a white background"} | case for name, case in (samplers | others).items()}


def images(setting: Setting) -> Iterator[Row]:
    drawn_on_cpu: dict[str, list[Image.Image]] = {}
    on_cpu = load(POCKET_FOLDER, "float32").prepare_for_inference("cpu")
    for dtype in ("float32",) if setting.dry else ("float32", "float16", "bfloat16"):
        model = load(POCKET_FOLDER, dtype).prepare_for_inference(setting.device)
        for name, case in cases(setting.dry).items():
            if name not in drawn_on_cpu:
                drawn_on_cpu[name] = generate(on_cpu, seed=3, **case)
            expected = drawn_on_cpu[name]
            ours = generate(model, seed=3, **case)
            again = ours if setting.dry else generate(model, seed=3, **case)
            mean = float(np.mean([difference(*pair) for pair in zip(ours, expected, strict=True)]))
            repeats = all(a.tobytes() == b.tobytes() for a, b in zip(ours, again, strict=True))
            wrong = dtype == "float32" and mean > ALLOWED
            found = f"{'failed: ' * wrong}{mean:.3f} grey levels"
            allowed = f"{ALLOWED} or less" if dtype == "float32" else ""
            yield Row(f"{dtype}: {name}", found, allowed, note="" if repeats else "not the same twice")


def difference(image: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(image, float) - np.asarray(other, float)).mean())


def encoding(setting: Setting) -> Iterator[Row]:
    """How many tokens of an image change when convolutions round to TF32, and when they do not."""
    noise = np.random.default_rng(0)
    pictures = [Image.fromarray(noise.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((96, 96)) for _ in range(40)]
    batch = torch.stack([torch.from_numpy(np.asarray(each)).permute(2, 0, 1) / 127.5 - 1 for each in pictures])
    codec = load(POCKET_FOLDER, "float32").vqgan
    expected = codec.encode(batch)
    codec.to(setting.device)
    for exact in (False, True):
        with torch.backends.cudnn.flags(allow_tf32=not exact):
            changed = codec.encode(batch.to(setting.device)).cpu() != expected
        found = f"{changed.float().mean():.2%} of tokens, {changed.flatten(1).any(1).float().mean():.0%} of images"
        yield Row("exact convolutions" if exact else "TF32 allowed around it", found)


def flags(setting: Setting) -> Iterator[Row]:
    """Each flag in a process of its own, since ComfyUI reads them when it is imported."""
    expected = nodes_draw(setting, "--cpu")
    for flag in ("--cpu",) if setting.dry else FLAGS:
        values = expected if setting.dry else nodes_draw(setting, *flag.split())
        worst = float((values[0] - expected[0]).abs().max()) * 255
        same = torch.equal(values[1], expected[1])
        found = f"{'failed: ' * (worst > 1 and flag != '--force-fp16')}{worst:.2f} grey levels at most"
        yield Row(flag or "no flag", found, "1 or less", note="" if same else "other tokens when encoded again")


def nodes_draw(setting: Setting, *options: str) -> list[torch.Tensor]:
    """What the nodes make of a run in a ComfyUI with these options: its images, their tokens, and the nodes' views."""
    path = setting.out / "nodes.pt"
    command = [sys.executable, "-m", "tests.nodes.under_flags", str(path.resolve()), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=max(60, setting.seconds_left), check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(options)}: {done.stderr[-250:]}")
    values = torch.load(path, weights_only=True)
    os.remove(path)
    return values
