"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [file for folder in ("nodes", "vqdiffusion_core") for file in sorted((ROOT / folder).rglob("*.py"))]
WITH_EXAMPLES = [file.relative_to(ROOT).as_posix() for file in FILES if ">>>" in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES)
def test_examples_in_docstrings_are_true(path):
    module = importlib.import_module("pack." + path.removesuffix(".py").replace("/", "."))
    failed, tried = doctest.testmod(module)
    assert tried and not failed
