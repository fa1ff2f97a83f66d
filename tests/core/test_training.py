"""The objective is the papers', and a run that was cut off goes on as if it had not been."""

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core.posterior import q_posterior, q_sample
from pack.vqdiffusion_core.schedule import Schedule
from pack.vqdiffusion_core.specs import TransformerSpec, VQGANSpec
from pack.vqdiffusion_core.training.codec import CodecTraining
from pack.vqdiffusion_core.training.diffusion import DiffusionTraining, Networks
from pack.vqdiffusion_core.training.loop import run
from pack.vqdiffusion_core.training.objective import TimeSampler, loss_terms
from pack.vqdiffusion_core.training.pocket import new_text_encoder
from pack.vqdiffusion_core.transformer import Transformer
from pack.vqdiffusion_core.vqgan import VQGAN

K = 3
SCHEDULE = Schedule.linear(10, K, gamma_end=0.9)


@pytest.mark.parametrize("t", [1, 2, 6, 10])
def test_the_bound_is_the_divergence_of_the_two_posteriors(t):
    generator = torch.Generator().manual_seed(t)
    logits = torch.randn(1, 8, K, generator=generator, dtype=torch.float64)
    x0 = torch.randint(0, K, (1, 8), generator=generator)
    xt = torch.tensor([[K, K, K, K, 0, 1, 2, 0]])
    bound, auxiliary = loss_terms(logits, x0, xt, np.array([t]), SCHEDULE, auxiliary_weight=0.5)
    p = logits.float().softmax(-1).double()
    expected = 0.0
    for n in range(8):
        truth = torch.nn.functional.one_hot(x0[:, n : n + 1], K).double()
        q = q_posterior(truth, xt[:, n : n + 1], t - 1, t, SCHEDULE)[0, 0]
        r = q_posterior(p[:, n : n + 1], xt[:, n : n + 1], t - 1, t, SCHEDULE)[0, 0]
        expected += sum(a * (a / b).log() for a, b in zip(q, r, strict=True) if a > 0).item() / 8
    assert bound.item() == pytest.approx(expected, rel=1e-4)
    log_likelihood = p.gather(-1, x0[..., None]).log().mean().item()
    assert auxiliary.item() == pytest.approx(-0.5 * (2 - t / 10) * log_likelihood, rel=1e-4)
    if t == 1:
        assert bound.item() == pytest.approx(-log_likelihood, rel=1e-4)


def test_a_perfect_prediction_costs_nothing():
    x0 = torch.tensor([[0, 1, 2, 0]])
    logits = 60.0 * torch.nn.functional.one_hot(x0, K).float()
    for t in (1, 5, 10):
        coin = torch.rand(1, 4, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        bound, auxiliary = loss_terms(logits, x0, q_sample(x0, t, SCHEDULE, coin), np.array([t]), SCHEDULE)
        assert bound.item() == pytest.approx(0, abs=1e-6) and auxiliary.item() == pytest.approx(0, abs=1e-6)


def test_hard_times_are_drawn_more_often_and_the_mean_stays():
    sampler = TimeSampler(5)
    losses = np.array([9.0, 1.0, 2.0, 3.0, 4.0])  # of t = 1..5; that of t = 1 is not to count
    for _ in range(200):
        sampler.update(np.arange(1, 6), torch.from_numpy(losses))
    probabilities = sampler.probabilities().numpy()
    assert probabilities == pytest.approx(np.array([1, 1, 2, 3, 4]) / 11, rel=1e-3)
    t, p = sampler.sample(40_000, torch.Generator().manual_seed(0))
    estimate = (losses[t - 1] / p.numpy()).mean()
    assert estimate == pytest.approx(losses.sum(), rel=0.02)


def diffusion(folder):
    torch.manual_seed(5)
    text_encoder = new_text_encoder(folder / "tokenizer")
    spec = TransformerSpec(11, (4, 4), layers=1, width=16, heads=2, num_timesteps=4, text_width=text_encoder.width)

    def examples(generator, count):
        tokens = torch.randint(0, 11, (count, 16), generator=generator)
        return tokens, torch.tensor([text_encoder.tokenize("a red apple")] * count)

    networks = Networks(Transformer(spec), text_encoder)
    return DiffusionTraining(networks, Schedule.linear(4, 11), examples, batch=4)


def codec(folder):
    torch.manual_seed(5)
    spec = VQGANSpec((8, 8), 1, (), 8, 4, codebook_size=16, norm_groups=4)

    def pictures(generator, count):
        return torch.rand(count, 3, 16, 16, generator=generator) * 2 - 1

    return CodecTraining(VQGAN(spec), pictures, batch=2, continuous_steps=3)


@pytest.mark.parametrize("make", [diffusion, codec])
def test_a_resumed_run_ends_at_the_same_weights(make, tmp_path):
    whole, halves = make(tmp_path), make(tmp_path)
    run(whole, tmp_path / "whole", steps=8, log_every=4, report=lambda line: None)

    class PowerCut(Exception):
        pass

    step = halves.step
    halves.step = lambda i, progress: step(i, progress) if i < 6 else (_ for _ in ()).throw(PowerCut)
    with pytest.raises(PowerCut):
        run(halves, tmp_path / "halves", steps=8, save_every=5, report=lambda line: None)
    resumed = make(tmp_path)
    run(resumed, tmp_path / "halves", steps=8, report=lambda line: None)

    def flat(state):
        return [value for entry in state.values() for value in (flat(entry) if isinstance(entry, dict) else [entry])]

    for ours, theirs in zip(flat(resumed.state_dict()), flat(whole.state_dict()), strict=True):
        if torch.is_tensor(ours):
            assert torch.equal(ours, theirs)
    assert (tmp_path / "whole" / "log.csv").read_text().count("\n") == 3


def test_the_null_is_learned(tmp_path):
    training = diffusion(tmp_path)
    before = training.networks.null_1LD.clone()
    for step in range(6):
        training.step(step, 0.5)
    assert not torch.equal(training.networks.null_1LD, before)


def test_the_codebook_is_used_whole(tmp_path):
    training = codec(tmp_path)
    for step in range(30):
        numbers = training.step(step, 0.5)
    assert numbers["used_codes"] == 16
