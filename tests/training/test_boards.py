"""Boards other than wandb, read back from what they wrote; all of them are told the same through the same commands."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slt.evaluation.prediction import Prediction
from slt.training import lineage
from slt.training.boards.tensorboard import FOLDER, TensorBoard
from slt.training.boards.trackio import TrackioBoard

trackio = pytest.importorskip("trackio", reason='trackio is absent: pip install "slt[trackio]"')
Store = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason='pip install "slt[tensorboard]"'
)

STRIP = np.full((4, 9, 3), 200, np.uint8)


def tell(board: Any, folder: Path, *, corpus: str = "f1") -> None:
    """All that a training tells."""
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("predictions.tsv", "scores.json", "checkpoints/best.pt"):
        (folder / name).write_text(f"content of {name}")
    run = board.open(folder, {"seed": 4, "optimizer": {"lr": 0.5}, "start": None}, job_type="train")
    run.uses(lineage.dataset(folder / "corpus", fingerprint=corpus, extractor="e1"))
    run.log(1, {"train/loss": 2.5})
    run.log(2, {"train/loss": 2.0, "val/bleu": 7.5})
    said = Prediction("a", "¿Sí | o <no>?", "¡No!", 3.0)
    run.translations("val/examples", 2, [said], {"a": STRIP})
    run.log(4, {"val/bleu": 5.5})
    run.translations("val/examples", 4, [said], {})
    run.picture(4, "val/neighbours", STRIP)
    run.summary({"test/bleu": 12.5, "val/bleu": 8.5})
    run.makes(lineage.predictions(folder, split="test"))
    run.checkpoints(folder / "checkpoints", score=7.5)
    run.close()


def events(folder: Path) -> Any:
    found = accumulator.EventAccumulator(str(folder / FOLDER))
    found.Reload()
    return found


def scalars(found: Any, name: str) -> list[tuple[int, float]]:
    return [(each.step, each.value) for each in found.Scalars(name)]


def text(found: Any, name: str) -> str:
    return found.Tensors(f"{name}/text_summary")[-1].tensor_proto.string_val[0].decode()


def kept(project: str) -> dict[str, dict[str, Any]]:
    """Run -> metric -> [(step, value)] of a project in trackio's store."""
    found: dict[str, dict[str, Any]] = {}
    for run in Store.get_runs(project):
        for row in Store.get_logs(project, run):
            for name in row.keys() - {"step", "timestamp"}:
                found.setdefault(run, {}).setdefault(name, []).append((row["step"], row[name]))
    return found


def artifacts(project: str, direction: str) -> set[str]:
    with Store._get_connection(Store.get_project_db_path(project)) as connection:
        rows = connection.execute(
            "select name from run_artifact_links join artifact_versions v on v.id = artifact_version_id "
            "join artifacts a on a.id = v.artifact_id where direction = ?", (direction,)
        )  # fmt: skip
        return {row[0].split("-")[0] for row in rows}


def test_tensorboard_reads_back_curves_scores_pictures_tables_and_lineage(tmp_path: Path) -> None:
    tell(TensorBoard(log_tables=True, examples=2), tmp_path)
    found = events(tmp_path)
    assert scalars(found, "val/bleu") == [(2, 7.5), (4, 5.5)]
    assert (scalars(found, "test/bleu"), scalars(found, "val/final_bleu")) == ([(4, 12.5)], [(4, 8.5)])
    assert "| 4 | a | ¿Sí &#124; o &lt;no>? | ¡No! | 3.00 |" in text(found, "val/examples")
    assert [(each.width, each.height) for each in found.Images("val/examples/a")] == [(9, 4)]
    assert "| optimizer.lr | 0.5 |" in text(found, "config")
    assert "| fingerprint | f1 |" in text(found, "lineage/uses/dataset")
    assert "| score | 7.5 |" in text(found, "lineage/makes/checkpoint/best")


def test_a_run_that_goes_on_in_its_folder_has_one_curve_on_tensorboard(tmp_path: Path) -> None:
    for values in ([(1, 9.0), (2, 8.0), (3, 7.0)], [(1, 9.0), (2, 8.0)]):
        run = TensorBoard(log_tables=True, examples=2).open(tmp_path, {}, job_type="train")
        for step, value in values:
            run.log(step, {"train/loss": value})
        run.close()
    assert scalars(events(tmp_path), "train/loss") == [(1, 9.0), (2, 8.0)]


def test_trackio_reads_back_curves_scores_pictures_tables_and_lineage(tmp_path: Path, capfd: Any) -> None:
    board = TrackioBoard(project="told", group="seeds", name="one", tags=["x"], log_tables=True, examples=2)
    tell(board, tmp_path / "run")
    found = kept("told")["one"]
    assert found["val/bleu"] == [(2, 7.5), (4, 5.5)]
    assert (found["test/bleu"], found["val/final_bleu"]) == ([(4, 12.5)], [(4, 8.5)])
    (_, first), (step, second) = found["val/examples"]
    (row,) = second["_value"]
    assert (step, row["reference"], row["hypothesis"], row["chrf"]) == (4, "¿Sí | o <no>?", "¡No!", 3.0)
    assert [(trackio.utils.MEDIA_DIR / each["_value"][0]["filmstrip"]["file_path"]).is_file()
            for each in (first, second)] == [True, True]  # fmt: skip
    config = Store.get_run_config("told", "one")
    assert (config["seed"], config["optimizer"], config["tags"], config["_Group"]) == (4, {"lr": 0.5}, ["x"], "seeds")
    assert artifacts("told", "input") == {"dataset"}
    assert artifacts("told", "output") == {"dataset", "predictions", "checkpoint"}  # the dataset: nobody had made it
    assert capfd.readouterr() == ("", "")


def test_store_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(trackio, "init", refuse)
    board = TrackioBoard(project="told", group=None, name=None, tags=[], log_tables=True, examples=2)
    with pytest.raises(OSError, match=r"cannot write to its store .*read-only.*TRACKIO_DIR"):
        board.open(tmp_path, {}, job_type="train")


def test_board_that_fails_stops_nothing_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run: Any = TensorBoard(log_tables=True, examples=2).open(tmp_path, {}, job_type="train")
    run.run.close()
    run.run = object()
    with caplog.at_level(logging.WARNING):
        run.log(1, {"train/loss": 1.0})
        run.translations("val/examples", 1, [], {})
        run.close()
    assert caplog.text.count("tensorboard failed") == 1


def test_jobs_of_a_sweep_are_told_to_the_board_of_each_and_it_prints_nothing(
    entry: Any, tiny: list[str], tmp_path: Path
) -> None:
    ran = entry("train", "-m", *tiny, "board=trackio,tensorboard", "max_steps=1", "eval_every=1", "final=null",
                "hydra.sweep.dir=outputs/sweeps/train/boards")  # fmt: skip
    assert ran.status == 0, ran.err
    found = kept("slt")["train/boards/0"]
    assert {"train/loss", "val/bleu", "val/examples"} <= found.keys()
    assert Store.get_run_config("slt", "train/boards/0")["_Group"] == "train/boards"
    assert [step for step, _ in scalars(events(tmp_path / "outputs/sweeps/train/boards/1"), "val/bleu")] == [1]
    assert "Trackio" not in ran.out + ran.err
    assert "* " not in ran.out


def test_two_boards_at_once_are_refused(entry: Any, tiny: list[str]) -> None:
    ran = entry("train", *tiny, "board=trackio", "wandb.mode=offline")
    assert (ran.status, "board=trackio and wandb.mode=offline: a run is told to one board" in ran.err) == (1, True)
