from dataclasses import replace

import pytest
import torch
from pack.nodes import conditioning
from pack.nodes.conditioning import Canvas, ConditioningError
from pack.tests.core.tiny import SPEC

CLASSES = replace(SPEC, condition="class", class_rows=5)


def text(length=7, width=SPEC.text_width, batch=1, **extra):
    return conditioning.of_text(torch.randn(batch, length, width), extra)


def read(cond, spec=SPEC, cell=8):
    return conditioning.read_prompts(cond, "positive", spec, Canvas(2, (4, 4), cell))


def test_text_of_any_length_is_read_as_it_is():
    cond = text(length=14)  # as ConditioningConcat makes it
    (prompt,) = read(cond)
    assert prompt.condition is cond[0][0] and prompt.strength == 1 and (prompt.start, prompt.end) == (0, 1)


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (text(width=768), r"positive has text vectors of shape \(1, 7, 768\); this model reads \(1, any, 24\)"),
        (text(batch=3), "3 texts for 2 images"),
        ([], "positive has no prompt in it"),
        (text(mask="left"), "positive has a mask that is no image"),
        (text(area=(2, 2, 9, 9)), "positive has an area that lies outside of the image of 32 x 32 pixels"),
        (text(area=(2, float("nan"), 0, 0)), "positive has an area"),
        (text(strength=-1.0), "positive has strength -1.0; expected a number from 0"),
        (text(start_percent=2), "positive has start_percent 2; expected a number from 0 to 1"),
        (text(control=object()), "positive carries a ControlNet"),
        (conditioning.of_class(1), "positive is a class label, and this model reads text"),
    ],
)
def test_what_a_text_model_cannot_use_is_refused(cond, words):
    with pytest.raises(ConditioningError, match=words):
        read(cond)


def test_combined_prompts_each_speak_for_a_part_of_the_run():
    early, late = read(text(end_percent=0.4, strength=0.5) + text(start_percent=0.4))
    assert (early.start, early.end, early.strength) == (0, 0.4, 0.5) and (late.start, late.end) == (0.4, 1)


def test_a_mask_speaks_for_a_token_as_much_as_it_covers_of_it():
    mask = torch.zeros(1, 8, 8)
    mask[0, :, 0] = 1  # half of the first column of tokens
    (prompt,) = read(text(mask=mask, mask_strength=3.0))
    assert prompt.strength.view(4, 4).tolist() == [[1.5, 0, 0, 0]] * 4


def test_each_image_of_a_batch_can_have_a_mask_of_its_own():
    (prompt,) = read(text(mask=torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])))
    assert prompt.strength.tolist() == [[1.0] * 16, [0.0] * 16]


@pytest.mark.parametrize(
    ("area", "cell"),
    [((2, 4, 2, 0), 8), ((4, 8, 4, 0), 16), (("percentage", 0.5, 1.0, 0.5, 0.0), 8), ((9, 9, 2, 0), 8)],
    ids=["cells", "cells of a model with larger tokens", "shares", "beyond the edge"],
)
def test_an_area_speaks_for_the_tokens_in_it(area, cell):
    (prompt,) = read(text(area=area, strength=2.0), cell=cell)
    assert prompt.strength.view(4, 4).tolist() == [[0.0] * 4] * 2 + [[2.0] * 4] * 2


def test_a_class_is_read_as_its_number():
    assert read(conditioning.of_class(4), CLASSES)[0].condition.tolist() == [4]


def averaged(label):
    ((vectors, about),) = conditioning.of_class(label)
    return [[vectors * 0.5, about]]


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (text(), "positive is text, and this model draws classes"),
        (conditioning.of_class(5), "positive is class 5; this model has 0 to 4"),
        (averaged(2), "was class 2 until a node calculated with it"),
    ],
)
def test_what_a_class_model_cannot_use_is_refused(cond, words):
    with pytest.raises(ConditioningError, match=words):
        read(cond, CLASSES)


def test_a_model_without_conditions_looks_at_none():
    (prompt,) = read(text(), replace(SPEC, condition="none"))
    assert prompt.condition is None
