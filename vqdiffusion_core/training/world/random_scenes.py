"""Scenes at random. Everything about a scene follows from one generator."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .grounds import COLOURS, LANDS, TIMES, VARIANTS, Gradient, Ground, Land, Plain
from .looks import LOOKS
from .scenes import Group, Scene, is_seen
from .subjects import SUBJECTS, Subject

LUMINARIES = ("full-moon", "crescent-moon", "sun")  # subjects that no sky has besides
LOOK_SHARES = dict(zip(LOOKS, (0.2, 0.17, 0.17, 0.17, 0.11, 0.09, 0.09), strict=True))
GROUND_SHARES = {"land": 0.52, "plain": 0.3, "gradient": 0.18}

Arranged = tuple[tuple[Group, ...], str]  # the groups and the place of a scene


def seen_scene(
    rng: random.Random, subjects: Sequence[Subject] = SUBJECTS, looks: Mapping[str, float] = LOOK_SHARES
) -> Scene:
    """One of those that training may show."""
    while not is_seen(scene := any_scene(rng, subjects, looks)):
        pass
    return scene


def any_scene(
    rng: random.Random,
    subjects: Sequence[Subject] = SUBJECTS,
    looks: Mapping[str, float] = LOOK_SHARES,
    kinds: Mapping[Kind, float] | None = None,
) -> Scene:
    """One of all that there are, what is held out among them; only of these kinds."""
    kinds = kinds or KINDS
    arrange, number = rng.choices(list(kinds), list(kinds.values()))[0]
    chosen = rng.sample(subjects, number)
    ground = any_ground(rng, chosen)
    groups, place = arrange(rng, chosen, isinstance(ground, Land))
    return Scene(groups, pick(rng, looks), ground, place)


def any_ground(rng: random.Random, subjects: Sequence[Subject]) -> Ground:
    kind = pick(rng, GROUND_SHARES)
    if kind == "plain":
        return Plain(rng.choice(list(COLOURS)))
    if kind == "gradient":
        return Gradient(*rng.sample(list(COLOURS), 2))
    land = Land(rng.choice(list(LANDS)), rng.choice(list(TIMES)), rng.randrange(VARIANTS))
    if land.has_light and any(subject.icon in LUMINARIES for subject in subjects):
        return replace(land, variant=land.variant + 1)
    return land


def pick(rng: random.Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def one(rng: random.Random, subjects: Sequence[Subject], on_land: bool) -> Arranged:
    size = "small" if rng.random() < 0.25 else ""
    places = ["left", "right"] if on_land or not size else ["left", "right", "top", "bottom"]
    place = rng.choice(places) if rng.random() < 0.3 else ""
    if not size and not place and rng.random() < 0.3:
        size = "large"  # as it is anyway, but said
    return (Group(subjects[0], 1, size),), place


def several(rng: random.Random, subjects: Sequence[Subject], on_land: bool) -> Arranged:
    count = rng.choices((2, 3, 4), (0.4, 0.35, 0.25))[0]
    return (Group(subjects[0], count, "small" if count < 4 and rng.random() < 0.25 else ""),), ""


def two(rng: random.Random, subjects: Sequence[Subject], on_land: bool) -> Arranged:
    first, second = subjects
    if may_rise(first, on_land) and rng.random() < 0.35:
        return (Group(first), Group(second)), "above"
    left, right = rng.choice((("", ""),) * 6 + (("large", "small"), ("small", "large")))
    return (Group(first, 1, left), Group(second, 1, right)), ""


def three(rng: random.Random, subjects: Sequence[Subject], on_land: bool) -> Arranged:
    return tuple(Group(subject) for subject in subjects), ""


def two_kinds(rng: random.Random, subjects: Sequence[Subject], on_land: bool) -> Arranged:
    """Three or four objects in all."""
    first, second = subjects
    rises = may_rise(first, on_land) and rng.random() < 0.6
    counts = ((1, 2), (1, 3)) if rises and on_land else ((1, 2), (1, 3), (2, 2)) if rises else ((1, 2), (2, 1))
    one, other = rng.choice(counts)
    return (Group(first, one), Group(second, other)), "above" if rises else ""


def may_rise(subject: Subject, on_land: bool) -> bool:
    """Whether it may be above others: on a land, only what flies."""
    return subject.flies or not on_land


def nothing(rng: random.Random, subjects: Sequence[Subject], on_land: bool) -> Arranged:
    """A ground alone."""
    return (), ""


Kind = tuple[Callable[[random.Random, Sequence[Subject], bool], Arranged], int]  # and the number of its subjects
KINDS: dict[Kind, float] = {
    (one, 1): 0.38,
    (several, 1): 0.21,
    (two, 2): 0.23,
    (three, 3): 0.06,
    (two_kinds, 2): 0.07,
    (nothing, 0): 0.05,
}
ONE, SEVERAL, TWO, *_ = ({kind: 1.0} for kind in KINDS)
MANY = {kind: share for kind, share in KINDS.items() if kind[1] and kind not in ONE}  # of two to four objects
