"""How much a real ComfyUI with this pack bears, at full length; the tests have short forms of both.

python -m tests.host.reliability fuzz --workflows 2000      workflows that nobody should send
python -m tests.host.reliability fuzz --workflows 1000 --times 3   all of them again and again: what a leak needs
python -m tests.host.reliability fuzz --only 137            one of them, shown
python -m tests.host.reliability soak --images 1000       images, one after the other, with everything changing
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path


def main():
    importlib.import_module("tests.conftest")  # makes `pack`
    parser = argparse.ArgumentParser(prog="reliability", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("fuzz")
    command.set_defaults(run=fuzz)
    command.add_argument("--workflows", type=int, default=2000)
    command.add_argument("--first", type=int, default=0, help="the number of the first one")
    command.add_argument("--times", type=int, default=1, help="how often all are sent; the first time is the warm-up")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--only", type=int, help="the number of the only one")
    command = commands.add_parser("soak")
    command.set_defaults(run=soak)
    command.add_argument("--images", type=int, default=1000)
    command.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()

    from pack.tests.host.boot import as_command

    as_command(lambda: chosen.run(chosen))


def host():
    """A ComfyUI with the hostile pack and models of three kinds."""
    from pack.tests.host import fuzz
    from pack.tests.host.comfy import Comfy

    base = Path(tempfile.mkdtemp(prefix="reliability-"))
    fuzz.prepare(base)
    return Comfy(base=base)


def say(line):
    print(line, flush=True)


def fuzz(chosen):
    from pack.tests.host import fuzz

    with host() as comfy:
        if chosen.only is not None:
            workflow = fuzz.Fuzzer(comfy.object_info(), chosen.seed).prompt(chosen.only)
            say(json.dumps(workflow, indent=1)[:20_000])
            return say(fuzz.outcome(comfy, workflow))
        numbers = range(chosen.first, chosen.first + chosen.workflows)
        workflows = [*fuzz.random_workflows(comfy, numbers, chosen.seed).items()] * chosen.times
        counts, findings, held = fuzz.attack(comfy, workflows, report=say)
    growth = fuzz.growth(held, chosen.workflows if chosen.times > 1 else fuzz.WARM_UP)
    say(f"{len(workflows)} workflows: {dict(counts)}; memory held at the end {growth:.3f} of the warm-up's")
    if findings or growth > fuzz.GROWTH:
        sys.exit("\n".join(["error:", *findings]))


def soak(chosen):
    from pack.tests.host import soak

    with host() as comfy:
        record = soak.soak(comfy, chosen.images, chosen.seed, report=say)
    say(soak.summary(record))
    if complaints := soak.complaints(record):
        sys.exit("\n".join(["error:", *complaints]))


if __name__ == "__main__":
    main()
