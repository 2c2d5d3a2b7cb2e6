"""Agreement as published, and raters of different strictness made alike."""

from __future__ import annotations

import pytest

from slt.evaluation.raters import agreement, systems


def test_alpha_is_that_of_the_published_example() -> None:
    """Four observers and twelve units of Krippendorff, Computing Krippendorff's Alpha-Reliability (2011)."""
    rows = {"a": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None], "b": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
            "c": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None], "d": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None]}  # fmt: skip
    ratings = {
        rater: {n: {"adequacy": float(v), "fluency": float(v)} for n, v in enumerate(row, 1) if v is not None}
        for rater, row in rows.items()
    }
    items = [{"clip": str(i), "systems": ["a"], "catch": ""} for i in range(12)]
    assert agreement(ratings, items)["adequacy"] == pytest.approx(0.849, abs=5e-4)
    alone = agreement({"a": ratings["a"]}, items)
    assert alone["adequacy"] is None


def test_a_strict_and_a_mild_rater_of_different_items_count_alike_in_z() -> None:
    """Both find system a better by as much; that the mild one saw more of b makes b no better in z."""
    items = [{"clip": str(i), "systems": [name], "catch": ""} for i in range(4) for name in ("a", "b")]
    strict = {n: (20.0 if item["systems"] == ["a"] else 10.0) for n, item in enumerate(items, 1) if n <= 5}
    mild = {n: (90.0 if item["systems"] == ["a"] else 80.0) for n, item in enumerate(items, 1) if n >= 5}
    ratings = {
        name: {n: {"adequacy": v, "fluency": v} for n, v in own.items()}
        for name, own in (("strict", strict), ("mild", mild))
    }
    found = systems(ratings, items, bootstrap=50, seed=1)
    assert list(found) == ["a", "b"]
    assert found["a"].z["adequacy"].value - found["b"].z["adequacy"].value > 1.5
    assert found["a"].raw["adequacy"].value == pytest.approx((20 + 20 + 55 + 90) / 4)
