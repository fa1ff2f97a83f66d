"""Workflows of released versions, as people have saved and shared them: they go on drawing. tests/browser runs their
editor files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pack.tests.host import shipped
from pack.tests.host.fetch import CHECKOUT

FROZEN = sorted((CHECKOUT / "tests" / "frozen").glob("*/api/*.json"))
ALL = [*FROZEN, *sorted((shipped.EXAMPLES / "api").glob("*.json"))]


def name_of(path):
    return f"{path.parents[1].name} {path.stem}"


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_a_workflow_of_an_earlier_version_still_draws(comfy, path):
    images = comfy.images(comfy.run(json.loads(path.read_text())))
    assert images and {image.size for image in images} == {(96, 96)}


@pytest.fixture(scope="module")
def schemas(comfy, tmp_path_factory):
    """What the host says of its nodes, in a file."""
    shipped.make_class_model(comfy)
    file = tmp_path_factory.mktemp("lint") / "object_info.json"
    file.write_text(json.dumps(comfy.object_info()))
    return file


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_the_linter_of_workflows_finds_nothing(schemas, path):
    lint = Path(sys.executable).with_name("comfy-lint")
    command = [lint, "--schema-cache", schemas, path]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
