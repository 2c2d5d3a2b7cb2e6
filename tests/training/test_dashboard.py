"""The wandb side of a run, read back from what an offline run left on disk."""

from __future__ import annotations

import json
import logging
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record as Entry

from slt.evaluation import Prediction
from slt.training.dashboard import Dashboard

Open = Callable[..., Dashboard]


@pytest.fixture
def dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open a dashboard in tmp_path/run; keyword arguments replace its own."""
    monkeypatch.setenv("WANDB_CONSOLE", "off")  # it and pytest take each other's stdout away
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    (tmp_path / "run").mkdir()

    def make(**changes: Any) -> Dashboard:
        options: dict[str, Any] = {
            "job_type": "train", "mode": "offline", "project": "slt", "entity": None, "name": "short", "tags": ["a"],
            "log_checkpoints": False,
        }  # fmt: skip
        return Dashboard(tmp_path / "run", {"seed": 4, "optimizer": {"lr": 0.5}}, **options | changes)

    yield make
    wandb.teardown()


def entries(run: Path) -> dict[str, list[Any]]:
    """What wandb kept of an offline run, kind -> its entries; LevelDB's log format: 32 KiB blocks, records in parts."""
    wandb.teardown()  # its service writes behind the back of `finish`
    data = next(run.rglob("*.wandb")).read_bytes()
    found: dict[str, list[Any]] = {}
    place, part = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        part, place = part + data[place + 7 : place + 7 + size], place + 7 + size
        if kind in (1, 4):  # whole, or the last part
            entry, part = Entry.FromString(part), b""
            name = entry.WhichOneof("record_type")
            found.setdefault(name, []).append(getattr(entry, name))
    return found


def history(found: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The logged metrics, one mapping a call."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in each.item}
        for each in found["history"]
    ]


def test_disabled_does_nothing_and_writes_nothing(dashboard: Open, tmp_path: Path) -> None:
    board = dashboard(mode="disabled")
    board.log(1, {"train/loss": 1.0})
    board.translations("test", [], {})
    board.summary({"test/bleu": 1.0})
    board.checkpoints([tmp_path / "absent.pt"])
    board.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_offline_run_holds_configuration_metrics_by_step_and_scores(dashboard: Open, tmp_path: Path) -> None:
    board = dashboard()
    board.log(1, {"train/loss": 2.5})
    board.log(2, {"train/loss": 2.0, "val/bleu": 7.5})
    board.summary({"test/bleu": 12.5})
    board.close()
    found = entries(tmp_path / "run")
    config = {update.key: json.loads(update.value_json) for update in found["run"][0].config.update}
    assert (config["seed"], config["optimizer"]) == (4, {"lr": 0.5})
    assert (found["run"][0].project, found["run"][0].job_type, list(found["run"][0].tags)) == ("slt", "train", ["a"])
    logged = [{key: row.get(key) for key in ("step", "train/loss", "val/bleu")} for row in history(found)]
    assert logged == [
        {"step": 1, "train/loss": 2.5, "val/bleu": None},
        {"step": 2, "train/loss": 2.0, "val/bleu": 7.5},
    ]
    assert 12.5 in [json.loads(u.value_json) for each in found["summary"] for u in each.update if u.key == "test/bleu"]


def test_translations_are_a_table_with_filmstrips(dashboard: Open, tmp_path: Path) -> None:
    said = [Prediction("a", "¿Sí?", "¡No!", 3.0), Prediction("b", "Bueno.", "Bueno.", 100.0)]
    board = dashboard()
    board.translations("test", said, {"b": np.zeros((4, 9, 3), np.uint8)})
    board.close()
    table = next(each for each in entries(tmp_path / "run")["artifact"] if each.type == "run_table")
    files = {content.path: Path(content.local_path) for content in table.manifest.contents}
    content = json.loads(files["test/translations.table.json"].read_text())
    assert content["columns"] == ["id", "reference", "translation", "chrf", "filmstrip"]
    assert [row[:4] for row in content["data"]] == [["a", "¿Sí?", "¡No!", 3.0], ["b", "Bueno.", "Bueno.", 100.0]]
    assert [row[4] and (row[4]["width"], row[4]["height"]) for row in content["data"]] == [None, (9, 4)]
    assert any(name.endswith(".png") for name in files)


@pytest.mark.parametrize("asked", [True, False])
def test_checkpoints_are_an_artifact_when_asked(dashboard: Open, tmp_path: Path, asked: bool) -> None:
    (tmp_path / "best.pt").write_bytes(b"weights")
    board = dashboard(log_checkpoints=asked)
    board.checkpoints([tmp_path / "best.pt"])
    board.close()
    models = [each for each in entries(tmp_path / "run").get("artifact", []) if each.type == "model"]
    assert [[content.path for content in each.manifest.contents] for each in models] == ([["best.pt"]] if asked else [])


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there, given up after one second; a real run waits 20."""
    settings = wandb.Settings
    monkeypatch.setattr(wandb, "Settings", lambda **given: settings(**given | {"init_timeout": 1}))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)


@pytest.mark.usefixtures("unreachable")
def test_unreachable_server_leaves_the_run_offline_with_a_warning(
    dashboard: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        board = dashboard(mode="online")
        board.log(1, {"train/loss": 2.5})
        board.close()
    assert time.monotonic() - start < 15
    assert "wandb cannot be reached" in caplog.text
    offline = next((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert [row["train/loss"] for row in history(entries(offline))] == [2.5]


@pytest.mark.parametrize("error", [ConnectionResetError("Connection lost"), wandb.errors.AuthenticationError("busy")])
def test_server_that_goes_away_stops_nothing_and_is_said_once(
    dashboard: Open, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    class Gone:
        def __getattr__(self, name: str) -> Any:
            raise error

    board = dashboard(mode="disabled", log_checkpoints=True)
    board.run = Gone()
    for step in range(3):
        board.log(step, {"train/loss": 2.5})
    board.translations("test", [], {})
    board.summary({})
    board.checkpoints([])
    board.close()
    assert caplog.text.count("wandb failed") == 1
    assert str(error) in caplog.text


def test_online_without_a_key_leaves_the_run_offline(
    dashboard: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    dashboard(mode="online").close()
    assert "the run is kept offline" in caplog.text


@pytest.mark.usefixtures("dashboard", "unreachable")
def test_unreachable_server_stops_no_training_and_its_records_are_whole(entry: Any, tiny: list[str]) -> None:
    ran = entry("train", *tiny, "wandb.mode=online", "wandb.log_checkpoints=true", "evaluation.blanked=false")
    assert (ran.status, (ran.folder / "report.html").is_file()) == (0, True)
    found = entries(next((ran.folder / "wandb").glob("offline-run-*")))
    logged = {key for row in history(found) for key in row}
    assert {"train/loss", "train/lr", "val/loss", "val/bleu", "val/chrf", "test/translations/_type"} <= logged
    assert {artifact.type for artifact in found["artifact"]} == {"run_table", "model"}
    config = {update.key for update in found["run"][0].config.update}
    assert {"seed", "dataset", "fusion", "decoder", "optimizer"} <= config
    summary = {update.key for each in found["summary"] for update in each.update}
    assert {"test/bleu", "test/chrf", "test/wer"} <= summary
