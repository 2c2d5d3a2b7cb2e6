"""`slt.eval` through its real entry point: everything comes back from the checkpoint alone, and the same each time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slt.config.checks import HOME
from slt.corpora import layout
from slt.evaluation.prediction import read_predictions
from slt.training.checkpoint import load_checkpoint

LIGHT = ("num_workers=0", "device=cpu", "evaluation.num_beams=2", "evaluation.nbest=2", "evaluation.bootstrap=20",
         "evaluation.report_strips=1")  # fmt: skip
CONTROLS = ("blanked", "shuffled", "frozen")
BARE = [f"evaluation.{control}=false" for control in CONTROLS]
_made: list[Path] = []


@pytest.fixture
def run(entry: Any, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 12 steps, trained once for all tests."""
    if not _made:
        ran = entry("train", *tiny, "max_steps=12", "eval_every=12", "optimizer.lr=0.01", "schedule.warmup_steps=2",
                    "good_chrf=20", *(f"evaluation.{control}=true" for control in CONTROLS))  # fmt: skip
        assert ran.status == 0, ran.err
        _made.append(Path(shutil.copytree(ran.folder, tmp_path_factory.mktemp("trained") / "run")))
    return _made[0]


@pytest.fixture
def evaluate(entry: Any, run: Path) -> Callable[..., Any]:
    return lambda *overrides, checkpoint=run: entry("eval", f"checkpoint={checkpoint}", *LIGHT, *overrides)


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def the_message(ran: Any) -> str:
    assert (ran.status, ran.err.count("error: ")) == (1, 1)
    return ran.err


@pytest.mark.parametrize("given", [".", "checkpoints/best.pt"])
def test_run_folder_and_file_give_what_the_end_of_training_gave_each_time(
    evaluate: Callable[..., Any], run: Path, given: str
) -> None:
    ran = evaluate(checkpoint=run / given)
    assert (ran.folder / "predictions.tsv").read_bytes() == (run / "predictions.tsv").read_bytes()
    assert all(0 < p.confidence < 1 for p in read_predictions(run / "predictions.tsv"))
    mine, theirs = scores(ran.folder), scores(run)
    assert all(
        mine[key] == theirs[key]
        for key in ("scores", "loss", "neighbour", "controls", "groups", "leaks", "calibration")
    )
    assert ran.folder.parts[-4:-2] == ("outputs", "eval")
    assert ran.named_folder
    there = {str(path.relative_to(ran.folder)) for path in ran.folder.rglob("*") if path.is_file()}
    assert there == {
        "config.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "eval.log", "origin.json",
        "scores.json", "predictions.tsv", "report.html", "status.json",
    }  # fmt: skip


def test_a_confidence_of_training_is_held_against_the_split_and_against_another_corpus(
    evaluate: Callable[..., Any], corpus: Path, run: Path
) -> None:
    ran = evaluate("evaluation.abstain=0.3", f"foreign={corpus}", "evaluation.shuffled=false")
    found = scores(ran.folder)["calibration"]
    assert found["event"] == "sentence chrF2 of 20 or more"
    assert {"ece", "area"} <= found["confidence"].keys()
    assert [*found["left"]] == ["90 %", "70 %", "50 %", "abstain"]
    assert [*found["left"]["abstain"]["refused"]] == ["nobody signing", "a still person", "another corpus"]
    # the same corpus again is refused as often as the split itself
    left = found["left"]["abstain"]
    assert left["refused"]["another corpus"] == pytest.approx(100 - left["coverage"])
    assert "calibration error" in ran.out
    assert "risk against coverage" in (ran.folder / "report.html").read_text(encoding="utf-8")


def test_a_checkpoint_of_before_has_no_confidence_and_refuses_to_refuse(
    evaluate: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    payload = load_checkpoint(run / "checkpoints" / "best.pt")
    del payload["confidence"]
    torch.save(payload, tmp_path / "before.pt")
    ran = evaluate(*BARE, checkpoint=tmp_path / "before.pt")
    assert scores(ran.folder)["calibration"] is None
    assert {p.confidence for p in read_predictions(ran.folder / "predictions.tsv")} == {None}
    message = the_message(evaluate("evaluation.abstain=0.5", checkpoint=tmp_path / "before.pt"))
    assert "abstain=0.5: this model does not say how sure it is" in message


def test_conventions_of_the_corpus_are_those_of_training_and_come_back_from_the_checkpoint(
    entry: Any, tiny: list[str]
) -> None:
    trained = entry("train", *tiny, "+dataset.scoring={tokenize:char,lowercase:true}")
    assert trained.status == 0, trained.err
    ran = entry("eval", f"checkpoint={trained.folder}", *LIGHT, *BARE)
    assert scores(ran.folder)["scores"] == scores(trained.folder)["scores"]
    assert "|case:lc|eff:no|tok:char|" in scores(ran.folder)["scores"]["bleu"]["signature"]
    assert "|case:mixed|eff:no|tok:13a|" in scores(ran.folder)["scores"]["bleu_13a"]["signature"]


@pytest.mark.parametrize("limits", [("batch_size=1",), ("batch_size=null", "batch_frames=100")])
def test_batches_change_no_sentence(evaluate: Callable[..., Any], run: Path, limits: tuple[str, ...]) -> None:
    said = read_predictions(evaluate(*limits, *BARE).folder / "predictions.tsv")
    assert said == read_predictions(run / "predictions.tsv")


def test_controls_floors_and_leaks_stand_beside_the_scores(run: Path) -> None:
    found = scores(run)
    assert {"bleu", "bleu1", "bleu2", "bleu3", "bleu4", "chrf", "ter", "cer", "wer"} <= found["scores"].keys()
    assert found["scores"]["bleu"].keys() == {"value", "low", "high", "signature"}
    assert found["scores"]["bleu"]["low"] <= found["scores"]["bleu"]["value"] <= found["scores"]["bleu"]["high"]
    assert found["blanked"].keys() == {"all streams", "face", "left_hand", "right_hand", "pose"}
    assert found["controls"].keys() == {"shuffled", "frozen", *(f"without {name}" for name in found["blanked"])}
    assert {"gloss_wer", "gloss_wer_beam"} <= found["scores"].keys()
    assert found["neighbour"]["clips"] == found["neighbour"]["train"] == 12
    assert found["variety"]["references"] == 4
    assert found["worst"].keys() == found["groups"].keys() == {"signer", "length", "seen"}
    assert found["floor"]["sentence"]
    assert found["leaks"]["sentences"]["share"] == 0.0
    assert found["leaks"]["signers"]["shared_clips"] == 0


def test_the_report_needs_no_network_and_has_every_sentence(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=.(https?:)?//|<link|@import|url\(http", page)
    assert all(p.reference in page for p in read_predictions(run / "predictions.tsv"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_any_split_can_be_scored(evaluate: Callable[..., Any], corpus: Path, split: str) -> None:
    said = read_predictions(evaluate(f"split={split}", *BARE).folder / "predictions.tsv")
    assert sorted(p.id for p in said) == sorted((corpus / "index" / f"{split}.csv").read_text().split()[1:])


def test_stream_can_be_dropped(evaluate: Callable[..., Any], run: Path) -> None:
    without = scores(evaluate("streams.drop=[face]").folder)
    assert without["scores"]["bleu"]["value"] == scores(run)["blanked"]["face"]["bleu"]["value"]
    assert without["loss"] != scores(run)["loss"]
    assert without["blanked"].keys() == {"all streams", "left_hand", "right_hand", "pose"}


def test_unknown_stream_is_refused_by_name(evaluate: Callable[..., Any]) -> None:
    message = the_message(evaluate("streams.drop=[fce]"))
    assert "streams.drop: there is no stream 'fce'; the model has face, left_hand, right_hand, pose" in message


def test_corpus_that_moved_is_named_by_its_new_place(evaluate: Callable[..., Any], corpus: Path, run: Path) -> None:
    copy = Path(shutil.copytree(corpus, "moved"))
    ran = evaluate(f"dataset.root={copy.resolve()}", *BARE)
    assert (ran.folder / "predictions.tsv").read_bytes() == (run / "predictions.tsv").read_bytes()
    assert "dataset.root=nowhere: no such folder" in the_message(evaluate("dataset.root=nowhere"))


def of_another_extractor(corpus: Path, name: str, fingerprint: str | None) -> Path:
    """A copy of the corpus whose metadata.jsonl names another extractor, or, with None, is not there."""
    copy = Path(shutil.copytree(corpus, name)).resolve()
    path = copy / "metadata.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.unlink()
    if fingerprint is not None:
        layout.write_metadata(path, [{**line, "fingerprint": fingerprint} for line in lines])
    return copy


def test_a_corpus_of_another_extractor_is_refused_unless_told_otherwise(
    evaluate: Callable[..., Any], corpus: Path, run: Path
) -> None:
    copy = of_another_extractor(corpus, "other", "mp-2")
    message = the_message(evaluate(f"dataset.root={copy}"))
    mine = load_checkpoint(run / "checkpoints" / "best.pt")["extractor"]
    assert mine.startswith("synthetic-")
    assert f"other: extracted by mp-2, the model was trained on clips of {mine}" in message
    ran = evaluate(f"dataset.root={copy}", "other_extractor=true", *BARE)
    assert (ran.folder / "predictions.tsv").read_bytes() == (run / "predictions.tsv").read_bytes()


def test_an_extractor_that_is_not_known_passes_with_one_warning(
    evaluate: Callable[..., Any], corpus: Path, run: Path
) -> None:
    copy = of_another_extractor(corpus, "unnamed", None)
    log = evaluate(f"dataset.root={copy}", *BARE).folder / "eval.log"
    assert log.read_text().count("does not say which extractor") == 1
    payload = load_checkpoint(run / "checkpoints" / "best.pt")
    del payload["extractor"]  # a checkpoint of before
    torch.save(payload, "old.pt")
    log = evaluate(*BARE, checkpoint="old.pt").folder / "eval.log"
    assert "the model does not say which extractor" in log.read_text()


def test_wrong_checkpoints_are_refused_with_one_message(evaluate: Callable[..., Any], run: Path) -> None:
    empty, text, cut = Path("empty"), Path("notes.pt"), Path("cut.pt")
    empty.mkdir()
    text.write_text("not a checkpoint")
    best = (run / "checkpoints" / "best.pt").read_bytes()
    cut.write_bytes(best[: len(best) // 2])
    for path, message in (
        (Path("outputs/absent"), "no such file or folder; give a run folder"),
        (empty, "it has no checkpoints/best.pt"),
        (text, "notes.pt: refused, nothing in it was run"),
        (cut, "cut.pt: truncated or not a checkpoint"),
    ):
        assert message in the_message(evaluate(checkpoint=path))


def test_weights_of_another_architecture_are_refused(evaluate: Callable[..., Any], run: Path) -> None:
    payload = load_checkpoint(run / "checkpoints" / "best.pt")
    payload["config"] = payload["config"].replace("embed_dim: 16", "embed_dim: 32")
    torch.save(payload, "other.pt")
    assert "other.pt: weights of another architecture: " in the_message(evaluate(checkpoint="other.pt"))


def test_configuration_in_a_checkpoint_cannot_run_a_command(evaluate: Callable[..., Any], run: Path) -> None:
    payload = load_checkpoint(run / "checkpoints" / "best.pt")
    target = "fusion:\n  _target_: os.system\n  command: touch executed\n"
    config = payload["config"]
    begin = config.index("fusion:")
    payload["config"] = config[:begin] + target + config[config.index("temporal:", begin) :]
    torch.save(payload, "other.pt")
    assert "os.system" in the_message(evaluate(checkpoint="other.pt"))
    assert not Path("executed").exists()


def test_crops_of_another_size_than_trained_on_are_refused(
    evaluate: Callable[..., Any], run: Path, corpus: Path
) -> None:
    payload = load_checkpoint(run / "checkpoints" / "best.pt")
    payload["config"] = payload["config"].replace("size: 32", "size: 16", 1)
    torch.save(payload, "other.pt")
    message = the_message(evaluate(checkpoint="other.pt"))
    assert "stream 'face' has frames of [3, 16, 16], the model was trained on [3, 32, 32]" in message


SILENT = """
import sys
from slt.train import train
from slt.eval import evaluate
words = sys.argv[1:]
for command, given in ((train, words[2:]), (evaluate, words[:2])):
    sys.argv[1:] = [*given, "num_workers=0", "device=cpu", "evaluation.blanked=false"]
    command()
"""


def test_nothing_but_progress_reaches_standard_error(run: Path, tiny: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
    words = (f"checkpoint={run}", "evaluation.bootstrap=20", *tiny, "max_steps=1", "eval_every=1")
    done = subprocess.run([sys.executable, "-c", SILENT, *words], cwd=tmp_path, env=environment, capture_output=True,
                          text=True, check=True)  # fmt: skip
    bars = re.compile(r"[\w ]*: +\d+%\|.*\|.*\[.*\]")
    assert [line for line in re.split(r"[\r\n]+", done.stderr) if line and not bars.fullmatch(line)] == []
    assert "WARNING" not in done.stdout
    assert done.stdout.count("run folder:") == 2
