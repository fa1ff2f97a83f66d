"""Drawing token after token: the model's own law, whatever the batch, the cache and the canvas."""

from dataclasses import replace

import pytest
import torch
from pack.vqdiffusion_core.diffusion.autoregressive import places_before
from pack.vqdiffusion_core.diffusion.guidance import Guidance, GuidanceScale, Prompt, cfg
from pack.vqdiffusion_core.diffusion.noise import Noise, categorical
from pack.vqdiffusion_core.diffusion.predictor import OVERFLOW
from pack.vqdiffusion_core.diffusion.sampling import count_steps, sample
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS, Settings
from pack.vqdiffusion_core.networks.specs import GPTSpec
from pack.vqdiffusion_core.notices import notices_to

from .. import tiny

K = 11
NONE = GPTSpec(K, (4, 4), layers=2, width=32, heads=4, condition="none")
CLASS = replace(NONE, condition="class", class_rows=6)
TEXT = replace(NONE, condition="text", text_width=tiny.SPEC.text_width, prefix=7)
SCHEDULE = Schedule.one_step(K)
ALONE = cfg(None, None, 1.5)
PLAIN = Settings(sampler="autoregressive", truncation=1.0)


def draw(
    spec, guidance=ALONE, seeds=(0,), settings=PLAIN, tokens_BN=None, strength_BN=None, canvas=(4, 4), network=None
):
    if tokens_BN is None:
        tokens_BN = torch.full((len(seeds), canvas[0] * canvas[1]), K)
    states = sample(network or tiny.gpt(spec), SCHEDULE, guidance, tokens_BN, strength_BN, settings, seeds, canvas)
    return [state.x_BN for state in states]


def without_cache(network, log_p, seed, canvas=(4, 4)):
    """Token by token as the paper says it, every one by the whole network anew."""
    noise, (rows, columns) = Noise([seed]), canvas
    noise.uniform(rows * columns)  # what a run of any model spends on its start
    pick_N = noise.uniform(rows * columns)[0]
    x_hw = torch.full(canvas, K)
    for i in range(rows):
        for j in range(columns):
            top, left = (max(0, min(at - 2, size - 4)) for at, size in ((i, rows), (j, columns)))
            window_BN = x_hw[top : top + 4, left : left + 4].reshape(1, -1) % K  # what is not drawn yet is not read
            log_p_K = log_p(network, window_BN)[(i - top) * 4 + j - left]
            x_hw[i, j] = categorical(log_p_K[None], pick_N[i * columns + j : i * columns + j + 1])
    return x_hw.reshape(1, -1)


def plain(condition):
    return lambda network, x_BN: network(x_BN, condition)[0].log_softmax(-1)


@pytest.mark.parametrize("canvas", [(4, 4), (4, 7), (7, 4), (9, 8)])
def test_a_drawing_is_that_without_a_cache_on_every_canvas(canvas):
    expected_BN = without_cache(tiny.gpt(NONE), plain(None), 5, canvas)
    *_, drawn_BN = draw(NONE, seeds=[5], canvas=canvas)
    assert torch.equal(drawn_BN, expected_BN)


def test_guidance_is_that_of_the_formula():
    text, null, g = tiny.text(1), tiny.text(2), 2.5

    def guided(network, x_BN):
        wanted, unwanted = (network(x_BN, condition)[0].log_softmax(-1) for condition in (text, null))
        return (unwanted + g * (wanted - unwanted)).log_softmax(-1)

    *_, drawn_BN = draw(TEXT, cfg(text, null, g), seeds=[3])
    assert torch.equal(drawn_BN, without_cache(tiny.gpt(TEXT), guided, 3))
    *_, plain_BN = draw(TEXT, cfg(text, null, 1.0), seeds=[3])
    assert torch.equal(plain_BN, without_cache(tiny.gpt(TEXT), plain(text), 3))


def test_a_class_is_drawn_and_another_one_can_be_kept_away_from():
    wanted, unwanted = torch.tensor([2]), torch.tensor([3])
    *_, drawn_BN = draw(CLASS, cfg(wanted, torch.tensor([CLASS.null_class]), 1.0))
    assert torch.equal(drawn_BN, without_cache(tiny.gpt(CLASS), plain(wanted), 0))
    away = Guidance([Prompt(wanted)], [Prompt(unwanted)], torch.tensor([CLASS.null_class]), GuidanceScale(3.0))
    assert not torch.equal(draw(CLASS, away)[-1], drawn_BN)


def test_an_image_is_that_of_its_seed_whatever_its_batch():
    together_BN = draw(NONE, seeds=[4, 5, 6])[-1]
    assert torch.equal(together_BN, torch.cat([draw(NONE, seeds=[seed])[-1] for seed in (4, 5, 6)]))


def test_what_exceeds_float16_is_worked_out_again_in_bfloat16_image_by_image():
    loud, said = tiny.beyond_float16(tiny.gpt(TEXT)), []
    wide = loud.blocks[0].mlp[0]
    wide.weight[0], wide.bias[0] = -wide.weight[0], 4e4  # so that some tokens exceed it
    loud.half()
    given = TEXT, cfg(tiny.text(1).half(), tiny.text(2).half(), 2.0)
    with notices_to(said.append):
        together_BN = draw(*given, seeds=[4, 5], network=loud)[-1]
    assert said == [OVERFLOW] and together_BN.max() < K
    assert torch.equal(together_BN, torch.cat([draw(*given, seeds=[seed], network=loud)[-1] for seed in (4, 5)]))


def test_a_prompt_of_a_region_is_heard_there_alone():
    left, everywhere = (torch.arange(16) % 4 < 2).float(), tiny.text(1)
    both = Guidance([Prompt(everywhere, left), Prompt(tiny.text(2), 1 - left)], [], tiny.text(3), GuidanceScale(1.0))
    alone_BN, parted_BN = draw(TEXT, cfg(everywhere, tiny.text(3), 1.0))[-1], draw(TEXT, both)[-1]
    assert torch.equal(alone_BN[:, :2], parted_BN[:, :2]) and not torch.equal(alone_BN, parted_BN)


def test_every_state_has_a_row_more_and_no_mask_is_left():
    states = draw(NONE, seeds=[0, 1], canvas=(6, 5))
    assert len(states) == 1 + count_steps(tiny.gpt(NONE), PLAIN, (6, 5)) == 7
    assert [int((x_BN == K).sum()) for x_BN in states] == [60, 50, 40, 30, 20, 10, 0]


@pytest.mark.parametrize("changes", [{"temperature": 0.0}, {"top_k": 1}, {"truncation": 0.0}], ids=str)
def test_the_processors_are_applied(changes):
    settings = replace(PLAIN, **changes)
    assert torch.equal(draw(NONE, seeds=[0], settings=settings)[-1], draw(NONE, seeds=[9], settings=settings)[-1])


def test_what_is_kept_before_a_hole_stays_and_is_read():
    known_BN = tiny.tokens(batch=2)
    strength_BN = torch.zeros(2, 16)
    strength_BN[0, 6:], strength_BN[1, 9:] = 1, 0.3
    *_, drawn_BN = draw(NONE, seeds=[1, 2], tokens_BN=known_BN, strength_BN=strength_BN)
    assert torch.equal(drawn_BN[strength_BN == 0], known_BN[strength_BN == 0])
    assert not torch.equal(drawn_BN[0], draw(NONE, seeds=[1])[-1][0])


def test_nothing_marked_leaves_all_as_it_was():
    known_BN = tiny.tokens()
    assert torch.equal(draw(NONE, tokens_BN=known_BN, strength_BN=torch.zeros(1, 16))[-1], known_BN)


HOLE = torch.tensor([[0.0] * 5 + [1.0] * 3 + [0.0] * 8])
REFUSED = {
    "a hole before what stays": (NONE, ALONE, {"tokens_BN": tiny.tokens(), "strength_BN": HOLE}, "tokens that stay"),
    "half of the noise": (NONE, ALONE, {"settings": replace(PLAIN, denoise=0.5)}, "denoise is 0.5"),
    "no class": (CLASS, cfg(torch.tensor([2]), torch.tensor([5]), 1.5), {}, "never drawn without a class"),
    "a long text": (TEXT, cfg(tiny.text(1, length=9), tiny.text(2), 1.0), {}, "9 text vectors.* reads 7"),
    **{name: (NONE, ALONE, {"settings": Settings(sampler=name)}, "sampler 'autoregressive'") for name in SAMPLERS},
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_in_this_order_is_refused_with_the_reason(case):
    spec, guidance, given, reason = REFUSED[case]
    with pytest.raises(ValueError, match=reason):
        draw(spec, guidance, **given)


def test_a_diffusion_model_is_not_drawn_token_by_token():
    null = tiny.text(2)
    with pytest.raises(ValueError, match="Use the sampler 'remask'"):
        next(sample(tiny.transformer(), tiny.SCHEDULE, cfg(null, null, 1.0), tiny.tokens(), None, PLAIN, [0]))


def test_what_has_no_effect_is_said():
    said = []
    with notices_to(said.append):
        draw(NONE, settings=replace(PLAIN, steps=32, rounds=2))
    assert [line.split()[0] for line in said] == ["steps", "rounds"]


def test_the_window_is_the_papers():
    """As its notebook for large images: the middle of the window, except near the border."""
    for i in range(40):
        before = places_before(i, 0, (40, 16), (16, 16))
        local = i if i <= 8 else 16 - (40 - i) if 40 - i < 8 else 8
        assert len(before) == local * 16
        assert before.tolist() == list(range((i - local) * 16, i * 16))
