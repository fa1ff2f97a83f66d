"""`./dev bench [SECTION ...] [--quick]`: this core beside its peers, in one process, as a table and as bench.json.

What is measured already stays in bench.json; the sections that are named are measured anew (all, if none is named).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import clock, drawing, models, parts, results
from .drawing import DEVICE, TYPES


def sections(quick: bool) -> dict[str, Callable[[], list[results.Row]]]:
    cuda = DEVICE == "cuda"  # where steps are milliseconds
    few, some, many = (1, 2, 5) if quick else (10, 30, 30) if cuda else (3, 5, 15)
    half = ["bfloat16"]
    types = half if quick else list(TYPES)
    batches = (1,) if quick else (1, 4)
    return {
        "import": partial(parts.importing, some),
        "load": partial(parts.loading, few),
        "text": partial(parts.text, many),
        "decode": partial(parts.decode, some),
        "sampler": partial(drawing.sampler, some),
        "step": partial(drawing.step, models.COCO, "COCO", some, types),
        "image": partial(drawing.image, 1 if quick or not cuda else few, types),
        "ithq": partial(drawing.step, models.ITHQ, "ITHQ", few, types if cuda else half),
        "scaling": partial(drawing.scaling, few),
        "autoregressive": partial(drawing.autoregressive, few, batches, types),
        **({"throughput": partial(drawing.throughput, few, (1, 8, 32))} if cuda else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections(quick=True)))
    parser.add_argument("--quick", action="store_true", help="few rounds and one number type: a look, not a result")
    parser.add_argument("--one-core", action="store_true", help="processor seconds of one thread, for a busy machine")
    options = parser.parse_args()
    if options.one_core:
        clock.one_core()
    known = sections(options.quick)
    if unknown := set(options.sections) - set(known):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    path = Path("bench-gpu.json" if DEVICE == "cuda" else "bench.json")
    found = results.read(path)
    print(results.machine(), flush=True)
    for name in options.sections or known:
        print(f"{name} ... ", end="", flush=True, file=sys.stderr)
        begin = time.perf_counter()
        rows = known[name]()
        found[name] = results.record(rows, time.perf_counter() - begin)
        print(f"{found[name]['seconds']:.0f} s", file=sys.stderr)
        results.write({name: found[name] for name in known if name in found}, path)
    print(results.table({name: found[name] for name in known if name in found}))


if __name__ == "__main__":
    main()
