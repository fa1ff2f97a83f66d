"""Short forms of what reliability.py does at full length: a ComfyUI of its own bears bad workflows and long work."""

import pytest
from pack.tests.host import fuzz, soak
from pack.tests.host.comfy import Comfy

WORKFLOWS = 150
PICTURES = 80


@pytest.fixture(scope="module")
def hardened(tmp_path_factory):
    base = tmp_path_factory.mktemp("reliability")
    fuzz.prepare(base)
    with Comfy(base=base) as host:
        yield host


def test_bad_workflows_end_in_an_image_a_refusal_or_a_clear_error_and_good_ones_as_ever(hardened):
    workflows = fuzz.examples() | fuzz.random_workflows(hardened, range(WORKFLOWS), seed=0)
    counts, findings, _ = fuzz.attack(hardened, workflows.items())
    assert findings == []
    assert all(counts[kind] for kind in ("an image", "refused by ComfyUI", "a clear error")), counts


def test_a_changing_load_leaves_files_threads_and_images_as_they_were(hardened):
    record = soak.soak(hardened, PICTURES, seed=0)
    kept = [
        complaint for complaint in soak.complaints(record) if "memory" not in complaint and "longer" not in complaint
    ]
    assert kept == [], soak.summary(record)
    assert record.interrupted > 0
    assert soak.ratio(record, lambda reading: reading.held) < 1.15, "caches still fill, but not like that"
