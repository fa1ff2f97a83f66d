import pytest
from pack.tests.host.boot import end_on_signals
from pack.tests.host.comfy import Comfy


@pytest.fixture(scope="session")
def comfy():
    """One real ComfyUI with this pack, booted for the first test that asks and shared by all."""
    end_on_signals()
    with Comfy() as comfy:
        yield comfy
