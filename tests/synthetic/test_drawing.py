"""Crops that show the handshape and the face, and nothing of the place."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from slt.synthetic.drawing import Look, draw_faces, draw_hands
from slt.synthetic.hands import hand_points, handshape_angles
from slt.synthetic.phonology import BROWS, HANDSHAPES, MOUTHS

Pictures = NDArray[np.uint8]


def look(seed: int = 0) -> Look:
    return Look.draw(seed, np.random.default_rng(seed))


def hands(names: tuple[str, ...], *, turn: float = 0.0, roll: float = 0.0, left: bool = False, grain: float = 0.0,
          seed: int = 0) -> Pictures:  # fmt: skip
    count = len(names)
    angles = np.stack([handshape_angles(name) for name in names])
    points = hand_points(angles, np.full(count, turn), np.full(count, roll)) * ((-1, 1, 1) if left else (1, 1, 1))
    return draw_hands(points, look(seed), left=left, size=40, grain=grain, rng=np.random.default_rng(1))


def faces(mouths: list[int], brows: list[int], seed: int = 0) -> Pictures:
    rng = np.random.default_rng(7)
    return draw_faces(np.eye(len(MOUTHS))[mouths], np.eye(len(BROWS))[brows], look(seed), size=40, grain=0, rng=rng)


def differences(pictures: Pictures) -> NDArray[np.float64]:
    """Return (n, n) mean differences in grey levels over the changed tenth of the picture, the diagonal infinite."""
    flat = pictures.astype(float).mean(-1).reshape(len(pictures), -1)
    apart = np.sort(np.abs(flat[:, None] - flat[None]), -1)[..., -flat.shape[1] // 10 :].mean(-1)
    return apart + np.diag(np.full(len(flat), np.inf))


@pytest.mark.parametrize(("turn", "roll"), [(0.0, 0.0), (0.0, 180.0), (-40.0, 0.0), (65.0, 180.0)])
def test_handshapes_are_told_apart_in_every_orientation(turn: float, roll: float) -> None:
    assert differences(hands(HANDSHAPES[:-1], turn=turn, roll=roll)).min() > 12


def test_a_hand_is_shaded_and_centred() -> None:
    picture = hands(("flat",))[0].astype(float)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    backdrop = picture[:3].mean((0, 1))
    ys, xs = np.nonzero(np.abs(picture - backdrop).sum(-1) > 90)
    assert abs(xs.mean() - 19.5) < 5
    assert abs(ys.mean() - 19.5) < 8


def test_a_left_palm_is_a_right_palm_in_the_mirror() -> None:
    right, left = hands(("ell",))[0].astype(float), hands(("ell",), left=True)[0, :, ::-1].astype(float)
    assert np.abs(right - left).mean() < 12  # the light falls from the other side, the crop is shaken anew


def test_mouths_and_brows_are_told_apart() -> None:
    count = len(MOUTHS)
    mouths = faces(list(range(count)), [0] * count)
    assert differences(mouths).min() > 8
    assert differences(faces([0, 0, 0], [0, 1, 2])).min() > 8


def test_signers_look_different_and_one_looks_alike_in_two_films() -> None:
    assert np.abs(faces([0], [0], seed=1).astype(float) - faces([0], [0], seed=2)).mean() > 10
    one, other = Look.draw(3, np.random.default_rng(1)), Look.draw(3, np.random.default_rng(2))
    assert (one.hair, one.style, one.width) == (other.hair, other.style, other.width)
    assert one.wall != other.wall


def test_grain_is_noise_of_the_strength_asked_for() -> None:
    clean, noisy = hands(("fist",) * 20), hands(("fist",) * 20, grain=5.0)
    assert (noisy.astype(float) - clean).std() == pytest.approx(5, rel=0.15)
