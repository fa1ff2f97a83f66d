"""`./dev gpu` runs: every part on a CPU at toy size, in a process of its own as the command has."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import sys
from pathlib import Path
from tests.bench import gpu

folder = Path(sys.argv[1])

def run(name, *options):
    sys.argv = ["gpu", "--dry", "--out", str(folder / name), *options]
    return gpu.main()

assert run("late", "--minutes", "0") == 0
assert run("whole") == 0
gpu.PARTS["same"] = ("", lambda setting: [1 / 0])
assert run("broken", "same", "limits") == 1
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        run.name: (json.loads((run / "bench-gpu.json").read_text()), (run / "gpu-report.md").read_text())
        for run in folder.iterdir()
    }


def test_every_part_finds_something_and_none_fails(reports):
    found, report = reports["whole"]
    assert len(found) == 10 and all(part["rows"] for part in found.values())
    assert "failed" not in report and "time was up" not in report
    assert found["same"]["machine"] in report, "by the name of the card"
    for line in ("| float32: an edit | 0.000 grey levels |", "| pocket, batch of 1 |", "| --cpu | 0.00 grey levels"):
        assert line in report


def test_when_the_time_is_up_it_says_so_and_ends(reports):
    found, _ = reports["late"]
    assert {part["rows"][0]["what"] for part in found.values()} == {"not begun"}


def test_a_part_that_fails_is_told_and_the_next_begins(reports):
    found, report = reports["broken"]
    assert "failed: ZeroDivisionError" in report
    assert len(found["limits"]["rows"]) == 4
