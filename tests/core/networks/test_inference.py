"""Every short cut against the plain way: the fast network draws what the readable one draws."""

from dataclasses import replace

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import CheckpointError, save
from pack.vqdiffusion_core.diffusion.denoiser import Denoiser
from pack.vqdiffusion_core.diffusion.guidance import cfg
from pack.vqdiffusion_core.diffusion.logits import apply_truncation
from pack.vqdiffusion_core.diffusion.noise import Noise
from pack.vqdiffusion_core.diffusion.samplers import State, ancestral
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.networks.transformer import Transformer

from .. import reference, tiny

WIDE = replace(tiny.SPEC, grid=(12, 12), codebook_size=40)  # long enough for attention head by head


def network():
    return tiny.transformer(spec=WIDE)


def masked_in_part(batch=2):
    generator = torch.Generator().manual_seed(0)
    x_BN = torch.randint(0, WIDE.codebook_size, (batch, WIDE.num_tokens), generator=generator)
    return x_BN.masked_fill(torch.rand(x_BN.shape, generator=generator) > 0.5, WIDE.mask_id)


def plain(fast):
    """The network of the paper, with the weights of a fast one."""
    readable = Transformer(fast.spec).eval()
    readable.load_state_dict(fast.state_dict())
    return readable


@pytest.mark.parametrize("t", [1, 6, 10])
def test_the_network_is_the_written_out_one(t):
    text = torch.cat([tiny.text(1), tiny.text(2)])
    fast, index = network(), torch.tensor([t - 1])
    with torch.no_grad():
        expected = reference.logits(fast, masked_in_part(), t - 1, text)
        ways = plain(fast)(masked_in_part(), index, text), fast(masked_in_part(), index, fast.precompute_kv(text))
    for ours in ways:
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mlp", ["linear", "conv"])
@pytest.mark.parametrize(
    ("condition", "given"),
    [("text", torch.cat([tiny.text(1), tiny.text(2)])), ("class", torch.tensor([3, 0])), ("none", None)],
)
def test_every_kind_of_network_says_fast_what_it_says_plainly(condition, given, mlp):
    fast, index = tiny.transformer(spec=replace(WIDE, condition=condition, class_rows=5, mlp=mlp)), torch.tensor([6])
    positions = torch.tensor([[0, 5, 143], [7, 7, 2]])
    with torch.no_grad():
        expected = plain(fast)(masked_in_part(), index, given)
        read = fast.precompute_kv(given) if condition == "text" else given
        here = fast.prepare_for_inference().to_logits(fast.hidden(masked_in_part(), index, read, positions))
    for image, of_one in enumerate(positions):
        torch.testing.assert_close(here[image], expected[image, of_one], atol=1e-4, rtol=1e-4)


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


def test_a_table_of_times_is_the_layers_that_it_replaces():
    fast, table, x, index = network(), network().prepare_for_inference(), masked_in_part(), torch.tensor([6])
    with torch.no_grad():
        memory = fast.precompute_kv(tiny.text(1).expand(2, -1, -1))
        torch.testing.assert_close(table(x, index, memory), fast(x, index, memory), atol=1e-4, rtol=1e-4)
    held = dict(table.named_parameters())
    assert held["adaln.weight"].shape == (WIDE.num_timesteps, WIDE.layers * 2 * 2 * WIDE.width)
    assert not any(".ln1" in name for name in held)
    assert (
        table.prepare_for_inference() is table and held.keys() == dict(table.named_parameters()).keys()
    )  # again does nothing


@pytest.mark.parametrize("mlp", ["linear", "conv"])
@pytest.mark.parametrize("condition", ["text", "class"])
def test_every_weight_of_an_attention_is_found_again_by_its_published_name(condition, mlp):
    """Those of the others have kept their names, where they were not dropped."""
    fast = tiny.transformer(spec=replace(WIDE, condition=condition, class_rows=5, mlp=mlp))
    published = {name: tensor.clone() for name, tensor in fast.state_dict().items() if ".attn" in name}
    assert all(fast.place_of(name) == (name, slice(None)) for name in published)
    here = fast.prepare_for_inference().state_dict()
    for name, tensor in published.items():
        place, rows = fast.place_of(name)
        assert torch.equal(here[place][rows], tensor), name
    assert fast.place_of("blocks.0.attn1.key.weight") == ("blocks.0.attn1.qkv.weight", slice(32, 64))


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
        return apply_truncation(log_p_MK, 0.86)

    denoiser = Denoiser(network().prepare_for_inference(), schedule, cfg(cond, null, 3.0))
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
    model.prepare_for_inference()
    with pytest.raises(CheckpointError, match="load it anew to save it"):
        save(model, tmp_path / "saved")
    assert not any(tmp_path.iterdir())
