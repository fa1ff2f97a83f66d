"""Classes by name: the list is whole, in the order of ImageNet's labels, and a near miss is told what is near."""

import pytest
from pack.vqdiffusion_core.networks.classes import FILE, IMAGENET, class_number, imagenet_names, normalise

ROWS = IMAGENET + 1
ANCHORS = {
    "tench": 0,
    "goldfish": 1,
    "American robin": 15,
    "crane (bird)": 134,
    "golden retriever": 207,
    "husky": 248,
    "tabby": 281,
    "tabby cat": 281,
    "zebra": 340,
    "giant panda": 388,
    "balloon": 417,
    "castle": 483,
    "crane (machine)": 517,
    "fire engine": 555,
    "jack-o'-lantern": 607,
    "maillot (tights)": 638,
    "missile (weapon)": 657,
    "mountain bike": 671,
    "missile (projectile)": 744,
    "school bus": 779,
    "sports car": 817,
    "teddy bear": 850,
    "cheeseburger": 933,
    "strawberry": 949,
    "alp": 970,
    "volcano": 980,
    "daisy": 985,
    "toilet tissue": 999,
}


@pytest.mark.parametrize(("name", "number"), ANCHORS.items())
def test_a_name_is_its_number(name, number):
    assert class_number(name, ROWS) == class_number(f" {name.upper()} ", ROWS) == number


def test_every_class_has_a_line_of_its_own():
    numbers = [line.split(" ", 1)[0] for line in FILE.read_text().splitlines()]
    assert numbers == [str(i) for i in range(IMAGENET)]


def test_no_name_means_two_classes():
    assert len({normalise(name) for name in imagenet_names()}) == len(imagenet_names())


def test_the_order_is_that_of_another_list():
    """torchvision's names differ here and there; where one of them is ours too, it has the same number."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    numbers = {normalise(name): number for name, number in imagenet_names().items()}
    shared = {
        name: i for i, name in enumerate(_IMAGENET_CATEGORIES) if normalise(name) in numbers and name != "Cardigan"
    }
    assert {name: numbers[normalise(name)] for name in shared} == shared
    assert len(shared) > 980


@pytest.mark.parametrize("label", ["0", " 7 ", "999", "1000"])
def test_a_number_is_itself_and_the_one_after_the_last_is_the_null_class(label):
    assert class_number(label, ROWS) == int(label)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("crane", r"is it 'crane \(bird\)' or 'crane \(machine\)'\?"),
        ("goldn retriever", "is it 'golden retriever'"),
        ("xyzzy", "such as 'golden retriever'"),
        ("1001", "expected a number from 0 to 999 or a name"),
        ("-1", "There is no class '-1'"),
        ("1.5", "There is no class '1.5'"),
        ("", "There is no class ''"),
        ("9" * 100_000, "There is no class '9{60}'"),
        ("(" * 100_000, "There is no class"),
    ],
)
def test_a_label_that_is_no_class_is_refused_with_what_is_near(label, words):
    with pytest.raises(ValueError, match=words) as error:
        class_number(label, ROWS)
    assert len(str(error.value)) < 300


def test_other_models_know_their_classes_by_number_alone():
    assert class_number("4", 6) == 4
    with pytest.raises(ValueError, match="There is no class 'tench'; expected a number from 0 to 4"):
        class_number("tench", 6)
