"""Key maps are applied strictly: what is unknown, missing or claimed twice is listed by the source's own names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.vqdiffusion_core.checkpoints import CheckpointError, key_maps
from pack.vqdiffusion_core.checkpoints.errors import LISTED
from pack.vqdiffusion_core.checkpoints.misfit import check_names
from pack.vqdiffusion_core.checkpoints.probe import count
from pack.vqdiffusion_core.checkpoints.rename import rename, rename_back

TABLE = {
    "theirs.{}.to_q": "ours.{}.query",
    "theirs.{}.query": "ours.{}.query",  # an older spelling
    "joined": ("q.part", "k.part"),
    "theirs.head": "head",
    "theirs.head.scale": "scale",
    "mask": None,
}
WHOLE = ("theirs.0.to_q.weight", "theirs.1.to_q.weight", "theirs.head.bias")
EXPECTED = ["ours.0.query.weight", "ours.1.query.weight", "head.bias"]


def numbered(*names):
    """Each tensor holds its place twice, so that half of one can be told."""
    return {name: torch.tensor([2.0 * i, 2.0 * i + 1]) for i, name in enumerate(names)}


def renamed(*names, table=TABLE):
    return rename(table, numbered(*names), "the file")


def complaint(*names, expected=EXPECTED, table=TABLE):
    with pytest.raises(CheckpointError) as error:
        check_names(renamed(*names, table=table), expected)
    return str(error.value)


def test_what_fits_is_renamed_and_its_numbers_stay():
    weights = renamed(*WHOLE, "mask", "mask.more")
    check_names(weights, EXPECTED)
    assert {name: int(tensor[0]) for name, tensor in weights.tensors.items()} == dict(
        zip(EXPECTED, (0, 2, 4), strict=True)
    )


def test_the_longest_row_decides():
    assert renamed("theirs.head.scale", "theirs.head.weight").tensors.keys() == {"scale", "head.weight"}


def test_a_row_ends_where_a_name_ends():
    assert renamed("theirs.header", "masks", "theirs.x.to_q").unknown == ["theirs.header", "masks", "theirs.x.to_q"]


def test_a_number_is_written_in_one_way_alone():
    assert renamed("theirs.01.to_q", "theirs.00.to_q", "theirs.12345.to_q", "theirs.\u0661.to_q").tensors == {}


UPS = key_maps.vqgan_diffusers(3)


def test_diffusers_counts_the_levels_of_a_decoder_from_the_other_end():
    names = [f"decoder.up_blocks.{level}.resnets.1.conv1.weight" for level in range(3)]
    ours = [f"decoder.up.{level}.block.1.conv1.weight" for level in (2, 1, 0)]
    assert list(renamed(*names, table=UPS).tensors) == ours


def test_one_tensor_can_be_several_of_ours():
    tensors = renamed("joined").tensors
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"q.part": [0.0], "k.part": [1.0]}


def test_an_unknown_name_is_listed_with_the_missing_one_that_it_resembles():
    message = complaint("theirs.0.to_q.weight", "theirs.1.to_k.weight", "theirs.head.bias")
    assert message.startswith("the file does not fit:")
    assert "unknown names: theirs.1.to_k.weight (is it theirs.1.to_q.weight?)." in message
    assert "missing names: theirs.1.to_q.weight." in message


def test_an_unknown_name_that_resembles_nothing_is_listed_alone():
    assert complaint(*WHOLE, "xyzzy").endswith("unknown names: xyzzy.")


def test_a_known_name_that_the_model_has_no_place_for_is_unknown_too():
    assert complaint(*WHOLE, "theirs.2.to_q.weight").endswith("unknown names: theirs.2.to_q.weight.")


def test_missing_names_are_the_sources_own():
    assert complaint(*WHOLE[:1]).endswith("missing names: theirs.head.bias, theirs.1.to_q.weight.")
    level = complaint(expected=["decoder.up.0.upsample.conv.bias"], table=UPS)
    assert level.endswith("missing names: decoder.up_blocks.2.upsamplers.0.conv.bias.")


def test_two_names_for_one_of_ours_are_claimed_twice_whichever_comes_last():
    for names in (WHOLE, WHOLE[::-1]):
        message = complaint(*names, "theirs.1.query.weight")
        assert message.endswith("claimed twice: ours.1.query.weight by theirs.1.to_q.weight and theirs.1.query.weight.")


def test_all_three_are_told_at_once():
    message = complaint("theirs.0.to_q.weight", "theirs.0.query.weight", "theirs.hat.bias")
    assert all(words in message for words in ("unknown names:", "missing names:", "claimed twice:"))


def test_a_file_of_another_kind_does_not_fill_the_screen():
    message = complaint(*(f"strange.{i}" for i in range(1000)))
    assert message.count("strange.") == LISTED and f"and {1000 - LISTED} more" in message


def test_a_gap_in_what_is_counted_is_told():
    with pytest.raises(CheckpointError, match=r"the file: ours.1 is missing, though later ones exist"):
        count(renamed("theirs.0.to_q", "theirs.2.to_q"), "ours.{}")


TABLES = {
    "transformer": key_maps.TRANSFORMER_DIFFUSERS,
    "vqgan": key_maps.vqgan_diffusers(5),
    "text encoder": key_maps.TEXT_TRANSFORMERS,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@given(data=st.data())
def test_there_and_back_is_where_it_was(table, data):
    """For the first of several spellings, which is the one that is written."""
    first = {target: row for row, target in reversed(table.items()) if isinstance(target, str)}
    rows = data.draw(st.lists(st.sampled_from(sorted(first.values())), min_size=1, unique=True))
    names = [row.format(*(data.draw(st.integers(0, 4)) for _ in range(5))) for row in rows]
    state = numbered(*(f"{name}.weight" for name in names))
    back = rename_back(table, rename(table, state, "").tensors)
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
