"""The compiler takes a block whole: no question in it makes it stop and go on in Python."""

from dataclasses import replace

import pytest
import torch
from pack.tests.core import tiny

SPEC = replace(tiny.SPEC, grid=(24, 24), class_rows=5)  # large enough for a CPU's own attention
H_BNW = torch.randn(2, SPEC.num_tokens, SPEC.width, generator=torch.Generator().manual_seed(0))
KINDS = [("text", "linear", torch.cat([tiny.text(1), tiny.text(2)])), ("class", "conv", torch.tensor([3, 0]))]


@pytest.fixture(autouse=True)
def anew():
    torch.compiler.reset()


def whole(block):
    """As `compile` takes it, up to the graph: what is made of that is the compiler's business. A break raises."""
    return torch.compile(block, fullgraph=True, backend="eager")


@pytest.mark.parametrize(("kind", "mlp", "condition"), KINDS)
def test_of_a_block_in_training(kind, mlp, condition):
    block = tiny.transformer(spec=replace(SPEC, condition=kind, mlp=mlp)).blocks[0].train()
    told = H_BNW.clone().requires_grad_(), torch.tensor([6, 2]), condition
    compiled = whole(block)(*told)
    torch.testing.assert_close(compiled, block(*told), atol=1e-5, rtol=1e-5)
    compiled.sum().backward()
    assert told[0].grad is not None


@torch.no_grad()
@pytest.mark.parametrize(("kind", "mlp", "condition"), KINDS)
def test_of_a_block_that_draws(kind, mlp, condition):
    network = tiny.transformer(spec=replace(SPEC, condition=kind, mlp=mlp)).prepare_for_inference()
    told = H_BNW, network.times(torch.tensor([6]))[0], network.precompute(condition)[0]
    block = network.blocks[0]
    torch.testing.assert_close(whole(block)(*told), block(*told), atol=1e-4, rtol=1e-4)
