"""What `./dev bench` compares is comparable. In a process of its own, as the bench runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

SETUP = """
import torch
from dataclasses import replace
from tests.bench import clock, models

torch.manual_seed(0)
torch.set_grad_enabled(False)
small = replace(models.COCO, codebook_size=11, grid=(4, 4), layers=2, width=32, heads=4)
"""

PEER = """
ours = models.transformer(small, torch.float32, "cpu")
for parameter in ours.parameters():
    parameter.mul_(10)
peer = models.peer_transformer(ours)
assert peer.transformer_blocks[1].ff.net[2].weight.data_ptr() == ours.blocks[1].mlp[2].weight.data_ptr()
x, texts = torch.randint(0, 12, (2, 16)), torch.cat([models.text(torch.float32, "cpu", seed) for seed in (1, 2)])
theirs = peer(x, encoder_hidden_states=texts, timestep=torch.tensor(6)).sample
mine = ours(x, torch.tensor([6]), ours.precompute_kv(texts)).log_softmax(-1)
torch.testing.assert_close(mine, theirs.transpose(1, 2), atol=1e-4, rtol=1e-4)
run = models.PeerRun(peer, texts)
for _ in range(100):
    run.step()
assert (run.tokens < 11).all()
"""

CLOCK = """
order = []
times = clock.paired({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
assert order == list("abababab") and [len(each.rounds) for each in times.values()] == [3, 3]
ours, theirs = clock.Times((1.0, 2.0, 4.0)), clock.Times((3.0, 4.0, 40.0))
assert ours.median == 2 and ours.spread == 0.75 and ours.over(theirs) == 3
"""

FLOPS = """
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
import vqdiffusion_core.networks.kernels as products
products.onednn_types = lambda: []  # what the counter knows
network = models.transformer(small, torch.float32, "cpu")
memory = network.precompute_kv(torch.cat([models.text(torch.float32, "cpu")] * 2))
with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
    network.hidden(torch.zeros(2, 16, dtype=torch.long), torch.tensor([3]), memory)
norms = 2 * 2 * small.layers * 32 * 64  # scale and shift of one time
assert counter.get_total_flops() - norms == models.step_flops(small, passes=2), counter.get_total_flops()
"""


PROGRAMS = {
    "diffusers has our weights": PEER,
    "all take their turn": CLOCK,
    "the work of a step": FLOPS,
}
RUN = """
import json, sys, traceback
found = {}
for name, program in json.load(sys.stdin).items():
    try:
        exec(program, {})
        found[name] = ""
    except BaseException:
        found[name] = traceback.format_exc()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    """What went wrong in each program."""
    programs = json.dumps({name: SETUP + program for name, program in PROGRAMS.items()})
    command = [sys.executable, "-W", "ignore", "-c", RUN]
    done = subprocess.run(command, cwd=CHECKOUT, input=programs, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_bench_is_fair(found, name):
    assert found[name] == ""
