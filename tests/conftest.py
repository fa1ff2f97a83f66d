"""Makes the checkout importable as `pack`: `from pack.vqdiffusion_core.posterior import q_posterior`.

The root itself never goes on sys.path: there `import nodes` would mean ours instead of ComfyUI's. And no folder in
tests has an __init__.py: pytest would climb from it to that of the root and import it as a test package. What a test
needs from its own folder it has from `.tiny`, from elsewhere in tests from `pack.tests.tiny`.
"""

import os
import sys
import types
from pathlib import Path

import pytest
from hypothesis import settings

# Set before torch is imported; the ComfyUI that the tests boot inherits it.
os.environ.setdefault("OMP_NUM_THREADS", "2")

pack = types.ModuleType("pack")
pack.__path__ = [str(Path(__file__).parents[1])]
sys.modules["pack"] = pack

# A time limit per example fails on a busy machine; CI must not be red by the luck of a draw.
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("house")


@pytest.fixture(scope="session")
def comfy():
    """One real ComfyUI with this pack, booted for the first test that asks and shared by all."""
    from pack.tests.host.boot import end_on_signals
    from pack.tests.host.comfy import Comfy

    end_on_signals()
    with Comfy() as comfy:
        yield comfy
