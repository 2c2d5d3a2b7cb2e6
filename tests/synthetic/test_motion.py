"""Layout, anatomy, mirroring, and what the pose must not tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slt.synthetic.grammar import Performed
from slt.synthetic.hands import hand_points, handshape_angles
from slt.synthetic.lexicon import lexicon
from slt.synthetic.motion import PICTURE, Film, Signer, ease, film
from slt.synthetic.phonology import HANDSHAPES, LOCATIONS, MOUTHS, MOVEMENTS, Sign

SIGNS = {sign.gloss: sign for sign in lexicon("default")}
SIGNER = Signer.draw("ana", left_handed=False, rng=np.random.default_rng(0))


def perform(*signs: Sign, signer: Signer = SIGNER, seed: int = 1, **face: Any) -> Film:
    rng = np.random.default_rng(seed)
    return film([Performed(sign, sign.mouth, "neutral") for sign in signs], signer, fps=15, rng=rng)


def pixels(made: Film) -> np.ndarray:
    return made.pose * PICTURE


def test_a_film_has_mediapipes_points_and_a_label_for_every_frame() -> None:
    made = perform(SIGNS["AYER"], SIGNS["NIÑA"], SIGNS["NADAR"])
    frames = len(made.pose)
    assert made.pose.shape == (frames, 75, 2)
    assert made.hands.shape == (frames, 2, 21, 3)
    assert made.handshape.shape == (frames, 2)
    assert made.mouth_mix.shape == (frames, len(MOUTHS))
    assert 15 < frames < 40, "three signs last one to three seconds"
    assert len(made.spans) == 3


def test_the_wrist_of_the_body_is_the_wrist_of_the_hand() -> None:
    made = pixels(perform(SIGNS["AYER"], SIGNS["COMPRAR"]))
    np.testing.assert_allclose(made[:, 15], made[:, 33], atol=1e-6)
    np.testing.assert_allclose(made[:, 16], made[:, 54], atol=1e-6)


def test_arms_keep_their_length_at_least_in_projection() -> None:
    made = pixels(perform(*SIGNS.values()))
    width = np.linalg.norm(made[:, 11] - made[:, 12], axis=1)
    for shoulder, elbow, wrist in ((11, 13, 15), (12, 14, 16)):
        assert (np.linalg.norm(made[:, shoulder] - made[:, elbow], axis=1) <= 0.92 * width).all()
        assert (np.linalg.norm(made[:, elbow] - made[:, wrist], axis=1) <= 0.85 * width).all()


def test_motion_is_smooth() -> None:
    made = film([Performed(sign, "closed", "neutral") for sign in SIGNS.values()], SIGNER, fps=120,
                rng=np.random.default_rng(0))  # fmt: skip
    wrist = pixels(made)[:, 16] / np.linalg.norm(pixels(made)[:, 11] - pixels(made)[:, 12], axis=1)[:, None]
    assert (
        np.abs(np.diff(wrist, axis=0)).max() < 0.2
    )  # shoulder widths in 8 ms: a fast reach of 1.5 in 0.19 s peaks at 0.12


def test_ease_starts_and_ends_at_rest() -> None:
    course = ease(np.linspace(0, 1, 101))
    assert (course[0], course[50], course[100]) == pytest.approx((0, 0.5, 1))
    assert np.diff(course)[[0, -1]] == pytest.approx([0, 0], abs=1e-4)


def test_a_left_handed_signer_is_the_mirror_image() -> None:
    signs = (SIGNS["AYER"], SIGNS["COMPRAR"])
    right, left = perform(*signs), perform(*signs, signer=replace(SIGNER, left_handed=True))
    np.testing.assert_array_equal(left.handshape, right.handshape[:, ::-1])
    np.testing.assert_allclose(left.hands[:, 0], right.hands[:, 1] * (-1, 1, 1))
    one, other = pixels(right), pixels(left)
    spread = one[:, 16, 0] - one[:, [11, 12], 0].mean(1), other[:, 15, 0] - other[:, [11, 12], 0].mean(1)
    np.testing.assert_allclose(spread[0], -spread[1], atol=8)  # the camera's roll is not mirrored


def test_the_body_points_do_not_tell_the_handshape() -> None:
    sign = SIGNS["COMPRAR"]
    bodies = [perform(replace(sign, handshape=shape)).pose[:, :33] for shape in ("fist", "ell", "spread")]
    np.testing.assert_array_equal(bodies[0], bodies[1])
    np.testing.assert_array_equal(bodies[0], bodies[2])


def test_the_pose_does_not_tell_the_face() -> None:
    rng = np.random.default_rng(1)
    asked = film([Performed(SIGNS["NADAR"], "down", "furrowed")], SIGNER, fps=15, rng=rng)
    np.testing.assert_array_equal(asked.pose, perform(SIGNS["NADAR"]).pose)


def test_hands_as_drawn_do_not_tell_location_or_movement() -> None:
    sign = SIGNS["NADAR"]
    films = [perform(replace(sign, location=place, movement=way)) for place in LOCATIONS for way in MOVEMENTS]
    for other in films[1:]:
        np.testing.assert_array_equal(films[0].hands, other.hands)


def test_locations_lie_apart_by_more_than_they_vary() -> None:
    at = {}
    for place in LOCATIONS:
        made = [pixels(perform(replace(SIGNS["NADAR"], location=place, movement="hold"), seed=s)) for s in range(5)]
        middle = [(m[len(m) // 2, 16] - m[len(m) // 2, [11, 12]].mean(0)) for m in made]
        at[place] = np.mean(middle, 0), np.std(middle, 0).max()
    width = 0.25 * PICTURE[1]
    for place in LOCATIONS:
        for other in set(LOCATIONS) - {place}:
            assert np.linalg.norm(at[place][0] - at[other][0]) > 0.35 * width, (place, other)
        assert at[place][1] < 0.15 * width


def test_handshapes_are_reached_and_differ() -> None:
    points = np.concatenate(
        [hand_points(handshape_angles(name)[None], np.zeros(1), np.zeros(1)) for name in HANDSHAPES]
    )
    apart = np.abs(points[:, None] - points[None]).max((2, 3)) + np.eye(len(HANDSHAPES))
    assert apart.min() > 0.1, "hand lengths"
    made = perform(SIGNS["NIÑA"])
    first, last = made.spans[0]
    assert HANDSHAPES[made.handshape[(first + last) // 2, 1]] == SIGNS["NIÑA"].handshape
    assert HANDSHAPES[made.handshape[(first + last) // 2, 0]] == "rest"


def test_too_few_frames_a_second_are_refused() -> None:
    with pytest.raises(ValueError, match="fps=4: a sign must last at least three frames"):
        film([Performed(SIGNS["NADAR"], "closed", "neutral")], SIGNER, fps=4, rng=np.random.default_rng(0))
