from dataclasses import replace

import pytest
import torch
from pack.nodes import conditioning
from pack.nodes.conditioning import ConditioningError
from pack.tests.core.tiny import SPEC

CLASSES = replace(SPEC, condition="class", class_rows=5)


def text(length=7, width=SPEC.text_width, batch=1, **extra):
    return conditioning.of_text(torch.randn(batch, length, width), extra)


def read(cond, spec=SPEC, batch=2):
    return conditioning.read(cond, "positive", spec, batch)


def test_text_of_any_length_is_read_as_it_is():
    cond = text(length=14)  # as ConditioningConcat makes it
    assert read(cond) is cond[0][0]


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (text(width=768), r"positive has text vectors of shape \(1, 7, 768\); this model reads \(1, any, 24\)"),
        (text(batch=3), "3 texts for 2 pictures"),
        (text() + text(), "positive has 2 prompts"),
        ([], "positive has 0 prompts"),
        (text(mask=torch.ones(1, 4, 4)), r"bound to a part of the picture or of the run \(mask\)"),
        (text(area=(2, 2, 0, 0), start_percent=0.5), r"\(area, start_percent\)"),
        (conditioning.of_class(1), "positive is a class label, and this model reads text"),
    ],
)
def test_what_a_text_model_cannot_use_is_refused(cond, words):
    with pytest.raises(ConditioningError, match=words):
        read(cond)


def test_a_range_over_the_whole_run_is_no_part_of_it():
    assert read(text(start_percent=0.0, end_percent=1.0, strength=0.5)) is not None


def test_a_class_is_read_as_its_number():
    assert read(conditioning.of_class(4), CLASSES).tolist() == [4]


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
    assert read(text(), replace(SPEC, condition="none")) is None
