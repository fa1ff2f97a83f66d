"""Every layer by its fastest way computes what PyTorch's own does."""

import pytest
import torch
from pack.vqdiffusion_core.networks import kernels
from pack.vqdiffusion_core.networks.kernels import Linear, attention, linear
from pack.vqdiffusion_core.networks.transformer import MLP, AdaptiveLayerNorm
from torch.nn.functional import scaled_dot_product_attention

from ..allocations import Peak

TOLERANCE = {torch.float32: {"atol": 2e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 0.05, "rtol": 0.05}}
needs_onednn = pytest.mark.skipif(not kernels.ONEDNN, reason="this PyTorch or processor has no oneDNN for x86")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_that_of_torch(dtype, bias):
    x, weight = random(2, 30, 20).to(dtype), random(12, 20, seed=1).to(dtype)
    bias = random(12, seed=2).to(dtype) if bias else None
    expected = torch.nn.functional.linear(x.float(), weight.float(), None if bias is None else bias.float())
    torch.testing.assert_close(linear(x, weight, bias).float(), expected, **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("keys", [7, 6000], ids=["small", "large"])
def test_attention_is_that_of_torch(dtype, keys):
    q, k, v = (random(2, n, 4, 8, seed=n).transpose(1, 2) for n in (50, keys, keys))
    expected = scaled_dot_product_attention(q.double(), k.double(), v.double())
    ours = attention(q.to(dtype), k.to(dtype), v.to(dtype))
    torch.testing.assert_close(ours.double(), expected, **TOLERANCE[dtype])


def test_attention_over_very_many_keys_takes_no_memory_for_all_scores_at_once():
    with torch.no_grad(), Peak() as peak:
        attention(*(torch.zeros(1, 1, 4096, 8) for _ in range(3)))
    assert peak.bytes < 4096 * 4096 * 4 / 4


def test_a_layer_can_still_be_trained():
    layer, plain = Linear(8, 5), torch.nn.Linear(8, 5)
    plain.load_state_dict(layer.state_dict())
    x = random(3, 8).requires_grad_()
    for each in (layer, plain):
        each(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
    assert x.grad is not None


@torch.no_grad()
def test_what_does_not_fit_together_is_refused_and_autocast_makes_it_fit():
    x, weight = random(3, 8).bfloat16(), random(5, 8)
    for wrong in (weight, random(5, 7).bfloat16()):
        with pytest.raises(RuntimeError):
            linear(x, wrong)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16


@needs_onednn
def test_float32_products_on_this_processor_go_to_onednn(monkeypatch):
    with torch.profiler.profile() as profile, torch.no_grad():
        linear(random(64, 32), random(16, 32))
    assert "mkldnn::_linear_pointwise" in {event.key for event in profile.key_averages()}


def test_a_norm_by_one_time_is_that_by_many():
    norm = AdaptiveLayerNorm(width=32, rows=10)
    h, row = random(2, 9, 32), torch.tensor([3])
    torch.testing.assert_close(norm(h, row), norm(h, row.expand(2)), atol=1e-5, rtol=1e-5)


def test_an_mlp_in_parts_is_the_whole_one(monkeypatch):
    mlp, h = MLP(width=32, ratio=4), random(2, 50, 32)
    with torch.no_grad():
        whole = mlp(h.clone())
        monkeypatch.setattr(kernels, "INNER_BYTES", {True: 9 * 4 * 32 * 4, False: 1})
        torch.testing.assert_close(mlp(h.clone()), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mlp(h), whole, atol=1e-5, rtol=1e-5)  # as training does it
