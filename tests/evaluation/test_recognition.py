"""Glosses out of a gloss head's scores: B clips, T' frames, G classes with the blank."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch

from slt.evaluation.gloss_model import END, START, GlossModel
from slt.evaluation.recognition import Language, best_path, prefix_beam, recognise
from slt.evaluation.settings import GlossLM


def logs(frames: int, classes: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    scores = torch.randn(frames, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (sharpness * scores).log_softmax(1).numpy()


def by_brute_force(scores: np.ndarray, said: Callable[[tuple[int, ...]], float] = lambda _: 0.0) -> list[int]:
    """The sequence whose paths are most probable together, out of all G ** T' paths; `said` is added to its log."""
    total: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(scores.shape[1]), repeat=len(scores)):
        kept = [c for t, c in enumerate(path) if c and (t == 0 or path[t - 1] != c)]
        total[tuple(kept)] += float(np.exp(sum(scores[t, c] for t, c in enumerate(path))))
    return [*max(total, key=lambda kept: np.log(total[kept]) + said(kept))]


SPOKEN = [(1, 2, 3), (1, 2, 1), (2, 2)]


def witten_bell(before: tuple[int, ...], following: int, order: int, classes: int) -> float:
    """One probability by its definition: what `before` was followed by, and one order less for what is new."""
    lines = [(*[START] * (order - 1), *line, END) for line in SPOKEN]
    if order == 0:
        return 1 / classes
    context = before[len(before) - order + 1 :]
    places = [(line, i) for line in lines for i in range(order - 1, len(line))]
    seen = [line[i] for line, i in places if line[i - order + 1 : i] == context]
    below = witten_bell(before, following, order - 1, classes)
    return (seen.count(following) + len({*seen}) * below) / (len(seen) + len({*seen})) if seen else below


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


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_n_gram_is_witten_and_bells_and_sums_to_one(order: int) -> None:
    model = GlossModel(SPOKEN, num_classes=5, order=order)
    for prefix in [(), (1,), (2, 2), (1, 2), (4,), (3, 1, 2)]:
        assert np.exp(model(prefix)).sum() == pytest.approx(1)
        before = (*[START] * (order - 1), *prefix)
        wanted = [witten_bell(before, c, order, 5) for c in range(5)]
        assert np.exp(model(prefix)) == pytest.approx(wanted), prefix


@pytest.mark.parametrize(("order", "weight", "bonus"), [(1, 1.0, 0.0), (2, 0.7, 1.5), (3, 2.0, -0.5)])
def test_a_beam_that_asks_the_n_gram_finds_the_best_sequence_of_all_paths(
    order: int, weight: float, bonus: float
) -> None:
    language = Language(GlossModel(SPOKEN, num_classes=4, order=order), weight, bonus)

    def said(kept: tuple[int, ...]) -> float:
        places = [language.model(kept[:i])[c] for i, c in enumerate((*kept, END))]
        return weight * float(sum(places)) + bonus * len(kept)

    for seed in range(12):
        scores = logs(5, 4, seed)
        assert prefix_beam(scores, 10_000, language) == by_brute_force(scores, said), seed


def test_the_n_gram_decides_where_the_head_does_not_and_knows_no_gloss_of_another_split() -> None:
    settings = GlossLM.of({"order": 2, "weight": 1.0, "bonus": 0.0})
    language = Language.of(settings, ["A B", "A B", "NEW", ""], ["A", "B"])
    unsure = torch.zeros(1, 3, 3)
    unsure[0, 0, 1] = unsure[0, 1, 0] = 9
    (said,) = recognise(unsure, torch.ones(1, 3, dtype=torch.bool), ["A", "B"], width=8, language=language)
    assert said["gloss_wer_lm"] == "A B"
    assert Language.of(None, ["A"], ["A"]) is None
    with pytest.raises(ValueError, match=r"evaluation\.gloss_lm"):
        GlossLM.of({"order": 2})
