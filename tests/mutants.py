"""Whether the tests can fail: a file of the pack is changed in one place at a time, by cosmic-ray's operators, and the
tests that should notice are run. Changes that none of them notices are shown.

    ./dev mutate vqdiffusion_core/diffusion/posterior.py tests/core/diffusion/test_{posterior,laws}.py [--sample 40]

It works in a copy of the checkout. PyTorch is imported once: each mutant is tried in a fork (not on Windows).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

CHECKOUT = Path(__file__).parents[1]
BITS, SUMS = {"BitAnd", "BitOr", "BitXor"}, {"Add", "Sub", "Mul", "Div"}
PATIENCE, LEAST_PATIENCE = 5, 30  # times what the tests take unchanged, and seconds
PRELOADED = ("diffusers", "huggingface_hub", "hypothesis", "scipy.stats", "torch", "transformers")


def mutants(source: str) -> list[str]:
    """The file in every other form that differs in what it does, as far as its syntax tells."""
    found = {essence(source): source}
    for name in filter(of_interest, sorted(operator_names())):
        try:
            for changed in changes(source, name):
                with suppress(SyntaxError):  # of `not a := b`, for instance
                    found.setdefault(essence(changed), changed)
        except (AttributeError, TypeError) as error:  # cosmic-ray's: on `except a.b`, and of operators with arguments
            print(f"left out: {name}: {error}")
    return [changed for changed in found.values() if changed != source]


def changes(source: str, operator: str) -> Iterator[str]:
    mutator, place = get_operator(operator)(), 0
    for node in ast_nodes(get_ast(source)):
        for _ in mutator.mutation_positions(node):
            if (changed := mutate_code(source, mutator, place)) is not None:
                yield changed
            place += 1


def of_interest(operator: str) -> bool:
    """Of the many ways to replace an operator by another, those that somebody could have meant."""
    if "BinaryOperator" not in operator:
        return True
    before, after = operator.rsplit("_", 2)[1:]
    return {before, after} <= BITS or (before not in BITS and after in SUMS)


def essence(source: str) -> str:
    """What of a file counts when it runs: its syntax tree without annotations."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def passes(tests: list[str], seconds: float, log: Path) -> bool:
    """Whether the tests pass in a fork of this process, in time."""
    child = os.fork()
    if child == 0:
        os.setsid()
        with log.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        os._exit(int(pytest.main(["-c", "tests/pytest.ini", "-x", "-q", "-p", "no:cacheprovider", *tests])))
    status, end = None, time.monotonic() + seconds
    while status is None and time.monotonic() < end:
        time.sleep(0.02)
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # and what it has started
    if status is None:
        os.waitpid(child, 0)
    return status == 0


def copy_of_checkout(folder: Path) -> Path:
    """Without what is not needed for tests of the core: git's own files, the virtual environment, caches."""
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.jpg")
    return shutil.copytree(CHECKOUT, folder / "checkout", ignore=left_out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="to change, as vqdiffusion_core/diffusion/posterior.py")
    parser.add_argument("tests", nargs="+", help="those that should notice")
    parser.add_argument("--sample", type=int, help="try only so many, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(copy_of_checkout(Path(folder)))
        os.environ["OMP_NUM_THREADS"] = "1"
        sys.dont_write_bytecode = True
        for module in PRELOADED:
            __import__(module)
        return 0 if try_all(options, Path(folder) / "log.txt") else 1


def try_all(options: argparse.Namespace, log: Path) -> bool:
    path = Path(options.file)
    source = path.read_text()
    every = mutants(source)
    tried = random.Random(options.seed).sample(every, min(options.sample or len(every), len(every)))
    begin = time.monotonic()
    if not passes(options.tests, 3600, log):
        print(f"The tests fail already without a change:\n{log.read_text()[-3000:]}")
        return False
    patience = PATIENCE * (time.monotonic() - begin) + LEAST_PATIENCE
    print(f"{options.file}: {len(every)} mutants, {len(tried)} are tried", flush=True)
    survivors = 0
    for count, changed in enumerate(tried, 1):
        path.write_text(changed)
        if passes(options.tests, patience, log):
            survivors += 1
            lines = difflib.unified_diff(source.splitlines(), changed.splitlines(), n=0, lineterm="")
            print("\n".join(["survived:", *list(lines)[2:]]), flush=True)
        if count % 25 == 0 or count == len(tried):
            print(f"{count} tried, {count - survivors} killed, {survivors} survived", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
