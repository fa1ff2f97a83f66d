"""Looks for what no test knows yet, with other random numbers every time: ./dev search [MINUTES]

Every round draws new examples for each property, and sends new workflows to a real ComfyUI. CONTRIBUTING.md says how
what it finds becomes an example that every run of the tests has.
"""

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
WORKFLOWS = 200  # a round


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev search", description=(__doc__ or "").split(":")[0])
    parser.add_argument("minutes", type=float, nargs="?", default=10, help="no round begins after that (default: 10)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of the first round")
    chosen = parser.parse_args()
    end = time.monotonic() + 60 * chosen.minutes
    seed, found = chosen.seed, 0
    while True:
        print(f"round of seed {seed}", flush=True)
        found += run("pytest", "-c", "tests/pytest.ini", "tests/core", "tests/nodes", "-q", "-m", "hypothesis",
                     "--hypothesis-profile=search", f"--hypothesis-seed={seed}")  # fmt: skip
        found += run("tests.host.reliability", "fuzz", f"--workflows={WORKFLOWS}", f"--seed={seed}")
        seed += 1
        if time.monotonic() > end:
            break
    print("found something: CONTRIBUTING.md says how it becomes an example" if found else "found nothing")
    return found > 0


def run(*command: str) -> bool:
    """Whether this found something."""
    return subprocess.run([sys.executable, "-m", *command], cwd=CHECKOUT).returncode != 0


if __name__ == "__main__":
    sys.exit(main())
