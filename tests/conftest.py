"""Makes the checkout importable as `pack`: `from pack.vqdiffusion_core.diffusion.posterior import q_posterior`.

The root itself never goes on sys.path: there `import nodes` would mean ours instead of ComfyUI's. And no folder in
tests has an __init__.py: pytest would climb from it to that of the root and import it as a test package. What a test
needs from its own folder it has from `.tiny`, from elsewhere in tests from `pack.tests.tiny`.
"""

import collections
import os
import signal
import sys
import types
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

# Set before torch is imported; the ComfyUI that the tests boot inherits it. Processes run side by side instead.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job in a shell's background is started deaf to ctrl-C, and so would be all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
pack = types.ModuleType("pack")
pack.__path__ = [str(ROOT)]
sys.modules["pack"] = pack

# The same examples in every run: a test is red because of a change, never by the luck of a draw. `./dev search` draws
# others. A time limit for an example fails on a busy machine.
settings.register_profile("same", deadline=None, derandomize=True)
found = DirectoryBasedExampleDatabase(ROOT / ".cache" / "hypothesis")
settings.register_profile("search", deadline=None, print_blob=True, database=found)
settings.load_profile("same")


@pytest.fixture(scope="session")
def comfy():
    """One real ComfyUI with this pack, and with previews; booted for the first test that asks and shared by all."""
    from pack.tests.host.boot import end_on_signals
    from pack.tests.host.comfy import Comfy

    end_on_signals()
    with Comfy(["--preview-method", "auto"]) as comfy:
        yield comfy


# What pytest-xdist never parts, beside the tests of a file: those that share a ComfyUI, and those that share a browser.
TOGETHER = ("browser/", "host/")


def unit(nodeid):
    return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid.split("::")[0])


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # the longest first, so that none is left to one process in the end
        items.sort(key=lambda item: unit(item.nodeid) not in TOGETHER)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return unit(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter):
    """How many tests each folder has, and how long they took, their fixtures included."""
    tests, seconds = collections.Counter(), collections.Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            folder = report.nodeid.partition("/")[0]
            tests[folder] += report.when == "call"
            seconds[folder] += report.duration
    for folder, number in tests.items():
        terminalreporter.write_line(f"{folder:<8} {number:5} tests {seconds[folder]:6.0f} s")
