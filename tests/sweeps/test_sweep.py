"""A sweep through the real command: failing jobs, starting again, its table and page."""

from __future__ import annotations

import csv
import gc
import json
import re
from pathlib import Path

import pytest

from slt.config import runs
from slt.evaluation.prediction import Prediction, write_predictions
from slt.models import Translator
from slt.sweeps.page import close, summary, write_sweep
from slt.sweeps.status import read_status

ONE = ("final=null", "max_steps=1", "eval_every=1")


def states(folder):
    return [status and status.state for status in (read_status(folder / name) for name in "0123")]


def table(folder):
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_failing_jobs_are_reported_and_end_nothing_but_the_exit_status(real_sweep):
    assert (real_sweep.status, states(real_sweep.folder)) == (1, ["finished", "finished", "failed", "failed"])
    (first, second) = re.findall(r"^error: job (\d): .*num_heads=3\n  with (.*); see (.*)$", real_sweep.err, re.M)
    assert (first[0], second[0]) == ("2", "3")
    assert "temporal.num_heads=3" in first[1]
    assert first[2] == "swept/2"
    assert "Traceback" not in real_sweep.err
    assert "Traceback" in (real_sweep.folder / "2" / "error.log").read_text()
    assert "sweep: 2 finished, 2 failed" in real_sweep.out
    assert real_sweep.out.splitlines()[-1] == "sweep folder: swept"


def test_the_table_has_a_row_a_job_with_what_differs_and_its_group(real_sweep):
    rows = table(real_sweep.folder)
    assert [(row["job"], row["state"], row["temporal.num_heads"], row["seed"]) for row in rows] == [
        ("0", "finished", "2", "1"), ("1", "finished", "2", "2"), ("2", "failed", "3", "1"), ("3", "failed", "3", "2"),
    ]  # fmt: skip
    assert "embed_dim" not in rows[0]
    assert (rows[0]["n"], rows[2]["n"]) == ("2", "0")
    assert "not divisible" in rows[2]["failure"]
    assert {"test/gloss_wer", "test/gloss_wer_low", "test/bleu_worst_signer", "test/bleu_shuffled"} <= rows[0].keys()
    both = [float(row["test/bleu"]) for row in rows[:2]]
    assert float(rows[0]["test/bleu_mean"]) == pytest.approx(sum(both) / 2)


def test_the_page_is_whole_in_itself_and_hides_no_job(real_sweep):
    page = (real_sweep.folder / "sweep.html").read_text()
    assert re.findall(r"(?:src|href)=\"(?!#|\d/)[^\"]*", page) == []
    assert "default-src 'none'" in page
    assert page.count("<svg") == 3
    assert [page.count(f'<a href="{job}/') for job in "0123"] == [1, 1, 2, 2]  # in the list, and among the causes
    assert all((real_sweep.folder / f"{name}.png").is_file() for name in ("scores", "curves", "parallel"))


def test_a_sweep_started_again_passes_over_what_is_finished(swept, entry):
    before = {path: path.stat().st_mtime_ns for path in swept.folder.glob("[01]/checkpoints/*")}
    failed = read_status(swept.folder / "2").started
    ran = entry("train", *swept.words, "hydra.sweep.dir=swept")
    assert ran.status == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "2 finished, 2 failed" in ran.out
    assert (swept.folder / "0" / "train.log").read_text().count("finished already, passed over") == 1
    assert read_status(swept.folder / "2").started >= failed


def test_another_job_in_a_numbered_folder_is_refused_and_nothing_is_lost(swept, entry):
    before = (swept.folder / "1" / ".hydra" / "overrides.yaml").read_text()
    words = [word.replace("seed=1,2", "seed=1,3") for word in swept.words]
    ran = entry("train", *words, "hydra.sweep.dir=swept")
    assert ran.status == 1
    said = "error: swept/1 holds another job: it was begun with seed=2, and would now be run with seed=3"
    assert said in ran.err
    assert (swept.folder / "1" / ".hydra" / "overrides.yaml").read_text() == before


def test_a_job_that_was_stopped_goes_on_in_its_own_folder(entry, tiny, monkeypatch):
    from slt.training.loop import Trainer

    plain, words = Trainer.step, ["-m", *tiny, "final=null", "max_steps=4", "seed=1", "hydra.sweep.dir=one"]

    def stopped(self, stream):
        if self.step_count == 3:
            raise SystemExit(143)
        return plain(self, stream)

    monkeypatch.setattr(Trainer, "step", stopped)
    assert entry("train", *words).status == 143
    assert read_status(Path("one/0")).state == "stopped"
    monkeypatch.setattr(Trainer, "step", plain)
    assert entry("train", *words).status == 0
    assert "resumed one/0/checkpoints/last.pt at step 2" in Path("one/0/train.log").read_text()
    steps = [row.split(",")[0] for row in Path("one/0/metrics.csv").read_text().splitlines() if "train/loss" in row]
    assert steps == ["1", "2", "3", "4"]


def test_the_objective_is_a_validation_score_and_never_test(entry, tiny, monkeypatch):
    from slt.evaluation import translation

    monkeypatch.setattr(translation, "bleu", lambda *_: 77.0)  # of validation; test is scored in evaluation.metrics
    assert entry("train", "-m", *tiny, "evaluation.blanked=false", "hydra.sweep.dir=one").status == 0
    assert read_status(Path("one/0")).value == 77
    assert json.loads(Path("one/0/scores.json").read_text())["scores"]["bleu"]["value"] < 77
    (row,) = table(Path("one"))
    assert float(row["val/bleu"]) == 77


def test_a_job_s_model_is_gone_when_the_next_one_begins(entry, tiny, monkeypatch):
    alive, begin = [], runs.begin_run

    def count(cfg):
        alive.append(sum(type(thing) is Translator for thing in gc.get_objects()))
        return begin(cfg)

    gc.collect()
    monkeypatch.setattr(runs, "begin_run", count)
    gc.disable()  # what only chance would collect is not gone
    try:
        assert entry("train", "-m", *tiny, *ONE, "seed=1,2").status == 0
    finally:
        gc.enable()
    assert alive[1] == alive[0]


def test_two_jobs_at_once_write_to_two_folders_whatever_processes_each_starts(entry, tiny):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the launcher of extra parallel is absent")
    loky = pytest.importorskip("joblib.externals.loky")
    given = [*tiny, *ONE, "num_workers=1", "devices=1,2"]
    ran = entry("train", "-m", *given, "hydra/launcher=parallel", "hydra.sweep.dir=both")
    loky.get_reusable_executor().shutdown()  # it would serve the next test from this one's folder
    assert ran.status == 0, ran.err
    found = [read_status(Path("both") / name) for name in "01"]
    assert [status.state for status in found] == ["finished", "finished"]
    assert len({tuple(status.overrides) for status in found}) == 2


def test_a_page_over_broken_and_running_jobs_lists_each_with_its_state(swept, capfd):
    (swept.folder / "0" / "scores.json").write_text('{"scores": ')
    running = json.loads((swept.folder / "1" / "status.json").read_text()) | {"state": "running"}
    (swept.folder / "1" / "status.json").write_text(json.dumps(running))  # and no process behind it
    (swept.folder / "2" / "status.json").write_bytes(b"\x00\xff")
    for path in sorted((swept.folder / "3").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (swept.folder / "3").rmdir()
    sweep = write_sweep(swept.folder)
    assert [run.status.state for run in sweep.runs] == ["unknown", "killed", "unknown", "waiting"]
    assert "scores.json" in sweep.runs[0].status.failure or "JSON" in sweep.runs[0].status.failure
    assert [row["state"] for row in table(swept.folder)] == ["unknown", "killed", "unknown", "waiting"]
    assert close(swept.folder) == 1
    assert "job 3, temporal.num_heads=3 seed=2, waiting" in capfd.readouterr().out


def test_page_table_and_terminal_mark_the_settings_that_the_paired_test_does_not_tell_from_the_best(
    write_run, tmp_path
):
    said = [f"the {word} sees a tree at noon" for word in ("cat", "dog", "owl", "fox", "cow", "hen", "ant", "bee")]
    for job, wrong in enumerate((0, 1, 8)):
        folder = write_run(f"swept/{job}", f"x={job}", bleu=9.0 - job)
        guessed = ["a sea at last"] * wrong + said[wrong:]
        pairs = zip(said, guessed, strict=True)
        write_predictions(folder / "predictions.tsv", [Prediction(r, r, h, 0.0) for r, h in pairs])
    sweep = write_sweep(tmp_path / "swept")
    assert [row["place"] for row in table(sweep.folder)] == ["1", "1", "3"]
    page = (sweep.folder / "sweep.html").read_text()
    assert page.count('<b class="first">1st</b></td>') == 2
    assert "2\nof 3 settings may be the best" in page
    assert "the paired test on test/bleu finds none better than: x=0; x=1" in summary(sweep)
