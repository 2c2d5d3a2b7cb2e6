"""The whole examination of a model on a split: controls, floors and leaks beside the scores, and the files of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slt.config.build import build_translator, stream_shapes
from slt.evaluation.assessment import ALL, score_split
from slt.evaluation.floors import best_constant
from slt.evaluation.prediction import headline, read_predictions
from slt.evaluation.report import Shown
from slt.evaluation.results import write_results
from slt.evaluation.settings import Conventions, Scoring
from slt.models.search import Search
from slt.models.trained import Model
from slt.streams.batch import Batching
from slt.training.dashboard import Dashboard
from slt.training.machine import Compute

OPTIONS: dict[str, Any] = {
    "bootstrap": 10, "gloss_beam": 3, "blanked": True, "shuffled": True, "frozen": True, "neighbour": 10, "seed": 1,
    "report_strips": 2, "gloss_lm": None, "abstain": None,
}  # fmt: skip
SEARCH = Search(num_beams=2, length_penalty=1.0, nbest=2, max_tokens=64)
FOUND: dict[str, Any] = {}
COMPUTE = Compute(torch.device("cpu"), "fp32")


@pytest.fixture
def examined(build: Any, clips: Any, tokenizer: Any) -> Callable[..., Any]:
    """Score the tiny translator on the training split, once for all tests; keyword arguments replace options."""

    def run(translator: Any = None, glosses: tuple[str, ...] = (), **changes: Any) -> Any:
        key = f"{sorted(changes.items())}"
        if translator is not None or key not in FOUND:
            model = Model(translator=translator or build(), tokenizer=tokenizer, search=SEARCH, glosses=glosses)
            found = score_split(model, clips, clips, Batching(6, None, 0), Scoring(**OPTIONS | changes), COMPUTE)
            if translator is not None:
                return found
            FOUND[key] = found
        return FOUND[key]

    return run


def test_each_stream_and_all_of_them_are_blanked_in_turn(examined: Callable[..., Any], clips: Any) -> None:
    found = examined()
    assert [*found.blanked] == [ALL, *clips.streams]
    assert [*found.controls] == [*(f"without {name}" for name in found.blanked), "shuffled", "frozen"]
    assert all("bleu" in scores for scores in found.controls.values())


def test_model_that_sees_nothing_says_the_same_of_every_clip(examined: Callable[..., Any], clips: Any) -> None:
    found = examined(drop=list(clips.streams), blanked=False)
    assert len({p.hypothesis for p in found.predictions}) <= 2  # clips differ in length still
    assert found.scores["bleu"].value == pytest.approx(examined().blanked[ALL]["bleu"].value)


def test_dropped_stream_is_not_blanked_again(examined: Callable[..., Any], clips: Any) -> None:
    found = examined(drop=["face"])
    assert [*found.blanked] == [ALL, *(name for name in clips.streams if name != "face")]


def test_without_controls_there_are_none(examined: Callable[..., Any]) -> None:
    found = examined(blanked=False, shuffled=False, frozen=False, neighbour=None)
    assert (found.controls, found.neighbour) == ({}, None)


def test_signers_are_known_to_predictions_groups_and_intervals(examined: Callable[..., Any], clips: Any) -> None:
    found = examined(blanked=False)
    assert {p.id: p.signer for p in found.predictions} == dict(zip(clips.ids, clips.columns["signer"], strict=True))
    assert [*found.groups["signer"]] == sorted(set(clips.columns["signer"]))
    scored = [found.scores["bleu"], found.floor.scores["chrf"], found.neighbour.scores["wer"]]
    assert all("bs:signers,clips:10|seed:1" in each.signature for each in scored)


def test_glosses_are_recognised_by_a_model_that_learned_them(
    examined: Callable[..., Any], compose: Any, tiny: list[str], clips: Any, tokenizer: Any
) -> None:
    glosses = sorted({gloss for text in clips.columns["gloss"] for gloss in text.split()})
    model = build_translator(compose(*tiny), tokenizer, stream_shapes(clips), labels=glosses)
    found = examined(model, tuple(glosses), blanked=False, gloss_lm={"order": 2, "weight": 1.0, "bonus": 1.0})
    assert {"gloss_wer", "gloss_wer_beam", "gloss_wer_lm"} <= found.scores.keys()
    assert found.scores["gloss_wer"].low is not None
    assert all("gloss_wer" in scores for scores in [*found.controls.values(), found.neighbour.scores])
    assert {p.id: p.gloss for p in found.predictions} == dict(zip(clips.ids, clips.columns["gloss"], strict=True))


def test_floor_is_the_best_sentence_of_train(examined: Callable[..., Any], clips: Any) -> None:
    assert examined(blanked=False).floor.sentence == best_constant(list(clips.texts))


def test_leaks_count_sentences_and_signers_of_train(examined: Callable[..., Any]) -> None:
    leaks = examined(blanked=False).leaks  # the split is train itself
    assert (leaks["sentences"].share, leaks["signers"].share) == (1.0, 1.0)


def test_a_corpus_with_conventions_is_scored_by_them_throughout(
    examined: Callable[..., Any], clips: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "scoring", {"tokenize": "char", "lowercase": True})
    found = examined(seed=5)
    groups = [group.scores for kind in found.groups.values() for group in kind.values()]
    for scores in [found.scores, found.floor.scores, found.neighbour.scores, *found.controls.values(), *groups]:
        assert "case:lc|eff:no|tok:char" in scores["bleu"].signature or "case:lc|tok:char" in scores["bleu"].signature
    assert "tok:13a" in found.scores["bleu_13a"].signature
    assert "bleu_13a" in found.summary(examples=0)
    assert found.floor.sentence == best_constant(list(clips.texts), Conventions(tokenize="char", lowercase=True))


def test_summary_shows_scores_controls_and_translations_beside_references(examined: Callable[..., Any]) -> None:
    found = examined()
    shown = found.summary(examples=3)
    assert shown.count("reference:") == shown.count("translation:") == 3
    assert all(p.reference in shown for p in (found.predictions[0], found.predictions[-1]))
    assert f"BLEU of the best constant sentence: {found.floor.scores['bleu'].value:.2f}" in shown
    assert shown.count("BLEU without ") == 5
    assert str(found.variety) in shown


def test_summary_of_more_examples_than_clips_shows_each_once(examined: Callable[..., Any]) -> None:
    assert examined(blanked=False).summary(examples=50).count("reference:") == 12


def test_examination_writes_everything_tells_the_dashboard_and_prints(
    examined: Callable[..., Any], clips: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Board(Dashboard):
        def __init__(self) -> None:
            self.told: list[Any] = []

        def translations(self, name: str, step: int, predictions: Any, pictures: Any) -> None:
            self.told += [name, step, len(predictions), len(pictures)]

        def summary(self, metrics: Any) -> None:
            self.told.append(dict(metrics))

        def makes(self, item: Any, *aliases: str) -> None:
            self.told.append({name: path.is_file() for name, path in item.files.items()})

    board = Board()
    found = examined()
    write_results(
        found, clips, tmp_path, about={"checkpoint": "best.pt", "corpus": "f1", "step": 7}, strips=2, dashboard=board,
        shown=Shown({"val/bleu": [(1, 2.0)]}, "seed: 1"),
    )  # fmt: skip
    content = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert {
        "scores", "loss", "floor", "neighbour", "controls", "blanked", "groups", "worst", "variety", "leaks",
        "calibration", "split", "checkpoint", "corpus", "step",
    } == content.keys()  # fmt: skip
    assert content["scores"]["bleu"]["value"] == found.scores["bleu"].value
    assert [p.hypothesis for p in read_predictions(tmp_path / "predictions.tsv")] == [
        p.hypothesis for p in found.predictions
    ]
    final = {f"train/{name}": value for name, value in headline(content).items()}
    assert final["train/bleu_shuffled"] == found.controls["shuffled"]["bleu"].value
    assert final["train/bleu_worst_signer"] == min(
        each.scores["bleu"].value for each in found.groups["signer"].values()
    )
    files = {"predictions.tsv": True, "scores.json": True}
    assert board.told == ["train/translations", 7, 12, 2, final, files]
    assert found.summary(examples=5) in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/") >= 2
    assert found.predictions[0].reference in page
