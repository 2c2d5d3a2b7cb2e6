"""predictions.tsv and scores.json give back what was written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from slt.evaluation.floors import constant_floor
from slt.evaluation.leaks import leak_report
from slt.evaluation.metrics import score
from slt.evaluation.prediction import Prediction, headline, read_predictions, spread, write_predictions, write_scores

PREDICTIONS = [
    Prediction("a", 'dijo "sí"\tno\\tab', "línea\nnueva", 12.34),
    Prediction("b", "¿qué?", "", 0.0),
]


def test_predictions_round_trip_with_tabs_and_line_ends(tmp_path):
    write_predictions(tmp_path / "predictions.tsv", PREDICTIONS)
    assert read_predictions(tmp_path / "predictions.tsv") == PREDICTIONS
    lines = (tmp_path / "predictions.tsv").read_text("utf-8").splitlines()
    assert [line.count("\t") for line in lines] == [5, 5, 5]
    assert lines[0] == "id\treference\thypothesis\tchrf\tsigner\tconfidence"


def test_signers_and_confidences_are_kept_where_they_are_known(tmp_path):
    beside = [{"signer": "ana\teva", "confidence": 0.0}, {}]
    known = [replace(p, **each) for p, each in zip(PREDICTIONS, beside, strict=True)]
    write_predictions(tmp_path / "predictions.tsv", known)
    assert read_predictions(tmp_path / "predictions.tsv") == known


@pytest.mark.parametrize("columns", [4, 5])
def test_tables_of_before_have_fewer_columns_and_are_read(tmp_path, columns):
    write_predictions(tmp_path / "predictions.tsv", PREDICTIONS)
    lines = (tmp_path / "predictions.tsv").read_text("utf-8").split("\n")
    before = "\n".join("\t".join(line.split("\t")[:columns]) for line in lines)
    (tmp_path / "before.tsv").write_text(before, encoding="utf-8")
    assert read_predictions(tmp_path / "before.tsv") == PREDICTIONS


def test_a_prediction_scores_the_best_of_its_beam():
    prediction = Prediction.of("a", "el niño", [("el niño", -0.5), ("la niña", -1.5)])
    assert prediction.hypothesis == "el niño"
    assert prediction.score == pytest.approx(100)
    with pytest.raises(ValueError, match="prediction of a"):
        Prediction.of("a", "el niño", [])


def test_scores_are_plain_numbers_with_signatures(tmp_path):
    floor = constant_floor(["hola", "chau"], ["hola"], bootstrap=5, seed=0)
    leaks = leak_report({"text": ["hola"]}, {"text": ["hola"]}, examples=1)
    scores = score(["hola"], ["hola"], bootstrap=5, seed=0)
    write_scores(tmp_path / "scores.json", scores, loss=0.5, floors={"constant": floor}, leaks=leaks)
    read = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert read["scores"]["chrf++"]["signature"].startswith("nrefs:1|")
    assert read["loss"] == 0.5
    assert read["floors"]["constant"]["scores"]["bleu"]["high"] is not None
    assert read["leaks"]["sentences"]["share"] == 1
    assert read["leaks"]["films"] is None


def test_a_broken_loss_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="finite"):
        write_scores(tmp_path / "scores.json", {}, loss=float("nan"))
    assert not list(tmp_path.iterdir())


def test_another_table_is_refused(tmp_path):
    (tmp_path / "x.tsv").write_text("id\ttext\n")
    with pytest.raises(ValueError, match=r"x\.tsv.*expected the columns"):
        read_predictions(tmp_path / "x.tsv")
    (tmp_path / "x.tsv").write_text("id\treference\thypothesis\tchrf\na\tb\n")
    with pytest.raises(ValueError, match="line 2: expected 4 fields"):
        read_predictions(tmp_path / "x.tsv")
    (tmp_path / "x.tsv").write_text("id\treference\thypothesis\tchrf\tconfidence\na\tb\tc\t1.00\thigh\n")
    with pytest.raises(ValueError, match=r"x\.tsv, line 2: a number expected.*'high'"):
        read_predictions(tmp_path / "x.tsv")


def test_headlines_are_of_scores_floors_controls_and_groups_and_of_files_of_before():
    def scored(value: float) -> dict:
        return {"bleu": {"value": value, "low": None, "high": None}}

    content = {"scores": scored(9), "loss": 2.5, "floor": {"sentence": "a", "scores": scored(1)}}
    content["blanked"] = {"all streams": scored(2), "face": scored(3)}
    before = {"bleu": 9, "loss": 2.5, "bleu_constant": 1, "bleu_without_all_streams": 2, "bleu_without_face": 3}
    assert headline(content) == before
    content["controls"] = {"without face": scored(3), "shuffled": scored(4), "frozen": scored(5)}
    content |= {"neighbour": {"scores": scored(6)}, "variety": {"sentences": 7, "most_frequent": 12.5, "clips": 8}}
    content |= {"groups": {"signer": {"ana": {"clips": 3, "scores": scored(0.5)}}}, "worst": {"signer": "ana"}}
    beside = {"bleu_shuffled": 4, "bleu_frozen": 5, "bleu_neighbour": 6, "bleu_worst_signer": 0.5}
    assert headline(content) == before | beside | {"sentences": 7, "most_frequent": 12.5}
    assert headline(content | {"neighbour": None}).keys() == headline(content).keys() - {"bleu_neighbour"}


def test_things_are_spread_from_the_first_to_the_last():
    assert spread(range(9), 3) == [0, 4, 8]
    assert spread(range(9), 20) == [*range(9)]
    assert spread([], 3) == spread(range(9), 0) == []
