"""The objective is the papers', and a run that was cut off goes on as if it had not been."""

import csv
from copy import deepcopy

import numpy as np
import pytest
import torch
from pack.tests.core import tiny_training as tiny
from pack.tests.core.allocations import Peak
from pack.vqdiffusion_core.checkpoints import load, save
from pack.vqdiffusion_core.diffusion.posterior import q_posterior, q_sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.training import data
from pack.vqdiffusion_core.training.checkpoint import save_checkpoint
from pack.vqdiffusion_core.training.diffusion import ROWS
from pack.vqdiffusion_core.training.loop import run
from pack.vqdiffusion_core.training.objective import TimeSampler, loss_mask, loss_terms

K = 3
SCHEDULE = Schedule.linear(10, K, gamma_end=0.9)


@pytest.mark.parametrize("t", [1, 2, 6, 10])
@pytest.mark.parametrize("schedule", [SCHEDULE, Schedule.absorbing(10, K)], ids=["replaces", "absorbing"])
def test_the_bound_is_the_divergence_of_the_two_posteriors(t, schedule):
    generator = torch.Generator().manual_seed(t)
    logits = torch.randn(1, 8, K, generator=generator, dtype=torch.float64)
    x0 = torch.randint(0, K, (1, 8), generator=generator)
    xt = torch.tensor([[K, K, K, K, 0, 1, 2, 0]])
    if schedule is not SCHEDULE:
        xt[:, 4:] = x0[:, 4:]  # what is visible is clean
    flat = logits[0], x0[0], xt[0]
    bound, auxiliary = (term.mean() for term in loss_terms(*flat, np.full(8, t), schedule, auxiliary_weight=0.5))
    p = logits.float().softmax(-1).double()
    expected = 0.0
    for n in range(8):
        truth = torch.nn.functional.one_hot(x0[:, n : n + 1], K).double()
        q = q_posterior(truth, xt[:, n : n + 1], t - 1, t, schedule)[0, 0]
        r = q_posterior(p[:, n : n + 1], xt[:, n : n + 1], t - 1, t, schedule)[0, 0]
        expected += sum(a * (a / b).log() for a, b in zip(q, r, strict=True) if a > 0).item() / 8
    assert bound.item() == pytest.approx(expected, rel=1e-4)
    log_likelihood = p.gather(-1, x0[..., None]).log().mean().item()
    assert auxiliary.item() == pytest.approx(-0.5 * (2 - (t - 1) / 10) * log_likelihood, rel=1e-4)
    if t == 1 and schedule is SCHEDULE:
        assert bound.item() == pytest.approx(-log_likelihood, rel=1e-4)


@pytest.mark.parametrize("schedule", [SCHEDULE, Schedule.absorbing(10, K)], ids=["replaces", "absorbing"])
def test_what_is_known_of_x0_may_be_probabilities(schedule):
    """Of one token, it is that; and nothing is more likely to be said than what is to be said."""
    logits = torch.randn(8, K, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x0, xt, t = torch.tensor([0, 1, 2, 0] * 2), torch.full((8,), K), np.arange(2, 10)
    sure = torch.nn.functional.one_hot(x0, K).float()
    torch.testing.assert_close(loss_terms(logits, sure, xt, t, schedule), loss_terms(logits, x0, xt, t, schedule))
    sum(loss_terms(logits, logits.detach().softmax(-1), xt, t, schedule)).sum().backward()
    assert logits.grad.abs().max() < 1e-5


def test_a_perfect_prediction_costs_nothing():
    x0 = torch.tensor([0, 1, 2, 0])
    logits = 60.0 * torch.nn.functional.one_hot(x0, K).float()
    for t in (1, 5, 10):
        coin = torch.rand(4, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        bound, auxiliary = loss_terms(logits, x0, q_sample(x0, t, SCHEDULE, coin), np.full(4, t), SCHEDULE)
        assert bound.abs().max() < 1e-6 and auxiliary.abs().max() < 1e-6


def test_hard_times_are_drawn_more_often_and_the_mean_stays():
    sampler = TimeSampler(5)
    losses = torch.tensor([9.0, 1.0, 2.0, 3.0, 4.0])  # of t = 1..5; that of t = 1 is not to count
    for _ in range(200):
        sampler.update(torch.arange(1, 6), losses)
    assert sampler.probabilities().numpy() == pytest.approx(np.array([1, 1, 2, 3, 4]) / 11, rel=1e-3)
    t, p = sampler.sample(40_000, torch.Generator().manual_seed(0))
    estimate = (losses[t - 1] / p).mean()
    assert estimate.item() == pytest.approx(losses.sum().item(), rel=0.02)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_blank_share_that_leaves_nothing_else_is_refused(share, tmp_path):
    with pytest.raises(ValueError, match=f"blank share is {share}; expected 0 or more, and less than 1."):
        tiny.diffusion(tmp_path, blank_share=share)


def test_a_share_of_the_draws_is_all_masked_and_weighs_as_much_as_the_others():
    plain, sampler = TimeSampler(4), TimeSampler(4, blank_share=0.25)
    for each in (plain, sampler):
        for _ in range(20):
            each.update(torch.arange(1, 5), torch.tensor([3.0, 3.0, 2.0, 1.0]))
    t, p = sampler.sample(40_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(t, minlength=5)[1:] / len(t)
    chances = plain.probabilities()
    expected = 0.75 * chances + 0.25 * torch.tensor([0, 0, 0, 1])
    assert shares.tolist() == pytest.approx(expected.tolist(), abs=0.01)
    assert torch.equal(p, chances[t - 1])


@pytest.mark.parametrize("seen", [0, 1, 10, 11])
def test_times_are_drawn_alike_until_each_was_seen_more_than_ten_times(seen):
    sampler = TimeSampler(3)
    for _ in range(50):
        sampler.update(torch.tensor([1, 2]), torch.tensor([1.0, 2.0]))
    for _ in range(seen):
        sampler.update(torch.tensor([3]), torch.tensor([8.0]))
    alike = len(set(sampler.probabilities().tolist())) == 1
    assert alike == (seen <= 10)


@pytest.mark.parametrize("T", [2, 100])
def test_the_auxiliary_loss_of_the_earliest_time_weighs_twice_and_of_the_last_hardly_more_than_once(T):
    schedule, logits = Schedule.linear(T, K), torch.zeros(T, K)
    times, ids = np.arange(1, T + 1), torch.zeros(T, dtype=torch.int64)
    _, auxiliary = loss_terms(logits, ids, ids, times, schedule, auxiliary_weight=1.0)
    assert (auxiliary / np.log(K)).tolist() == pytest.approx([2 - i / T for i in range(T)])  # the original's index i


@pytest.mark.parametrize("make", [tiny.diffusion, tiny.autoregressive, tiny.codec, tiny.decoder, tiny.matching])
def test_a_resumed_run_ends_at_the_same_weights(make, tmp_path):
    whole, halves = make(tmp_path), make(tmp_path)
    run(whole, tmp_path / "whole", steps=8, log_every=2, report=silent)

    class PowerCut(Exception):
        pass

    step = halves.step
    halves.step = lambda i, *given: step(i, *given) if i < 7 else (_ for _ in ()).throw(PowerCut)
    with pytest.raises(PowerCut):
        run(halves, tmp_path / "halves", steps=8, save_every=5, log_every=2, report=silent)
    resumed = make(tmp_path)
    run(resumed, tmp_path / "halves", steps=8, log_every=2, report=silent)

    def flat(state):
        return [value for entry in state.values() for value in (flat(entry) if isinstance(entry, dict) else [entry])]

    for ours, theirs in zip(flat(resumed.state_dict()), flat(whole.state_dict()), strict=True):
        if torch.is_tensor(ours):
            assert torch.equal(ours, theirs)
    lines = list(csv.DictReader((tmp_path / "halves" / "log.csv").open()))
    assert [line["step"] for line in lines] == ["2", "4", "6", "8"], "one line each, also where it was cut off"


def test_images_that_worker_processes_open_ahead_teach_the_same(tmp_path, monkeypatch):
    states = []
    for workers in (0, 2):
        monkeypatch.setattr(data, "count_workers", lambda processes, workers=workers: workers)
        training = tiny.codec(tmp_path)
        list(tiny.take_steps(training, 4))  # the last with a codebook
        states.append(training.state_dict()["model"])
    assert all(map(torch.equal, states[0].values(), states[1].values()))


KEYS = {  # of version 0.1.0, whose runs are gone on with
    tiny.codec: ["model", "optimizer", "code_uses", "code_sums"],
    tiny.diffusion: ["networks", "ema", "optimizers", "times", "costs"],  # 0.1.0 had no costs
}


@pytest.mark.parametrize("make", KEYS)
def test_the_keys_of_a_checkpoint_stay(make, tmp_path):
    training = make(tmp_path)
    save_checkpoint(training, tmp_path, 1)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert [*kept] == ["step", "setup", "training"] and [*kept["training"]] == KEYS[make]
    if make is tiny.diffusion:
        assert [*kept["training"]["ema"]] == [*kept["training"]["networks"]] == [*training.networks.state_dict()]


def silent(line):
    pass


def test_a_run_is_not_continued_with_other_options(tmp_path):
    run(tiny.codec(tmp_path), tmp_path / "run", steps=1, report=silent)
    with pytest.raises(ValueError, match="begun with batch 4, now 2"):
        run(tiny.codec(tmp_path, batch=2), tmp_path / "run", steps=2, report=silent)


@pytest.mark.parametrize("make", [tiny.diffusion, tiny.autoregressive, tiny.codec, tiny.decoder])
def test_a_run_leaves_sheets_to_look_at(make, tmp_path):
    run(make(tmp_path), tmp_path / "run", steps=4, save_every=2, report=silent)
    sheets = sorted(path.name for path in (tmp_path / "run" / "sheets").iterdir())
    assert sheets == ["0000002.png", "0000004.png"]


def test_the_codebook_is_used_whole(tmp_path):
    training = tiny.codec(tmp_path)
    *_, last = tiny.take_steps(training, 30)
    assert last["used_codes"] == 16


def test_training_teaches_the_images(tmp_path):
    training = tiny.diffusion(tmp_path, learning_rate=1e-2)
    losses = [metrics["bound"] for metrics in tiny.take_steps(training, 60, progress=0.1)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_a_model_that_draws_token_after_token_learns_the_next_one(tmp_path):
    """The loss is the mean -log p of a token, and what has been learned is saved and loaded."""
    training = tiny.autoregressive(tmp_path, learning_rate=1e-2, mixed=False)
    batch = training.draw_batch(0)
    with torch.no_grad():
        log_p_BNK = training.networks(*batch).log_softmax(-1)
    expected = -log_p_BNK.gather(-1, batch.x_BN[..., None]).mean().item()
    losses = [metrics["loss"] for metrics in tiny.take_steps(training, 40, progress=0.1)]
    assert losses[0] == pytest.approx(expected, rel=1e-5) and losses[-1] < 0.5 * losses[0]
    save(training.model("tiny"), tmp_path / "model")
    loaded, trained = load(tmp_path / "model"), training.ema
    ours, theirs = loaded.transformer.state_dict(), trained.gpt.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(loaded.learned_null_1LD, trained.null_1LD)


@pytest.mark.parametrize("what", ["null", "transformer", "all"])
def test_fine_tuning_changes_what_it_was_told_to(what, tmp_path):
    save(tiny.diffusion(tmp_path / "first").model("tiny"), tmp_path / "model")
    loaded = load(tmp_path / "model")
    training = tiny.diffusion(tmp_path / "second", model=loaded, learn=what)
    before = {name: weight.clone() for name, weight in training.networks.state_dict().items()}
    list(tiny.take_steps(training, 6))
    changed = {
        name.split(".")[0] for name, weight in training.networks.state_dict().items() if not weight.equal(before[name])
    }
    expected = {"null": {"null_1LD"}, "transformer": {"null_1LD", "transformer"}}
    assert changed == expected.get(what, {"null_1LD", "transformer", "text_encoder"})


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9 has no Muon")
def test_muon_has_the_matrices_between_hidden_vectors_and_adamw_the_rest(tmp_path):
    training = tiny.diffusion(tmp_path)
    muon, adamw = ([p for group in each.param_groups for p in group["params"]] for each in training.optimizers)
    names = {parameter: name for name, parameter in training.networks.named_parameters()}
    assert sorted(map(names.get, [*muon, *adamw])) == sorted(names.values())
    assert {names[p].rsplit(".", 1)[1] for p in muon} == {"weight"}
    assert not any("emb" in names[p] or "to_logits" in names[p] or "null" in names[p] for p in muon)
    assert any("attn1.query" in names[p] for p in muon) and any("text_encoder" in names[p] for p in muon)


def test_a_model_without_a_null_begins_with_the_empty_prompt_for_it(tmp_path):
    model = tiny.diffusion(tmp_path / "first").model("tiny")
    model.learned_null_1LD = None
    training = tiny.diffusion(tmp_path / "second", model=model)
    assert torch.equal(training.networks.null_1LD, model.encode(""))


def test_a_run_is_not_continued_with_the_tokens_of_another_codec(tmp_path):
    tiny.diffusion(tmp_path)
    other = tiny.diffusion(tmp_path / "other").model("other")
    other.vqgan.quantize.embedding.weight.mul_(1.5)
    with pytest.raises(ValueError, match="tokens of another codec"):
        tiny.diffusion(tmp_path, model=other)


def test_a_fine_tuned_model_is_saved_with_its_null(tmp_path):
    training = tiny.diffusion(tmp_path)
    list(tiny.take_steps(training, 3))
    save(training.model("tiny"), tmp_path / "model")
    assert torch.equal(load(tmp_path / "model").learned_null_1LD, training.ema.null_1LD)


def test_only_hidden_tokens_are_asked_for_where_none_is_ever_replaced():
    x = torch.tensor([[0, K, 1, K]])
    assert loss_mask(x, Schedule.absorbing(10, K)).tolist() == [[False, True, False, True]]
    for schedule in (SCHEDULE, Schedule.uniform(10, K), Schedule.linear(100, K)):
        assert loss_mask(x, schedule).all()


def test_the_logits_are_of_few_numbers_of_rows_and_only_of_what_is_asked_for(tmp_path):
    networks, rows = tiny.diffusion(tmp_path, mixed=False).networks, []
    networks.transformer.to_logits.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    x = torch.randint(K, (2, networks.transformer.spec.num_tokens), generator=torch.Generator().manual_seed(0))
    ids = torch.zeros(2, networks.null_1LD.shape[1], dtype=torch.int64)
    index, drop = torch.tensor([3, 7]), torch.tensor([False, True])
    where = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    asked = where.flatten().nonzero()[:, 0]
    some, every = (networks(x, index, ids, drop, numbers) for numbers in (asked, torch.arange(x.numel())))
    torch.testing.assert_close(some, every[asked])
    assert len(some) == len(asked) < rows[0] and {count % ROWS for count in rows} == {0}


@pytest.mark.parametrize("what", ["all", "null"])
def test_compiled_steps_are_the_same_steps(what, tmp_path):
    """But for rounding. The compiler itself takes most of the time: half a minute."""
    losses = [
        [metrics["loss"] for metrics in tiny.take_steps(training, 3)]
        for compiled in (False, True)
        for training in [tiny.diffusion(tmp_path, mixed=False, compiled=compiled, learn=what)]
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def gradient(training):
    return torch.cat([weight.grad.flatten() for weight in training.weights])


@pytest.mark.parametrize("parts", [2, 3, 9])
@pytest.mark.parametrize("make", [tiny.diffusion, tiny.autoregressive, tiny.codec])
def test_a_batch_in_parts_takes_the_steps_of_the_whole_batch(make, parts, tmp_path):
    """But for rounding; 5 images are 3 and 2, 2 and 2 and 1, or one at a time. Each step begins where the whole batch
    is: rounding that adds up would choose another code here and there.
    """
    whole, in_parts = (make(tmp_path, batch=5, mixed=False, accumulate=count) for count in (1, parts))
    both = (tiny.take_steps(training, 5) for training in (whole, in_parts))  # the last two with a codebook
    for theirs, ours in zip(*both, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
        expected, found = gradient(whole), gradient(in_parts)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.norm().item())
        in_parts.load_state_dict(deepcopy(whole.state_dict()))


def test_a_batch_in_parts_takes_less_memory(tmp_path):
    peaks = []
    for count in (1, 4):
        training = tiny.diffusion(tmp_path, batch=64, accumulate=count)
        *_, batch = training.batches(range(2))
        training.step(0, 0.5, batch)  # makes the optimizers' states
        with Peak() as peak:
            training.step(1, 0.5, batch)
        peaks.append(peak.bytes)
    assert peaks[1] < 0.5 * peaks[0]


@pytest.mark.parametrize("learn", ["all", "null"])
@pytest.mark.parametrize("mixed", [True, False])
def test_activations_that_are_not_kept_are_the_same_and_take_less_memory(mixed, learn, tmp_path):
    steps, peaks = [], []
    for checkpoint in (False, True):
        settings = {"batch": 32, "mixed": mixed, "learn": learn, "checkpoint_activations": checkpoint}
        training = tiny.diffusion(tmp_path, layers=4, **settings)
        with Peak() as peak:
            steps.append(([*tiny.take_steps(training, 2)], gradient(training)))
        peaks.append(peak.bytes)
    assert steps[0][0] == steps[1][0] and torch.equal(steps[0][1], steps[1][1])
    assert peaks[1] < 0.7 * peaks[0]


def test_a_run_may_go_on_in_parts_and_with_activations_worked_out_anew(tmp_path):
    for steps, settings in [(2, {}), (4, {"accumulate": 2, "checkpoint_activations": True})]:
        run(tiny.diffusion(tmp_path, **settings), tmp_path / "run", steps, report=silent)
    assert torch.load(tmp_path / "run" / "checkpoint.pt")["step"] == 4


def test_what_is_not_asked_for_costs_nothing():
    schedule = Schedule.absorbing(10, K)
    logits = torch.randn(4, K, generator=torch.Generator().manual_seed(0))
    x0 = torch.tensor([0, 1, 2, 0])
    bound, _ = loss_terms(logits, x0, x0, np.array([1, 4, 7, 10]), schedule)
    assert bound.abs().max() < 1e-9


def test_a_step_may_see_some_of_the_tokens(tmp_path):
    """As many of each image, others in every step, each where it stands."""
    training = tiny.diffusion(tmp_path, mixed=False, token_shares=[0.5])
    first, second = training.batches(range(2))
    positions = first.position_BN
    assert positions.shape == first.xt_BN.shape == (4, 32) and not positions.equal(second.position_BN)
    assert all(len(set(row.tolist())) == 32 for row in positions)
    whole = next(iter(tiny.diffusion(tmp_path, mixed=False).batches(range(1))))
    assert whole.x0_BN.gather(1, positions).equal(first.x0_BN) and whole.xt_BN.gather(1, positions).equal(first.xt_BN)
    embed = training.networks.transformer.content_emb
    row = torch.arange(4)[:, None]
    torch.testing.assert_close(embed(first.xt_BN, positions), embed(whole.xt_BN)[row, positions])
    losses = [metrics["bound"] for metrics in tiny.take_steps(training, 60, progress=0.1)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_each_share_of_tokens_holds_for_as_many_steps(tmp_path):
    batches = tiny.diffusion(tmp_path, token_shares=[0.25, 0.5, 1.0]).batches(range(9))
    assert [batch.xt_BN.shape[1] for batch in batches] == [16] * 3 + [32] * 3 + [64] * 3


def test_what_is_hard_to_predict_is_seen_more_often(tmp_path):
    """And what is around it, each in proportion to its cost, until the run's end; all of it alike where all has been
    seen to cost the same.
    """
    training = tiny.diffusion(tmp_path, token_shares=[1 / 16])
    K, grid = training.schedule.codebook_size, training.networks.transformer.spec.grid
    hard, easy = 0, 1
    half = torch.full(grid, easy).index_fill(1, torch.arange(grid[1] // 2), hard)
    x0_BN = half.flatten().expand(training.batch, -1)

    def share_of_hard(progress):
        drawn = [training.seen_positions(x0_BN, progress, torch.Generator().manual_seed(i)) for i in range(200)]
        return (x0_BN[0][torch.cat(drawn)] == hard).float().mean().item()

    assert share_of_hard(progress=0.0) == pytest.approx(0.5, abs=0.03)
    for _ in range(400):
        cost_2K = torch.zeros(2, K)
        cost_2K[0, [hard, easy]], cost_2K[1, [hard, easy]] = 10.0, torch.tensor([90.0, 10.0])
        training.costs.update(cost_2K)
    assert training.costs.mean_K[[hard, easy]].tolist() == pytest.approx([1.8, 0.2], rel=1e-3)
    assert 0.75 < share_of_hard(progress=0.5) < 0.9, "nine times as often but for the border between the two"
    assert share_of_hard(progress=0.95) == pytest.approx(0.5, abs=0.03)


def test_what_codes_cost_is_learned_from_the_steps(tmp_path):
    """Of the codes that were seen, and in the checkpoint; an older one has none, and its run goes on."""
    training = tiny.diffusion(tmp_path, token_shares=[0.5])
    list(tiny.take_steps(training, 40))
    seen = torch.zeros(training.schedule.codebook_size, dtype=torch.bool)
    seen[training.examples.tokens_SN.flatten().long()] = True
    cost_K, state = training.costs.mean_K, training.state_dict()
    assert (cost_K[~seen] == 1).all() and cost_K[seen].std() > 0.05 and (cost_K > 0).all()
    resumed = tiny.diffusion(tmp_path, token_shares=[0.5])
    resumed.load_state_dict(state)
    assert resumed.costs.mean_K.equal(cost_K)
    resumed.load_state_dict({key: value for key, value in state.items() if key != "costs"})


def test_the_share_of_tokens_may_change_when_a_run_goes_on(tmp_path):
    run(tiny.diffusion(tmp_path, token_shares=[0.5]), tmp_path / "run", steps=2, report=silent)
    run(tiny.diffusion(tmp_path), tmp_path / "run", steps=4, report=silent)


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_of_tokens_is_one(share, tmp_path):
    with pytest.raises(ValueError, match="expected more than 0 and at most 1"):
        tiny.diffusion(tmp_path, token_shares=[1.0, share])


def test_a_step_is_the_same_in_a_program_that_lets_attention_take_fewer_bits(tmp_path):
    """As ComfyUI does; and it may go on doing so."""
    losses = []
    for allowed in (False, True):
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(allowed)
        try:
            losses.append([metrics["gradient"] for metrics in tiny.take_steps(tiny.diffusion(tmp_path), 2)])
            assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed() == allowed
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(False)
    assert losses[0] == losses[1]
