"""Ways of writing that other programs act on."""

import pytest
from pack.vqdiffusion_core.networks.foreign import foreign_words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "a fox, embedding:easynegative, (embedding:bad-hands.pt:1.2)",
            ["embedding:easynegative", "embedding:bad-hands.pt"],
        ),
        (
            "a fox <lora:fur:0.8> <hypernet:old:1> <wildcard:animals>",
            ["<lora:fur:0.8>", "<hypernet:old:1>", "<wildcard:animals>"],
        ),
        ("a fox BREAK a hare AND snow", ["BREAK", "AND"]),
        ("sky ADDCOL sea ADDROW sand", ["ADDCOL", "ADDROW"]),
        ("[day|night] over [sand:sea:0.5], [dim]", ["[day|night]", "[sand:sea:0.5]", "[dim]"]),
        ("a {red|blue} __animal__ at __places/coast__", ["{red|blue}", "__animal__", "__places/coast__"]),
        ("a fox::2 snow --ar 16:9 --no leaves", ["::2", "--ar", "--no"]),
        ("BREAK, BREAK and break", ["BREAK"]),
    ],
)
def test_what_other_programs_take_for_a_command_is_found(text, found):
    assert sorted(foreign_words(text)) == sorted(found)


@pytest.mark.parametrize(
    "text",
    [
        "a (red:1.3) fox, ((big)), at 5:30",
        "BREAK THE ICE AND RUN",
        "a cat and a dog, break of day",
        r"a smile \\(emoji\\) <3 :-) well-known -- in short",
        "two_words, a{b}, x < y > z",
        "",
    ],
)
def test_plain_words_and_our_own_weights_are_not(text):
    assert foreign_words(text) == []
