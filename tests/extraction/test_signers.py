"""Who signs: of made-up people, the one whose hands move, in whatever order they are found."""

from __future__ import annotations

import numpy as np
import pytest

from slt.extraction.signers import find_signer
from slt.streams.pose import LEFT_SHOULDER, RIGHT_SHOULDER

SIZE = (400, 200)
PICTURE = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


def person(x: float, width: float = 40, *, hands: float = 0.0, walk: float = 0.0, visible: float = 1.0):
    """Somebody at x, their shoulders so wide, hands swinging by so many widths, walking so many pixels a second."""

    def at(seconds: float) -> np.ndarray:
        points = np.zeros((33, 3))
        points[:, :2] = x + walk * seconds, 80
        points[:, 2] = 1
        points[0, 1] -= width / 2
        points[[LEFT_SHOULDER, RIGHT_SHOULDER], 0] += width / 2, -width / 2
        points[23:25, 1] += 1.3 * width
        points[15:17, 1] += width * (1 + hands * np.sin(5 * seconds))
        points[15:17, 2] = visible
        return points / (*SIZE, 1)

    return at


def choose(*people, mode: str = "auto", order=lambda found, n: found, box=None, duration: float = 6.0):
    """Choose among people; `order` sorts, or loses, those of the n-th picture."""
    asked: list[float] = []

    def pictures(seconds):
        for second in seconds:
            asked.append(second)
            yield second, PICTURE

    def find(picture):
        return order([one(asked[-1]) for one in people], len(asked) - 1)

    signer = find_signer(pictures, find, duration=duration, box=box, mode=mode, least=0.6)
    return signer, len(asked)


def middle(signer) -> float:
    return (signer.box[0] + signer.box[2]) / 2


def test_one_person_is_the_signer_after_a_glance_and_without_a_box():
    signer, looked = choose(person(100))
    assert (signer.box, signer.certainty, signer.persons, signer.unsure) == (None, 1, 1, False)
    assert looked == 2


def test_an_empty_film_has_no_signer_and_is_marked():
    signer, _ = choose()
    assert (signer.box, signer.certainty, signer.persons, signer.unsure) == (None, 0, 0, True)


@pytest.mark.parametrize("first", ["signer", "listener"])
def test_the_one_whose_hands_move_signs_whoever_is_found_first(first):
    people = [person(100, hands=0.6), person(300)]
    signer, _ = choose(*(people if first == "signer" else people[::-1]))
    assert middle(signer) == pytest.approx(100, abs=5)
    assert signer.certainty > 0.9
    assert signer.persons == 2


def test_people_are_followed_though_their_order_changes_from_picture_to_picture():
    people = [person(100, hands=0.6), person(300)]
    signer, _ = choose(*people, order=lambda found, n: found[:: -1 if n % 2 else 1])
    assert middle(signer) == pytest.approx(100, abs=5)
    assert signer.certainty > 0.9


def test_a_small_signer_wins_over_a_large_still_presenter():
    signer, _ = choose(person(150, 120), person(360, 24, hands=0.6))
    assert middle(signer) == pytest.approx(360, abs=5)
    assert not signer.unsure


def test_of_two_who_move_alike_the_larger_signs():
    signer, _ = choose(person(60, 30, hands=0.5), person(250, 90, hands=0.5))
    assert middle(signer) == pytest.approx(250, abs=5)


def test_walking_is_not_signing():
    signer, _ = choose(person(60, walk=20), person(300, hands=0.4))
    assert middle(signer) == pytest.approx(300, abs=5)


def test_hidden_hands_do_not_sign():
    signer, _ = choose(person(100, hands=0.9, visible=0.2), person(300, hands=0.3))
    assert middle(signer) == pytest.approx(300, abs=5)


def test_when_nobody_moves_the_larger_is_taken_and_marked_as_unsure():
    signer, _ = choose(person(100, 50), person(300, 40))
    assert middle(signer) == pytest.approx(100, abs=5)
    assert signer.unsure


def test_two_equal_signers_are_marked_as_unsure():
    signer, _ = choose(person(100, hands=0.6), person(300, hands=0.6))
    assert signer.certainty == pytest.approx(0.5, abs=0.02)
    assert signer.unsure


def test_somebody_seen_in_one_picture_only_changes_nothing():
    signer, looked = choose(person(100), person(300), order=lambda found, n: found[: 2 if n == 1 else 1])
    assert looked > 2
    assert (signer.box, signer.certainty, signer.unsure) == (None, 1, False)


def test_largest_goes_by_size_alone():
    signer, _ = choose(person(100, 30, hands=0.9), person(280, 60), mode="largest")
    assert middle(signer) == pytest.approx(280, abs=5)


def test_the_box_holds_the_signer_wherever_they_went():
    signer, _ = choose(person(60, hands=0.5, walk=15), person(300))
    assert signer.box[0] < 60 - 20
    assert signer.box[2] > 60 + 6 * 15


def test_a_given_box_is_taken_as_it_is_without_a_look():
    signer, looked = choose(person(100), person(300), mode="box", box=(1.0, 2.0, 3.0, 4.0))
    assert (signer.box, signer.certainty, signer.unsure, looked) == ((1.0, 2.0, 3.0, 4.0), 1, False, 0)
    with pytest.raises(ValueError, match="this clip has no box"):
        choose(person(100), mode="box")


def test_a_long_film_is_not_looked_at_for_longer_than_some_pictures():
    assert choose(person(100), duration=3600.0)[1] == 6
    assert choose(person(100), person(300, hands=0.3), duration=3600.0)[1] == 6 + 24


def test_a_cut_of_a_few_pictures_has_a_signer():
    assert choose(person(100, hands=0.3), person(300), duration=0.3)[0].persons == 2
