"""What a benchmark has found, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from .clock import Times


@dataclass(frozen=True)
class Row:
    """One comparison."""

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None  # how many times as fast, or as small, as the peer we are
    note: str = ""


def compared(what: str, times: Mapping[str, Times], note: str = "") -> Row:
    """Of the times of "ours" and of "peer"."""
    ours, peer = times["ours"], times["peer"]
    return Row(what, shown(ours), shown(peer), ours.over(peer), note)


def shown(times: Times) -> str:
    spread = f" ± {times.spread:.0%}" if len(times.rounds) > 1 else ""
    return seconds(times.median) + spread


def seconds(value: float) -> str:
    """
    >>> seconds(95.0), seconds(2.345), seconds(0.0213), seconds(0.00012)
    ('95 s', '2.35 s', '21 ms', '0.12 ms')
    """
    if value < 0.0095:
        return f"{value * 1e3:.2f} ms"
    if value < 0.95:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.2f} s" if value < 20 else f"{value:.0f} s"


def machine() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"


def write(sections: Mapping[str, dict], path: Path) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(sections, indent=1, ensure_ascii=False) + "\n")
    os.replace(unfinished, path)


def read(path: Path) -> dict[str, dict]:
    return json.loads(path.read_text()) if path.exists() else {}


def record(rows: list[Row], took: float) -> dict:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "machine": machine(),
        "seconds": round(took, 1),
        "load": round(load, 1),
        "rows": [asdict(row) for row in rows],
    }


def table(sections: Mapping[str, dict], heads: Sequence[str] = ("what", "ours", "peer", "ratio", "")) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|---|"]
    for section in sections.values():
        for row in section["rows"]:
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            lines.append(f"| {row['what']} | {row['ours']} | {row['peer']} | {ratio} | {row['note']} |")
    return "\n".join(lines)
