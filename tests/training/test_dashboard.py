"""The wandb side of a run, read back from what an offline run left on disk."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from slt.evaluation.prediction import Prediction
from slt.training import lineage
from slt.training.boards.wandb import WandbBoard, WandbRun
from slt.training.dashboard import COLUMNS, Dashboard

KEY = "0123456789" * 4
OPTIONS: dict[str, Any] = {
    "mode": "offline", "project": "slt", "entity": None, "group": "seeds", "name": "short",
    "tags": ["a"], "log_tables": True, "examples": 2, "log_checkpoints": False,
}  # fmt: skip
Open = Callable[..., Dashboard]


def opened(folder: Path, **changes: Any) -> Dashboard:
    folder.mkdir(exist_ok=True)
    config = {"seed": 4, "optimizer": {"lr": 0.5}}
    return WandbBoard(**OPTIONS | changes).open(folder, config, job_type="train")


@pytest.fixture
def dashboard(tmp_path: Path, offline: None) -> Open:
    """Open a dashboard in tmp_path/run; keyword arguments replace its own."""
    return lambda **changes: opened(tmp_path / "run", **changes)


def tell(board: Dashboard, folder: Path) -> None:
    """All that a training tells: two evaluations, a picture, final scores, inputs and outputs."""
    first, second = [Prediction("a", "¿Sí?", "¡No!", 3.0), Prediction("b", "Bueno.", "Bueno.", 100.0)], None
    strip = np.zeros((4, 9, 3), np.uint8)
    board.uses(lineage.dataset(folder / "corpus", fingerprint="f1", extractor="e1"))
    board.log(1, {"train/loss": 2.5})
    board.log(2, {"train/loss": 2.0, "val/bleu": 7.5, "val/loss": 3.0})
    board.translations("val/examples", 2, first, {"b": strip})
    board.log(4, {"train/loss": 2.25, "val/bleu": 5.5, "val/loss": 2.0})
    second = [Prediction("a", "¿Sí?", "Sí.", 50.0), Prediction("b", "Bueno.", "Bueno.", 100.0)]
    board.translations("val/examples", 4, second, {})
    board.picture(4, "val/neighbours", strip)
    board.summary({"test/bleu": 12.5, "val/bleu": 8.5})
    board.makes(lineage.predictions(folder, split="test"))
    board.checkpoints(folder / "checkpoints", score=7.5)
    board.close()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, records: Any) -> tuple[Path, dict[str, list[Any]]]:
    folder = tmp_path_factory.mktemp("told")
    (folder / "checkpoints").mkdir()
    for name in ("predictions.tsv", "scores.json", "checkpoints/best.pt", "checkpoints/last.pt"):
        (folder / name).write_text(f"content of {name}")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_DATA_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_CONSOLE", "off")
        patch.setenv("WANDB_API_KEY", KEY)
        tell(opened(folder), folder)
        return folder, records(folder)


def history(found: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in each.item}
        for each in found["history"]
    ]


def summed_up(found: dict[str, list[Any]]) -> dict[str, Any]:
    updates = [update for each in found["summary"] for update in each.update]
    return {"/".join(update.nested_key) or update.key: json.loads(update.value_json) for update in updates}


def artifacts(found: dict[str, list[Any]]) -> dict[str, Any]:
    """Kind (what its name begins with) -> artifact; checkpoints by their alias."""
    named = {([*({*each.aliases} - {"latest"}), each.name.split("-")[0]])[0]: each for each in found["artifact"]}
    return {name: each for name, each in named.items() if name != "run"}


def table(found: dict[str, list[Any]], name: str) -> tuple[dict[str, Any], set[str]]:
    """The newest state of a table, and the names of the files beside it."""
    there = [{c.path: c.local_path for c in each.manifest.contents} for each in found["artifact"]]
    newest = [files for files in there if f"{name}.table.json" in files][-1]
    return json.loads(Path(newest[f"{name}.table.json"]).read_text()), {*newest}


# ---------------------------------------------------------------- what an offline run holds


def test_offline_run_holds_configuration_group_job_type_and_tags(told: Any) -> None:
    run = told[1]["run"][0]
    config = {update.key: json.loads(update.value_json) for update in run.config.update}
    assert (config["seed"], config["optimizer"]) == (4, {"lr": 0.5})
    assert (run.project, run.run_group, run.display_name, run.job_type) == ("slt", "seeds", "short", "train")
    assert list(run.tags) == ["a"]


def test_metrics_come_with_the_step_of_training(told: Any) -> None:
    logged = [{key: row.get(key) for key in ("step", "train/loss", "val/bleu")} for row in history(told[1])]
    assert [row for row in logged if row["train/loss"]] == [
        {"step": 1, "train/loss": 2.5, "val/bleu": None},
        {"step": 2, "train/loss": 2.0, "val/bleu": 7.5},
        {"step": 4, "train/loss": 2.25, "val/bleu": 5.5},
    ]


def test_every_metric_has_the_step_as_its_axis_and_scores_their_best_as_summary(told: Any) -> None:
    defined = {each.glob_name or each.name: each for each in told[1]["metric"]}
    assert {each.step_metric for name, each in defined.items() if name != "step"} == {"step"}
    assert "*" in defined
    for name in ("val/bleu", "val/chrf", "test/bleu", "val/knn", "val/linear"):
        assert (defined[name].summary.max, defined[name].summary.min) == (True, False), name
    for name in ("train/loss", "val/loss", "val/cer", "test/wer"):
        assert (defined[name].summary.max, defined[name].summary.min) == (False, True), name


def test_summary_keeps_the_best_of_training_beside_the_final_scores(told: Any) -> None:
    found = summed_up(told[1])
    assert (found["val/bleu"], found["val/loss"], found["train/loss"]) == ({"max": 7.5}, {"min": 2}, {"min": 2})
    assert (found["test/bleu"], found["val/final_bleu"]) == (12.5, 8.5)


def test_translations_are_one_table_that_grows_with_filmstrips(told: Any) -> None:
    content, files = table(told[1], "val/examples")
    assert content["columns"] == list(COLUMNS)
    assert [row[:5] for row in content["data"]] == [
        [2, "a", "¿Sí?", "¡No!", 3.0],
        [2, "b", "Bueno.", "Bueno.", 100.0],
        [4, "a", "¿Sí?", "Sí.", 50.0],
        [4, "b", "Bueno.", "Bueno.", 100.0],
    ]
    assert [row[5] and (row[5]["width"], row[5]["height"]) for row in content["data"]] == [None, (9, 4)] * 2
    assert sum(name.endswith(".png") for name in files) == 1  # the same picture is kept once


def test_inputs_are_artifacts_that_are_used_and_outputs_that_are_made(told: Any) -> None:
    found = artifacts(told[1])
    assert {name: each.type for name, each in found.items() if each.type in ("model", "dataset", "predictions")} == {
        "dataset": "dataset", "predictions": "predictions", "best": "model", "last": "model"}  # fmt: skip
    assert found["dataset"].use_after_commit
    assert found["dataset"].user_created  # it has no maker here: the extraction's run is that
    assert not any(found[name].use_after_commit or found[name].user_created for name in ("best", "predictions"))
    assert json.loads(found["best"].metadata) == {"file": "best.pt", "score": 7.5}


def test_weights_stay_where_they_lie_and_predictions_are_sent(told: Any) -> None:
    found = artifacts(told[1])
    (weights,) = found["best"].manifest.contents
    assert (weights.path, weights.ref, weights.local_path) == (
        "checkpoint.pt", (told[0] / "checkpoints" / "best.pt").as_uri(), "")  # fmt: skip
    assert {c.path: Path(c.local_path) for c in found["predictions"].manifest.contents} == {
        name: told[0] / name for name in ("predictions.tsv", "scores.json")
    }


def test_system_metrics_are_on(told: Any) -> None:
    assert any(item.key.startswith("proc.") for each in told[1]["stats"] for item in each.item)


def test_all_that_waits_to_be_sent_is_in_the_run_folder(told: Any) -> None:
    waiting = [c.local_path for each in told[1]["artifact"] for c in each.manifest.contents if c.local_path]
    assert len(waiting) > 5
    assert all(Path(name).is_relative_to(told[0].resolve()) and Path(name).is_file() for name in waiting)


def test_no_key_is_in_any_file(told: Any) -> None:
    files = [path for path in told[0].rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


# ---------------------------------------------------------------- nothing at all, or less


def test_disabled_does_nothing_writes_nothing_and_needs_no_wandb(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.modules['wandb'] = None\n"
        "from slt.training.boards.wandb import WandbBoard\n"
        "from slt.training import lineage; folder = pathlib.Path(sys.argv[1])\n"
        "chosen = WandbBoard(mode='disabled', project='p', entity=None, group=None, name=None, "
        "tags=[], log_tables=True, examples=3, log_checkpoints=True)\n"
        "board = chosen.open(folder, {}, job_type='eval')\n"
        "board.log(1, {'train/loss': 1.0}); board.translations('a/b', 1, [], {}); board.summary({'test/bleu': 1.0})\n"
        "board.uses(lineage.checkpoint(folder / 'absent.pt')); board.makes(lineage.exported(folder)); board.close()\n"
        "assert board.examples == 0 and chosen.fault() is None and chosen.silent"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert list(tmp_path.iterdir()) == []


def test_tables_can_be_left_out_and_weights_uploaded(dashboard: Open, tmp_path: Path, records: Any) -> None:
    (tmp_path / "best.pt").write_bytes(b"weights")
    board = dashboard(log_tables=False, log_checkpoints=True)
    board.translations("val/examples", 1, [Prediction("a", "¿Sí?", "¡No!", 3.0)], {})
    board.checkpoints(tmp_path)
    board.close()
    (made,) = records(tmp_path)["artifact"]
    assert (board.examples, [c.local_path for c in made.manifest.contents]) == (0, [str(tmp_path / "best.pt")])


def test_run_that_a_failed_job_left_open_takes_nothing_of_the_next(
    dashboard: Open, tmp_path: Path, records: Any
) -> None:
    dashboard().log(1, {"train/loss": 1.0})
    after = opened(tmp_path / "next", name="next")
    after.log(1, {"train/loss": 9.0})
    after.close()
    failed, done = records(tmp_path / "run"), records(tmp_path / "next")
    assert [row["train/loss"] for found in (failed, done) for row in history(found)] == [1.0, 9.0]
    assert (failed["exit"][0].exit_code, done["exit"][0].exit_code) == (1, 0)


def test_folder_for_waiting_files_that_the_user_chose_is_kept(
    dashboard: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "mine"))
    dashboard().close()
    assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "mine")


# ---------------------------------------------------------------- a server that is not there, or no key


@pytest.fixture
def unreachable(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there, given up after one second; a real run waits 20."""
    settings = wandb.Settings
    monkeypatch.setattr(wandb, "Settings", lambda **given: settings(**given | {"init_timeout": 1}))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)


@pytest.mark.usefixtures("unreachable")
def test_unreachable_server_leaves_the_run_offline_with_a_warning(
    dashboard: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, records: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        board = dashboard(mode="online")
        board.log(1, {"train/loss": 2.5})
        board.close()
    assert "wandb cannot be reached" in caplog.text
    assert [row["train/loss"] for row in history(records(tmp_path / "run"))] == [2.5]


@pytest.mark.parametrize("error", [ConnectionResetError("Connection lost"), wandb.errors.AuthenticationError("busy")])
def test_server_that_goes_away_stops_nothing_and_is_said_once(
    dashboard: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    class Gone:
        def __getattr__(self, name: str) -> Any:
            raise error

    board: Any = WandbRun.__new__(WandbRun)
    board.run, board.log_tables, board.log_checkpoints, board.rows, board.logged = Gone(), True, False, {}, set()
    for step in range(3):
        board.log(step, {"train/loss": 2.5})
    board.translations("test/translations", 3, [], {})
    board.summary({})
    board.checkpoints(tmp_path)
    board.close()
    assert caplog.text.count("wandb failed") == 1
    assert str(error) in caplog.text


def test_artifact_that_cannot_be_logged_costs_the_lineage_and_not_the_metrics(
    dashboard: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, records: Any
) -> None:
    board = dashboard()
    board.uses(lineage.checkpoint(tmp_path / "gone.pt"))
    board.log(1, {"train/loss": 2.5})
    board.close()
    assert "the lineage lacks a checkpoint" in caplog.text
    assert [row["train/loss"] for row in history(records(tmp_path / "run"))] == [2.5]


@pytest.mark.usefixtures("offline")
def test_online_without_a_key_is_told_before_anything_begins(
    entry: Any, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    ran = entry("train", *tiny, "wandb.mode=online")
    assert ran.status == 1
    assert all(said in ran.err for said in ("wandb login", "WANDB_API_KEY", "wandb.mode=offline"))
    assert not (ran.folder / "metrics.csv").exists()


@pytest.mark.usefixtures("offline")
def test_key_that_cannot_be_one_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "tooshort")
    fault = WandbBoard(**OPTIONS | {"mode": "online"}).fault() or ""
    assert "WANDB_API_KEY invalid" in fault
    assert "tooshort" not in fault


@pytest.mark.usefixtures("offline")
def test_key_in_the_environment_is_enough_and_no_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert WandbBoard(**OPTIONS | {"mode": "online"}).fault() is None
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


# ---------------------------------------------------------------- the commands


@pytest.mark.usefixtures("unreachable")
def test_training_and_evaluation_join_up_and_no_server_is_needed(
    entry: Any, tiny: list[str], records: Any, corpus: Path
) -> None:
    ran = entry("train", *tiny, "wandb.mode=online")
    assert (ran.status, (ran.folder / "report.html").is_file()) == (0, True)
    assert [path for path in ran.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    trained = records(ran.folder)
    logged = {key for row in history(trained) for key in row}
    assert {"train/loss", "train/lr", "val/loss", "val/bleu", "val/examples/_type", "test/translations/_type"} <= logged
    assert {"test/bleu", "test/chrf", "test/wer", "test/loss"} <= summed_up(trained).keys()
    config = {update.key: update.value_json for update in trained["run"][0].config.update}
    assert {"seed", "dataset", "fusion", "decoder", "optimizer", "run_folder"} <= config.keys()
    assert {row[0] for row in table(trained, "val/examples")[0]["data"]} == {2}
    assert len(table(trained, "test/translations")[0]["data"]) == 4

    split = entry("eval", f"checkpoint={ran.folder}", "wandb.mode=offline", "num_workers=0", "evaluation.bootstrap=10",
                  *(f"evaluation.{control}=false" for control in ("blanked", "shuffled", "frozen")))  # fmt: skip
    assert split.status == 0, split.err
    made, used = artifacts(trained), artifacts(records(split.folder))
    assert {name for name, each in used.items() if each.use_after_commit} == {"dataset", "checkpoint"}
    assert (used["checkpoint"].name, used["checkpoint"].digest) == (made["best"].name, made["best"].digest)
    assert (used["dataset"].name, used["dataset"].digest) == (made["dataset"].name, made["dataset"].digest)


@pytest.mark.usefixtures("offline")
def test_jobs_of_a_sweep_are_one_group_and_numbered(entry: Any, tiny: list[str], records: Any, tmp_path: Path) -> None:
    ran = entry("train", "-m", *tiny, "seed=1,2", "max_steps=1", "final=null", "wandb.mode=offline",
                "wandb.tags=[mine]", "hydra.sweep.dir=outputs/sweeps/train/monday")  # fmt: skip
    assert ran.status == 0, ran.err
    runs = [records(tmp_path / "outputs/sweeps/train/monday" / number)["run"][0] for number in "01"]
    assert [run.run_group for run in runs] == ["train/monday", "train/monday"]
    assert [run.display_name for run in runs] == ["train/monday/0", "train/monday/1"]
    assert [list(run.tags) for run in runs] == [["mine"], ["mine"]]
