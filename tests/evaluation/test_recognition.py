"""Glosses out of a gloss head's scores: B clips, T' frames, G classes with the blank."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch

from slt.evaluation.recognition import best_path, prefix_beam, recognise


def logs(frames: int, classes: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    scores = torch.randn(frames, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (sharpness * scores).log_softmax(1).numpy()


def by_brute_force(scores: np.ndarray) -> list[int]:
    """The sequence whose paths are most probable together, out of all G ** T' paths."""
    total: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(scores.shape[1]), repeat=len(scores)):
        kept = [c for t, c in enumerate(path) if c and (t == 0 or path[t - 1] != c)]
        total[tuple(kept)] += float(np.exp(sum(scores[t, c] for t, c in enumerate(path))))
    return [*max(total, key=total.__getitem__)]


@pytest.mark.parametrize(("frames", "classes"), [(1, 3), (3, 2), (5, 3), (6, 4)])
def test_a_beam_without_a_bound_finds_the_most_probable_sequence_of_all_paths(frames: int, classes: int) -> None:
    for seed in range(20):
        scores = logs(frames, classes, seed)
        assert prefix_beam(scores, 10_000) == by_brute_force(scores), seed


def test_the_beam_sums_paths_where_the_best_single_path_is_another() -> None:
    scores = np.log([[0.6, 0.4], [0.6, 0.4]])  # blank twice 0.36; the sign in any of its three ways 0.64
    assert best_path(scores) == []
    assert prefix_beam(scores, 2) == [1]


def test_the_same_sign_twice_needs_a_blank_between() -> None:
    sure = np.log(np.eye(3)[[1, 1, 0, 1, 2, 2, 0]] + 1e-9)
    assert best_path(sure) == prefix_beam(sure, 3) == [1, 1, 2]
    assert best_path(sure[:2]) == prefix_beam(sure[:2], 3) == [1]


def test_a_beam_of_one_and_no_frames_are_no_fault() -> None:
    assert len(prefix_beam(logs(40, 300, 0), 1)) <= 40
    assert prefix_beam(np.zeros((0, 4)), 5) == best_path(np.zeros((0, 4))) == []


def test_padding_says_nothing_and_classes_are_told_by_name() -> None:
    scores = torch.zeros(2, 3, 3)
    for clip, frame, gloss in [(0, 0, 2), (0, 1, 1), (0, 2, 2), (1, 0, 1), (1, 1, 1), (1, 2, 2)]:
        scores[clip, frame, gloss] = 20
    present = torch.tensor([[True, True, True], [True, True, False]])
    said = recognise(scores, present, ["A", "B"], width=4)
    assert said == [{"gloss_wer": text, "gloss_wer_beam": text} for text in ("B A B", "A")]
    assert [*recognise(scores, present, ["A", "B"], width=None)[0]] == ["gloss_wer"]
