"""Seeds are taken together: means, t intervals, and the paired bootstrap against the best."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from slt.evaluation.metrics import bleu, compare, paired
from slt.evaluation.prediction import Prediction, write_predictions
from slt.sweeps.groups import STUDENT, compare_groups, differing, grouped, label_of, mean, ranked
from slt.sweeps.runs import read_run

REFERENCES = [f"the {a} {b} sees the {c} at noon today" for a in ["old", "big", "red"] for b in ["cat", "dog"]
              for c in ["sun", "moon", "sea", "tree"]]  # fmt: skip


def worsened(share, seed):
    """The references with one word in so many replaced."""
    rng = np.random.default_rng(seed)
    return [" ".join("x" if rng.random() < share else word for word in text.split()) for text in REFERENCES]


@pytest.mark.parametrize("freedom", [1, 2, 5, 30])
def test_the_t_table_is_that_of_students_distribution(freedom):
    x = np.linspace(-STUDENT[freedom - 1], STUDENT[freedom - 1], 200_001)
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    assert np.trapezoid(density, x) == pytest.approx(0.95, abs=1e-4)


def test_the_interval_of_a_mean_is_as_worked_out_by_hand():
    found = mean([1.0, 2.0, 3.0])  # s = 1, t(0.975, 2) = 4.303
    assert (found.value, found.low, found.n) == (2.0, pytest.approx(2 - 4.303 / math.sqrt(3)), 3)
    assert mean([5.0]).low is None


def test_paired_bootstrap_agrees_with_sacrebleu_s():
    one, other = worsened(0.10, 1), worsened(0.14, 2)
    found = compare({"a": [one], "b": [other]}, REFERENCES, baseline="a", bootstrap=2000, seed=1)["b"]
    theirs = PairedTest([("a", one), ("b", other)], {"BLEU": BLEU(references=[REFERENCES])}, None, "bs", 2000)()[1]
    assert found.value == pytest.approx(theirs["BLEU"][1].score - theirs["BLEU"][0].score)
    assert found.p == pytest.approx(theirs["BLEU"][1].p_value, abs=0.03)
    assert found.low < found.value < found.high


def test_a_system_of_several_seeds_scores_their_mean():
    best, runs = worsened(0.05, 1), [worsened(0.2, 2), worsened(0.4, 3)]
    found = compare({"a": [best], "b": runs}, REFERENCES, baseline="a", bootstrap=50, seed=1)["b"]
    expected = np.mean([bleu(run, REFERENCES) for run in runs]) - bleu(best, REFERENCES)
    assert found.value == pytest.approx(expected)
    assert found.high < 0


def test_equal_systems_differ_by_nothing_and_with_certainty():
    found = compare({"a": [REFERENCES], "b": [REFERENCES]}, REFERENCES, baseline="a", bootstrap=50, seed=1)["b"]
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_place_is_lost_only_to_systems_that_the_paired_test_tells_apart():
    near, as_near, far = worsened(0.10, 1), worsened(0.10, 5), worsened(0.6, 2)
    found = paired({"a": [near], "b": [as_near], "c": [far]}, REFERENCES, bootstrap=300, seed=1)
    assert found.difference("a", "b").p > 0.05 > found.difference("c", "a").p
    assert found.places(0.05) == {"a": 1, "b": 1, "c": 3}


def test_runs_are_grouped_by_what_differs_but_the_seed(write_run):
    runs = [
        read_run(write_run(f"{i}", f"fusion={f}", f"seed={s}", "max_steps=5", "device=cpu", bleu=10 * i))
        for i, (f, s) in enumerate([("mean", 1), ("mean", 2), ("concat", 1)])
    ]
    assert differing(runs) == ["fusion"]
    groups = grouped(runs, ["fusion"])
    assert [(group.label, len(group.runs)) for group in groups] == [("fusion=mean", 2), ("fusion=concat", 1)]
    assert groups[0].mean("test/bleu").value == 5


def test_the_best_is_chosen_on_validation_and_never_on_test(write_run):
    low, high = (read_run(write_run(name, f"x={name}", bleu=test)) for name, test in (("a", 90.0), ("b", 10.0)))
    (high.folder / "metrics.csv").write_text("step,name,value\n10,val/bleu,50.0\n")
    groups = ranked(grouped([low, read_run(high.folder)], ["x"]), "val/bleu")
    assert [group.label for group in groups] == ["x=b", "x=a"]


def test_sentences_of_two_settings_are_compared_as_their_corpus_is_scored(write_run):
    runs = []
    for name, said in (("a", "one two three four"), ("b", "One two three four ")):
        folder = write_run(name, f"x={name}", bleu=1.0)
        config = {"select": "bleu", "final": "test", "seed": 1, "dataset": {"scoring": {"lowercase": True}}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        write_predictions(folder / "predictions.tsv", [Prediction("c", "one two three four", said, 0.0)])
        runs.append(read_run(folder))
    groups = grouped(runs, ["x"])
    compare_groups(groups)
    assert groups[1].difference.value == 0
    (runs[0].folder / "config.yaml").write_text(yaml.safe_dump({**config, "dataset": {"scoring": {"lowercase": 3}}}))
    assert "true or false" in read_run(runs[0].folder).status.failure


def test_unfinished_runs_count_for_nothing_and_are_not_hidden(write_run):
    runs = [read_run(write_run(s, f"seed={s}", state=state, bleu=8.0 * int(s)))
            for s, state in (("1", "finished"), ("2", "failed"))]  # fmt: skip
    (group,) = grouped(runs, [])
    assert (group.mean("test/bleu").n, len(group.runs)) == (1, 2)


def test_a_deleted_key_is_told_in_words():
    assert label_of("~dataset.streams.face", "") == "without dataset.streams.face"
    assert label_of("~dataset.streams.face", "kept") == "with dataset.streams.face"
