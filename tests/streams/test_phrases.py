"""What a learned segmenter reads of a pose, and what it is taught."""

from __future__ import annotations

import numpy as np
from bench.signing_stub import SIZE, signer

from slt.streams.phrases import BEGINNING, INSIDE, OUTSIDE, WIDTH, features, film_tags


def film(shift=0.0, scale=1.0):
    points = np.stack([signer(t / 15, raised=True, moving=True, shift=shift) for t in range(20)])
    points[..., :2] = 0.5 + (points[..., :2] - 0.5) * scale
    return features(points, SIZE, None)


def test_features_tell_neither_place_nor_size_of_the_signer():
    assert film().shape == (20, WIDTH)
    np.testing.assert_allclose(film(), film(shift=0.1, scale=0.6), atol=1e-4)


def test_a_frame_is_read_with_the_one_before_it_alone():
    whole = film()
    points = np.stack([signer(t / 15, raised=True, moving=True) for t in range(20)])
    np.testing.assert_allclose(features(points[7:8], SIZE, whole[6])[0], whole[7], atol=1e-5)
    assert not whole[0, WIDTH // 2 :].any()
    points[:, 11:13, 2] = 0
    assert not features(points, SIZE, None).any()


def test_two_sentences_in_a_row_have_a_border_between_them():
    tags = film_tags([(1.0, 2.0), (2.0, 2.6)], 40, 10)
    o, b, i = OUTSIDE, BEGINNING, INSIDE
    assert tags.tolist() == [o] * 10 + [b] * 2 + [i] * 8 + [b] * 2 + [i] * 4 + [o] * 14
