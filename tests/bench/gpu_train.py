"""The built-in model from nothing, for as long as there is time, by the command that users have."""

from __future__ import annotations

import csv
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from vqdiffusion_core.cli import main

from .gpu_setting import Setting
from .results import Row

SIGNAL_NOW = 1.0  # seconds


def train(setting: Setting) -> Iterator[Row]:
    folder = setting.out / "gpu-run"
    command = [*toy(setting.out), "--device", "cpu"] if setting.dry else ["train", "pocket", str(folder)]
    timer = threading.Timer(max(SIGNAL_NOW, setting.seconds_left), os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        code = main(command)
    finally:
        timer.cancel()
    stopped = 128 + signal.SIGINT
    for log in sorted(folder.rglob("log.csv")):
        *_, last = csv.DictReader(log.open())
        numbers = ", ".join(f"{name} {float(value):.4g}" for name, value in last.items() if name != "step")
        yield Row(log.parent.name, f"{last['step']} steps", note=numbers)
    if code not in (0, stopped):
        yield Row("training", f"failed: exit code {code}")


def toy(out: Path) -> list[str]:
    images = out / "gpu-run" / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name in ("red", "blue"):
        Image.new("RGB", (16, 16), name).save(images / f"{name}.png")
    size = ["--size", "16", "--channels", "8,8", "--codes", "16", "--steps", "2", "--batch", "2"]
    return ["train", "codec", str(out / "gpu-run" / "codec"), "--data", str(images), *size]
