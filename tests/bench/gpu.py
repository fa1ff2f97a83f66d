"""`./dev gpu [PART ...] [--minutes 25] [--dry]`: all that is to be known of a graphics card, what is worth most first.

Writes bench-gpu.json and gpu-report.md, anew after every line, and stops when the time is up. A part that fails says
so, and the next begins. `--dry` runs every part on a CPU at toy size, to see that it runs: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from . import gpu_cost, gpu_same, gpu_train, gpu_variants, results
from .gpu_setting import Setting
from .results import Row

PARTS: dict[str, tuple[str, Callable[[Setting], Iterator[Row]]]] = {
    "same": ("The images of the CPU, and a seed in other number types", gpu_same.images),
    "encoding": ("Tokens that change with the kind of products", gpu_same.encoding),
    "limits": ("What the card can do", gpu_cost.limits),
    "cost": ("Kernels and waits of a guided step, beside what is counted without a card", gpu_cost.steps),
    "memory": ("Memory that is asked for, beside what is taken", gpu_cost.memory),
    "flags": ("The nodes under ComfyUI's memory settings", gpu_same.flags),
    "network": ("Ways to run the network", gpu_variants.network),
    "codec": ("Ways to run the decoder", gpu_variants.codec),
    "bench": ("Beside the peers", gpu_cost.bench),
    "train": ("The built-in model from nothing", gpu_train.train),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--dry", action="store_true", help="on a CPU, at toy size")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the two files and the training run")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not options.dry and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU of CUDA here; --dry runs all parts on the CPU, to see that they run.")
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cpu" if options.dry else "cuda")
    setting = Setting(device, options.dry, options.out, time.monotonic() + 60 * options.minutes)
    path = options.out / "bench-gpu.json"
    found = results.read(path)
    for name in options.parts or PARTS:
        begin, rows = time.monotonic(), []
        print(f"{name} ...", file=sys.stderr, flush=True)
        for row in within_time(PARTS[name][1], setting):
            rows.append(row)
            found[name] = results.record(rows, time.monotonic() - begin)
            results.write(found, path)
            (options.out / "gpu-report.md").write_text(report(found))
    print(report(found))
    return int(any(row["ours"].startswith("failed") for part in found.values() for row in part["rows"]))


def within_time(part: Callable[[Setting], Iterator[Row]], setting: Setting) -> Iterator[Row]:
    """The rows of a part while there is time; what goes wrong is a row too."""
    if not setting.seconds_left:
        yield Row("not begun", "no time was left")
        return
    try:
        for row in part(setting):
            yield row
            if not setting.seconds_left:
                yield Row("not finished", "the time was up")
                return
    except Exception as error:
        yield Row("broke off", f"failed: {type(error).__name__}: {' '.join(str(error).split()):.300}")


def report(found: dict[str, dict]) -> str:
    """Markdown."""
    machines = sorted({part["machine"] for part in found.values()})
    lines = ["# What was measured on a graphics card", "", *(f"{machine}." for machine in machines)]
    for name, (title, _) in PARTS.items():
        if part := found.get(name):
            lines += ["", f"## {title}", "", f"`./dev gpu {name}`, {part['seconds']:.0f} seconds.", ""]
            lines.append(results.table({name: part}, ("what", "found", "beside", "ratio", "")))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
