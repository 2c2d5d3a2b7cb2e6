"""What a run leaves behind: metrics, curves, origin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import slt.training.record
from slt.drawing.charts import save_curves
from slt.training.record import Record, read_metrics, write_origin


class Sink:
    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.told.append((step, dict(metrics)))


@pytest.fixture
def record(tmp_path: Path) -> Record:
    made = Record(tmp_path, [Sink()])
    for step in (1, 2, 3):
        made.log(step, {"train/loss": 1 / step, "train/lr": 0.1})
        if step > 1:
            made.log(step, {"val/bleu": 10.0 * step})
    return made


def test_metrics_come_back_to_the_last_bit(record: Record) -> None:
    assert read_metrics(record.path) == record.curves
    assert record.curves["train/loss"] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_file_has_one_value_a_line(record: Record) -> None:
    lines = record.path.read_text().splitlines()
    assert lines[:3] == ["step,name,value", "1,train/loss,1.0", "1,train/lr,0.1"]
    assert len(lines) == 1 + 3 * 2 + 2


def test_sinks_are_told_everything(record: Record) -> None:
    told = record.sinks[0].told  # type: ignore[attr-defined]
    assert told[:2] == [(1, {"train/loss": 1.0, "train/lr": 0.1}), (2, {"train/loss": 0.5, "train/lr": 0.1})]
    assert (3, {"val/bleu": 30.0}) in told


def test_carries_over_the_rows_up_to_a_step_and_goes_on_after_them(record: Record, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    after = Record(tmp_path / "next", [])
    after.carry_over(record.path, 2)
    after.log(3, {"train/loss": 9.0})
    assert after.curves["train/loss"] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    assert read_metrics(after.path) == after.curves
    kept = [line for line in record.path.read_text().splitlines() if not line.startswith("3,")]
    assert after.path.read_text().splitlines() == [*kept, "3,train/loss,9.0"]


def test_carries_over_within_its_own_file(record: Record, tmp_path: Path) -> None:
    again = Record(tmp_path, [])
    again.carry_over(record.path, 2)
    assert max(step for points in read_metrics(record.path).values() for step, _ in points) == 2


@pytest.mark.parametrize("earlier", [True, False])
def test_rows_are_not_lost_where_taking_them_over_is_cut_short(
    record: Record, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    whole = record.path.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        record.carry_over(record.path if earlier else None, 2)
    assert record.path.read_bytes() == whole


def test_what_an_attempt_without_a_checkpoint_left_is_not_counted_twice(record: Record, tmp_path: Path) -> None:
    again = Record(tmp_path, [])
    again.carry_over(None, 0)
    again.log(1, {"train/loss": 1.0})
    assert read_metrics(record.path) == {"train/loss": [(1, 1.0)]}


def test_row_that_a_crash_cut_short_is_left_out(record: Record) -> None:
    whole = read_metrics(record.path)
    for cut in ("4,train/lo", "4,train/loss", "4", "4,train/loss,"):
        record.path.write_text(record.path.read_text() + cut)
        assert read_metrics(record.path) == whole
        record.path.write_text(record.path.read_text().removesuffix(cut))


@pytest.mark.parametrize("row", ["x,train/loss,1.0", "4,train/loss", "4,train/loss,~"])
def test_row_that_is_none_is_named_with_its_line(record: Record, row: str) -> None:
    record.path.write_text(f"step,name,value\n1,train/loss,2.0\n{row}\n")
    with pytest.raises(ValueError, match=r"metrics\.csv line 3: "):
        read_metrics(record.path)


def test_sinks_are_told_what_is_carried_over(record: Record, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    after = Record(tmp_path / "next", [Sink()])
    after.carry_over(record.path, 2)
    assert after.sinks[0].told == [  # type: ignore[attr-defined]
        (1, {"train/loss": 1.0, "train/lr": 0.1}),
        (2, {"train/loss": 0.5, "train/lr": 0.1, "val/bleu": 20.0}),
    ]


def test_nothing_to_carry_over_is_an_empty_file(tmp_path: Path) -> None:
    record = Record(tmp_path, [])
    record.carry_over(tmp_path / "absent.csv", 5)
    assert (record.curves, read_metrics(record.path)) == ({}, {})


def test_curves_become_a_picture(record: Record, tmp_path: Path) -> None:
    save_curves(record.curves, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("L").getcolors() or []) > 10  # type: ignore[arg-type]


def test_origin_names_revision_versions_command_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["slt.train", "seed=4"])
    assert write_origin(tmp_path) == (origin := json.loads((tmp_path / "origin.json").read_text()))
    git = subprocess.run(
        ["git", "-C", str(Path(slt.training.record.__file__).parent), "rev-parse", "HEAD"], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert origin["git"] == (git.stdout.strip() or None)
    assert origin["command"] == ["slt.train", "seed=4"]
    assert origin["packages"]["torch"].split(".")[0].isdigit()
    assert origin["python"] == sys.version.split()[0]


def test_origin_outside_a_checkout_has_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slt.training.record, "__file__", str(tmp_path / "site-packages" / "record.py"))
    assert write_origin(tmp_path)["git"] is None


def test_origin_without_git_on_the_machine_has_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert write_origin(tmp_path)["git"] is None
