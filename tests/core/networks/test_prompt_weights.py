"""Prompt weights."""

import pytest
from pack.vqdiffusion_core.networks.prompt_weights import parse_weights


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a red cat", [("a red cat", 1)]),
        ("a (red:1.3) cat", [("a ", 1), ("red", 1.3), (" cat", 1)]),
        ("((red)) cat", [("red", 1.1 * 1.1), (" cat", 1)]),
        ("(a (red) cat:2)", [("a ", 2), ("red", 2.2), (" cat", 2)]),
        ("(a (red:1.5) cat:0.8)", [("a ", 0.8), ("red", 1.5), (" cat", 0.8)]),
        (r"a cat \(red\)", [("a cat (red)", 1)]),
        ("(a cat", [("(a cat", 1)]),
        ("a cat) (red)", [("a cat) ", 1), ("red", 1.1)]),
        ("(at 10:30)", [("at 10", 30)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("(red:nan)", [("red:nan", 1.1)]),
        ("()", []),
        ("", []),
    ],
)
def test_a_prompt_is_pieces_with_weights(text, pieces):
    found = parse_weights(text)
    assert [piece for piece, _ in found] == [piece for piece, _ in pieces]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in pieces])


def test_a_wall_of_parentheses_is_read_in_no_time():
    assert parse_weights("(" * 50_000) == [("(" * 50_000, 1.0)]
    assert len(parse_weights("(a" * 2000 + ")" * 2000)) == 2000
