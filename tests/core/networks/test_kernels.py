"""Every short cut against the plain way: the fast network draws what the readable one draws."""

from dataclasses import replace

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import CheckpointError, save
from pack.vqdiffusion_core.diffusion.denoiser import Denoiser
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.logits import apply_truncation
from pack.vqdiffusion_core.diffusion.noise import Noise
from pack.vqdiffusion_core.diffusion.predictor import Prediction
from pack.vqdiffusion_core.diffusion.samplers import State, ancestral
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.networks import kernels, transformer
from pack.vqdiffusion_core.networks.kernels import Linear, attention, linear
from torch.nn.functional import scaled_dot_product_attention

from .. import reference, tiny
from ..allocations import Peak

WIDE = replace(tiny.SPEC, grid=(12, 12), codebook_size=40)  # long enough for attention head by head
TOLERANCE = {torch.float32: {"atol": 2e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 0.05, "rtol": 0.05}}
needs_onednn = pytest.mark.skipif(not kernels.ONEDNN, reason="this PyTorch or processor has no oneDNN for x86")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network():
    return tiny.transformer(spec=WIDE)


def masked_in_part(batch=2):
    x_BN = torch.randint(0, WIDE.codebook_size, (batch, WIDE.num_tokens), generator=torch.Generator().manual_seed(0))
    return x_BN.masked_fill(random(*x_BN.shape) > 0, WIDE.mask_id)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_that_of_torch(dtype, bias):
    x, weight = random(2, 30, 20).to(dtype), random(12, 20, seed=1).to(dtype)
    bias = random(12, seed=2).to(dtype) if bias else None
    expected = torch.nn.functional.linear(x.float(), weight.float(), None if bias is None else bias.float())
    torch.testing.assert_close(linear(x, weight, bias).float(), expected, **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("keys", [7, 150], ids=["short", "long"])
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


@pytest.mark.parametrize("t", [1, 6, 10])
def test_the_network_is_the_written_out_one(t):
    text = torch.cat([tiny.text(1), tiny.text(2)])
    fast, index = network(), torch.tensor([t - 1])
    with torch.no_grad():
        ours = fast(masked_in_part(), index, fast.precompute_kv(text))
        expected = reference.logits(fast, masked_in_part(), t - 1, text)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_states_at_some_places_are_those_of_all():
    fast, index = network(), torch.tensor([4])
    places = torch.tensor([[0, 5, 143], [7, 7, 2]])
    with torch.no_grad():
        memory = fast.precompute_kv(torch.cat([tiny.text(1), tiny.text(2)]))
        everywhere = fast.hidden(masked_in_part(), index, memory)
        here = fast.hidden(masked_in_part(), index, memory, places)
    for image, at in enumerate(places):
        torch.testing.assert_close(here[image], everywhere[image, at], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mlp", ["linear", "conv"])
def test_asking_for_some_tokens_gives_what_asking_for_all_does(mlp):
    """Unequally many in two images; with convolutions in the last block too, which look at their neighbours."""
    network = tiny.transformer(spec=replace(WIDE, mlp=mlp))
    where = torch.zeros(2, WIDE.num_tokens, dtype=torch.bool)
    where[0, [3, 77]] = where[1, [0, 1, 2, 143]] = True
    denoiser = Denoiser(network, Schedule.linear(10, 40), cfg(tiny.text(1), tiny.text(2), 3.0))
    all_tokens = denoiser(masked_in_part(), 6, torch.ones_like(where))
    some = denoiser(masked_in_part(), 6, where)
    torch.testing.assert_close(some, all_tokens[where.flatten()], atol=1e-4, rtol=1e-4)


def test_a_norm_by_one_time_is_that_by_many():
    norm = network().blocks[0].ln1
    h, row = random(2, 9, WIDE.width), torch.tensor([3])
    torch.testing.assert_close(norm(h, row), norm(h, row.expand(2)), atol=1e-5, rtol=1e-5)


def test_an_mlp_in_parts_is_the_whole_one(monkeypatch):
    mlp, h = network().blocks[0].mlp, random(2, 50, WIDE.width)
    with torch.no_grad():
        whole = mlp(h.clone())
        monkeypatch.setattr(transformer, "INNER_BYTES", {True: 9 * 4 * WIDE.width * 4, False: 1})
        torch.testing.assert_close(mlp(h.clone()), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mlp(h), whole, atol=1e-5, rtol=1e-5)  # as training does it


def test_a_table_of_times_is_the_layers_that_it_replaces():
    fast, table, x, index = network(), network().cache_adaln(), masked_in_part(), torch.tensor([6])
    with torch.no_grad():
        memory = fast.precompute_kv(tiny.text(1).expand(2, -1, -1))
        torch.testing.assert_close(table(x, index, memory), fast(x, index, memory), atol=1e-4, rtol=1e-4)
    assert set(dict(table.named_parameters())) ^ set(dict(fast.named_parameters())) == {
        f"blocks.{i}.{norm}.{part}"
        for i in range(WIDE.layers)
        for norm in ("ln1", "ln1_1")
        for part in ("table", "emb.weight", "linear.weight", "linear.bias")
    }
    assert table.cache_adaln().adaln_cached  # again does nothing


def test_the_same_tokens_as_the_readable_network_for_the_same_seed():
    """Float32, guidance, truncation, several seeds: whole runs, token by token."""
    fast, schedule = network(), Schedule.linear(WIDE.num_timesteps, WIDE.codebook_size)
    cond, null = tiny.text(1), tiny.text(2)

    def readable(x_BN, t, where_BN):
        def log_p(text_BLD):
            index = schedule.network_index(t)
            return reference.logits(fast, x_BN, index, text_BLD.expand(len(x_BN), -1, -1)).log_softmax(-1)

        mixed = log_p(null) + 3 * (log_p(cond) - log_p(null))
        return truncated(mixed.log_softmax(-1)[where_BN])

    def truncated(log_p_MK):
        return Prediction(apply_truncation(log_p_MK, 0.86), log_p_MK.amax(-1))

    denoiser = Denoiser(network().cache_adaln(), schedule, cfg(cond, null, 3.0))
    runs = []
    for predict in (readable, lambda *state: truncated(denoiser(*state))):
        masked = torch.full((4, WIDE.num_tokens), WIDE.mask_id)
        state, times, noise = State.from_tokens(masked, WIDE.mask_id), schedule.timesteps(8), Noise([0, 1, 2, 3])
        with torch.no_grad():
            *_, last = tiny.walk(ancestral, predict, state, schedule, times, noise, masked >= 0)
        runs.append(last.x_BN)
    assert torch.equal(*runs)


def test_a_model_made_ready_for_drawing_is_not_saved_in_part(tmp_path):
    from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load

    model = load(POCKET_FOLDER)
    model.transformer.cache_adaln()
    with pytest.raises(CheckpointError, match="load it anew to save it"):
        save(model, tmp_path / "saved")
    assert not any(tmp_path.iterdir())
