"""The parity check itself: it sees a wrong number, a NaN, another shape and another sentence, and names the place."""

from __future__ import annotations

import numpy as np
import pytest

from slt.exporting.parity import Largest, ParityError, Sentences, kinds_of_search
from slt.inference import Hypothesis


def test_difference_is_relative_to_the_largest_number() -> None:
    seen = Largest("decoder.onnx", strict=True)
    seen.see(np.array([[1000.0, 1.0]]), np.array([[1000.0, 1.05]]), "token 3")
    assert seen.value == pytest.approx(5e-5)
    seen.see(np.array([0.5]), np.array([0.5]), "token 4")
    assert seen.value == pytest.approx(5e-5)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_never_passes(strict: bool, wrong: float) -> None:
    with pytest.raises(ParityError, match=r"encoder\.onnx, random batch 2: differs"):
        Largest("encoder.onnx", strict=strict).see(np.zeros(2), np.array([0.0, wrong]), "random batch 2")


def test_place_of_the_difference_is_named() -> None:
    wanted = np.zeros((2, 3))
    came = wanted.copy()
    came[1, 2] = 1e-3
    with pytest.raises(ParityError, match=r"by 0\.001 of its largest number at \(1, 2\) \(0\.0001 is allowed\)"):
        Largest("encoder.onnx", strict=True).see(wanted, came, "clips a")
    loose = Largest("encoder.onnx", strict=False)
    loose.see(wanted, came, "clips a")
    assert loose.value == pytest.approx(1e-3)


def test_other_shape_is_refused() -> None:
    with pytest.raises(ParityError, match=r"shape \(2,\) expected, came \(3,\)"):
        Largest("encoder.onnx", strict=False).see(np.zeros(2), np.zeros(3), "clips a")


def test_first_sentence_that_differs_is_named() -> None:
    wanted = [Hypothesis("uno", -0.5, ()), Hypothesis("dos", -0.25, ())]
    found = Sentences("beam", 4, ["a", "b"], ["", ""], wanted, [wanted[0], Hypothesis("tres", -0.75, ())])
    assert found.differing == [1]
    with pytest.raises(ParityError, match=r"beam search: 1 of 2 .* clip b: 'tres' \(score -0\.75.*writes 'dos'"):
        found.refuse_differing("small")


def test_a_run_evaluated_greedily_is_compared_greedily_only() -> None:
    assert kinds_of_search(1) == {"greedy": 1}
    assert kinds_of_search(4) == {"greedy": 1, "beam": 4}
