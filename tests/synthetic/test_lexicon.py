"""Enough signs, and minimal pairs for every stream."""

from __future__ import annotations

import itertools

import pytest
from minimal_pairs import form_without

from slt.synthetic.lexicon import describe, lexicon
from slt.synthetic.phonology import HANDSHAPES, LOCATIONS, MOUTHS, MOVEMENTS, ORIENTATIONS, Sign, form


@pytest.mark.parametrize(("size", "least"), [("default", 60), ("hard", 300)])
def test_a_size_has_at_least_so_many_signs(size: str, least: int) -> None:
    assert len(lexicon(size)) >= least


@pytest.mark.parametrize("size", ["default", "hard"])
def test_every_sign_looks_different_and_is_built_of_known_parts(size: str) -> None:
    signs = lexicon(size)
    assert len({form(sign) for sign in signs}) == len(signs)
    for sign in signs:
        assert sign.handshape in HANDSHAPES[:-1], "rest is no sign's handshape"
        assert sign.location in LOCATIONS
        assert sign.movement in MOVEMENTS
        assert sign.orientation in ORIENTATIONS
        assert sign.mouth in MOUTHS


def test_at_least_ten_handshapes_six_locations_and_six_movements_are_used() -> None:
    signs = lexicon("default")
    assert len({sign.handshape for sign in signs}) >= 10
    assert len({sign.location for sign in signs}) >= 6
    assert len({sign.movement for sign in signs}) >= 6


def differences(one: Sign, other: Sign) -> set[str]:
    parts = ("handshape", "location", "movement", "orientation", "hands", "mouth")
    return {part for part in parts if getattr(one, part) != getattr(other, part)}


@pytest.mark.parametrize("part", ["handshape", "location", "movement", "mouth"])
def test_there_are_pairs_within_a_word_class_that_differ_in_one_part_alone(part: str) -> None:
    pairs = itertools.combinations(lexicon("default"), 2)
    found = [pair for pair in pairs if pair[0].kind == pair[1].kind and differences(*pair) == {part}]
    assert len(found) >= 4


@pytest.mark.parametrize("stream", ["hands", "pose"])
def test_without_hands_or_pose_every_sign_could_be_another_of_its_class(stream: str) -> None:
    signs = lexicon("default")
    for sign in signs:
        looks = form_without(sign, stream)
        assert sum(one.kind == sign.kind and form_without(one, stream) == looks for one in signs) > 1, sign


def test_an_unknown_size_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"size='huge'.*default, hard"):
        lexicon("huge")


def test_the_description_lists_every_sign_and_the_label_codes() -> None:
    described = describe(lexicon("default"))
    assert len(described["signs"]) == len(lexicon("default"))
    assert described["handshapes"][-1] == "rest"
