"""The autoregressive transformer against its formulas, and its cache against itself without one."""

import pytest
import torch
from pack.vqdiffusion_core.networks.gpt import Cache
from pack.vqdiffusion_core.networks.specs import GPTSpec

from .. import reference, tiny

SPECS = {
    "none": GPTSpec(11, (4, 4), layers=2, width=32, heads=4, condition="none"),
    "class": GPTSpec(11, (4, 4), layers=2, width=32, heads=4, condition="class", class_rows=6),
    "text": GPTSpec(11, (4, 4), layers=2, width=32, heads=4, text_width=tiny.SPEC.text_width, prefix=7),
}
CONDITIONS = {"none": None, "class": torch.tensor([4]), "text": tiny.text(3)}


def network(kind):
    return tiny.gpt(SPECS[kind])


@pytest.mark.parametrize(("kind", "first"), [("none", 0), ("class", 4)])
def test_every_token_follows_from_the_formulas(kind, first):
    gpt, x_BN = network(kind), tiny.tokens(batch=2)
    log_p_BNK = gpt(x_BN, CONDITIONS[kind]).log_softmax(-1)
    for image, x_N in enumerate(x_BN):
        for n in (0, 1, 7, 15):
            expected_K = reference.next_log_p(gpt, torch.cat([torch.tensor([first]), x_N[:n]]))
            torch.testing.assert_close(log_p_BNK[image, n], expected_K, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("cuts", [[16], [1] * 16, [3, 1, 1, 5, 6]], ids=str)
def test_a_cache_changes_no_logits_however_many_tokens_come_at_once(kind, cuts):
    gpt, x_BN = network(kind), tiny.tokens(batch=2)
    expected_BNK = gpt(x_BN, CONDITIONS[kind])
    cache = Cache(gpt.spec, gpt.prefix(CONDITIONS[kind], 2, "cpu"))
    torch.testing.assert_close(gpt.next(x_BN[:, :0], cache), expected_BNK[:, 0], atol=1e-5, rtol=1e-5)
    place = 0
    for count in cuts[:-1]:
        logits_BK = gpt.next(x_BN[:, place : place + count], cache)
        place += count
        torch.testing.assert_close(logits_BK, expected_BNK[:, place], atol=1e-5, rtol=1e-5)


def test_what_lies_after_a_token_has_no_part_in_it():
    gpt, x_BN = network("none"), tiny.tokens()
    changed_BN = x_BN.clone()
    changed_BN[:, 6:] = (changed_BN[:, 6:] + 1) % 11
    before, after = gpt(x_BN, None), gpt(changed_BN, None)
    assert torch.equal(before[:, :7], after[:, :7]) and not torch.allclose(before[:, 7], after[:, 7])


@pytest.mark.parametrize("kind", ["class", "text"])
def test_the_condition_is_read_by_every_token(kind):
    gpt, x_BN = network(kind), tiny.tokens()
    other = torch.tensor([2]) if kind == "class" else tiny.text(4)
    assert not torch.isclose(gpt(x_BN, CONDITIONS[kind]), gpt(x_BN, other)).all(-1).any()
