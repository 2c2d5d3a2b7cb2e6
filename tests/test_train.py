"""`slt.train` through its real entry point: it learns, leaves a whole run folder, sweeps, and ends when told to."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from slt.evaluation.prediction import read_predictions
from slt.training.checkpoint import load_checkpoint
from slt.training.machine import choose_precision
from slt.training.record import read_metrics

# From Python 3.12 on a fork beside threads warns, such as tqdm's; ours and the loader's do nothing with them.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
DECODER = "{d_model:64,decoder_layers:1,decoder_ffn_dim:128,dropout:0.1}"
CONTROLS = ("blanked", "shuffled", "frozen")
PLAIN = (
    *(f"evaluation.{control}=false" for control in CONTROLS), "evaluation.bootstrap=0", "evaluation.report_strips=0",
)  # fmt: skip
SHORT = ("final=null", "max_steps=1", "eval_every=1")


def test_two_clips_are_learned_by_heart(entry: Any, tiny: list[str]) -> None:
    wide = ["embed_dim=64", f"decoder.config={DECODER}", "optimizer.lr=0.002", "max_steps=200", "eval_every=40"]
    ran = entry("train", "debug=overfit", *tiny, *wide, "batch_size=2", "evaluation.num_beams=1", "evaluation.nbest=1")
    said = read_predictions(ran.folder / "predictions.tsv")
    assert len({p.reference for p in said}) == 2
    assert [p.hypothesis for p in said] == [p.reference for p in said]
    assert json.loads((ran.folder / "scores.json").read_text())["scores"]["bleu"]["value"] == pytest.approx(100)


def test_a_stream_seen_below_the_stated_share_stops(entry: Any, tiny: list[str]) -> None:
    ran = entry("train", *tiny, "dataset.min_seen=1", "dataset.only=[face,pose]")
    assert ran.status == 1
    assert "dataset.min_seen=1" in ran.err


def test_run_folder_is_whole_and_the_terminal_shows_what_came_of_it(entry: Any, tiny: list[str], corpus: Path) -> None:
    controls = [f"evaluation.{control}=true" for control in CONTROLS]
    ran = entry("train", *tiny, *controls, "max_steps=3", "eval_every=1", "seed=7", curves=True)
    assert (ran.status, ran.err.count("error")) == (0, 0)
    assert ran.folder.relative_to(Path.cwd()).parts[:2] == ("outputs", "train")
    assert len(ran.folder.name.split("-")[-1]) == 6  # microseconds
    there = {str(path.relative_to(ran.folder)) for path in ran.folder.rglob("*") if path.is_file()}
    assert there == {
        "config.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "train.log", "metrics.csv",
        "curves.png", "checkpoints/last.pt", "checkpoints/best.pt", "scores.json", "predictions.tsv", "report.html",
        "origin.json", "status.json",
    }  # fmt: skip
    text = (ran.folder / "config.yaml").read_text()
    assert "${" not in text
    assert (OmegaConf.create(text).seed, OmegaConf.create(text).dataset.seed) == (7, 7)
    with Image.open(ran.folder / "curves.png") as picture:
        picture.verify()
    curves = read_metrics(ran.folder / "metrics.csv")
    assert [step for step, _ in curves["train/loss"]] == [step for step, _ in curves["val/bleu"]] == [1, 2, 3]
    assert json.loads((ran.folder / "origin.json").read_text())["packages"]["torch"]
    assert [p.id for p in read_predictions(ran.folder / "predictions.tsv")] == _ids(corpus, "test")
    scores = json.loads((ran.folder / "scores.json").read_text())["scores"]
    assert scores["bleu"]["signature"].endswith("clips:20|seed:7")
    assert all(f"seen: {name} " in ran.out + ran.err for name in ("face", "left_hand", "right_hand", "pose"))
    assert all(name in ran.out for name in ("bleu", "chrf", "BLEU of the best constant sentence", "BLEU without face"))
    assert ran.out.count("reference:") == ran.out.count("translation:") == 4  # as many as the split has, five at most
    assert ran.named_folder
    assert "clips/s" in ran.err


def _ids(corpus: Path, split: str) -> list[str]:
    with (corpus / "index" / f"{split}.csv").open() as file:
        return sorted(row["video_id"] for row in csv.DictReader(file))


def test_scores_are_of_the_best_checkpoint_and_not_of_the_last(
    entry: Any, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([5.0, 9.0, 1.0])
    from slt.evaluation import translation

    monkeypatch.setattr(translation, "bleu", lambda *_: next(scores))
    ran = entry("train", *tiny, "max_steps=3", "eval_every=1", *PLAIN)
    assert load_checkpoint(ran.folder / "checkpoints" / "best.pt")["step"] == 2
    assert json.loads((ran.folder / "scores.json").read_text())["checkpoint"] == "checkpoints/best.pt"
    last, best = (
        entry("eval", f"checkpoint={ran.folder}/checkpoints/{name}.pt", "num_workers=0", "device=cpu", *PLAIN)
        for name in ("last", "best")
    )  # fmt: skip
    losses = [json.loads((each.folder / "scores.json").read_text())["loss"] for each in (ran, best, last)]
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_and_its_updates_are_those_of_the_configuration(
    entry: Any, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def built(**parts: Any) -> None:
        given.update(vars(parts["objective"]), settings=parts["settings"], batching=parts["batches"].batching)
        raise ValueError("seen")

    monkeypatch.setattr("slt.commands.train.Trainer", built)
    keys = ("label_smoothing=0.3", "gloss_weight=0.7", "flat_start=9", "accumulate=3", "grad_clip=0.4")
    assert "seen" in entry("train", *tiny, *keys).err
    assert (given["label_smoothing"], given["gloss_weight"], given["flat_start"]) == (0.3, 0.7, 9)
    assert (given["settings"].accumulate, given["settings"].grad_clip) == (3, 0.4)
    assert (given["batching"].batch_size, given["settings"].select) == (4, "val/bleu")
    assert given["place"]


def test_selection_is_never_on_test(entry: Any, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import slt.commands.train

    asked: list[list[str]] = []
    plain = slt.commands.train.validate

    def spied(translator: Any, batches: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(sorted(batches.dataset.ids))
        return plain(translator, batches, *arguments, **options)

    monkeypatch.setattr(slt.commands.train, "validate", spied)
    corpus = Path(next(key for key in tiny if key.startswith("dataset.root=")).partition("=")[2])
    entry("train", *tiny, *SHORT)
    assert asked == [_ids(corpus, "val")]


def test_patience_ends_a_run_early_and_it_is_scored_all_the_same(entry: Any, tiny: list[str]) -> None:
    ran = entry("train", *tiny, "max_steps=50", "eval_every=1", "patience=1", "optimizer.lr=1e-9", *PLAIN)
    assert load_checkpoint(ran.folder / "checkpoints" / "last.pt")["step"] == 2
    assert (ran.folder / "scores.json").is_file()


def test_debug_profile_says_where_the_time_of_an_update_went(entry: Any, tiny: list[str]) -> None:
    ran = entry("train", *(key for key in tiny if not key.startswith(("max_steps", "eval_every"))), "debug=profile")
    assert ran.status == 0, ran.err
    assert "aten::" in (ran.folder / "profile.txt").read_text(encoding="utf-8")
    assert {"trace.json.gz", "metrics.csv"} <= {path.name for path in ran.folder.iterdir()}
    assert not (ran.folder / "scores.json").exists()


def test_debug_fast_runs_two_steps_of_everything(entry: Any, tiny: list[str]) -> None:
    lengths = ("max_steps", "eval_every", "log_every", "batch_size", "num_workers", "evaluation")
    ran = entry("train", *(key for key in tiny if not key.startswith(lengths)), "debug=fast")
    assert ran.status == 0
    assert load_checkpoint(ran.folder / "checkpoints" / "last.pt")["step"] == 2
    cfg = OmegaConf.load(ran.folder / "config.yaml")
    assert (cfg.dataset.limit, cfg.dataset.held_out) == (16, 4)
    assert (ran.folder / "report.html").is_file()


def test_grid_runs_under_one_sweep_folder(entry: Any, tiny: list[str]) -> None:
    assert entry("train", "-m", *tiny, *SHORT, "fusion=concat,gated").status == 0
    (sweep,) = Path("outputs/sweeps/train").glob("*/*")
    assert (sweep / "multirun.yaml").is_file()
    jobs = [OmegaConf.load(sweep / number / "config.yaml") for number in "01"]
    assert [job.fusion._target_ for job in jobs] == ["slt.models.FuseConcatLinear", "slt.models.FuseGated"]
    assert all((sweep / number / "checkpoints" / "last.pt").is_file() for number in "01")
    assert not Path("outputs/train").exists()


def test_a_seed_that_is_drawn_and_the_chosen_precision_are_recorded_and_repeat_the_run(
    entry: Any, tiny: list[str]
) -> None:
    tiny = [*tiny, "precision=auto"]
    drawn = entry("train", *tiny, *SHORT, "seed=null", "hydra.run.dir=outputs/mine")
    seed = OmegaConf.load(drawn.folder / "config.yaml").seed
    held = OmegaConf.create(load_checkpoint(drawn.folder / "checkpoints" / "last.pt")["config"])
    assert held.seed == held.dataset.seed == seed
    assert held.precision == choose_precision("auto", torch.device("cpu"))
    assert f"seed={seed} repeats it" in (drawn.folder / "train.log").read_text()
    again, other = (entry("train", *tiny, *SHORT, f"seed={said}") for said in (seed, "null"))
    losses = [read_metrics(run.folder / "metrics.csv")["train/loss"] for run in (drawn, again, other)]
    assert losses[0] == losses[1] != losses[2]
    resumed = entry("train", *tiny, "final=null", "seed=null", f"resume={drawn.folder}")
    entry("train", *tiny, "final=null", "seed=null", "resume=auto", "hydra.run.dir=outputs/mine")
    assert {OmegaConf.load(folder / "config.yaml").seed for folder in (resumed.folder, drawn.folder)} == {seed}


def test_ctrl_c_to_the_whole_process_group_saves_and_leaves(tiny: list[str]) -> None:
    # In a group of its own: the loader's processes get the signal too, as at a terminal.
    lengths = ("max_steps=100000", "eval_every=100000", "num_workers=2", "final=null")
    child = subprocess.Popen([sys.executable, "-m", "slt.train", *tiny, *lengths], start_new_session=True)
    try:
        _wait(lambda: any(len(p.read_text().splitlines()) > 20 for p in Path.cwd().rglob("metrics.csv")))
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(120) == 130
    finally:
        child.kill()
    (last,) = Path.cwd().rglob("last.pt")
    steps = [step for step, _ in read_metrics(last.parent.parent / "metrics.csv")["train/loss"]]
    assert load_checkpoint(last)["step"] == steps[-1]


def _wait(ready: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_not_a_number_ends_a_run_with_one_message_that_says_what_to_do(entry: Any, tiny: list[str]) -> None:
    ran = entry("train", *tiny, "optimizer.lr=1e30", "grad_clip=null", "schedule.warmup_steps=0", "max_steps=20",
                "eval_every=20")  # fmt: skip
    assert ran.status == 1
    assert "error: the loss is nan at step" in ran.err
    assert "Lower optimizer.lr" in ran.err
    assert not (ran.folder / "checkpoints").exists()


def test_full_disk_ends_a_run_with_one_message(entry: Any, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slt.training.checkpoint.torch.save", full)
    ran = entry("train", *tiny, *SHORT)
    assert (ran.status, ran.err.count("error: ")) == (1, 1)
    assert "could not be saved" in ran.err
    assert "Is the disk full?" in ran.err


def test_accumulation_and_frame_budget_train_too(entry: Any, tiny: list[str]) -> None:
    ran = entry("train", *tiny, *SHORT, "accumulate=2", "batch_size=null", "batch_frames=70", "precision=bf16")
    assert ran.status == 0
    assert load_checkpoint(ran.folder / "checkpoints" / "last.pt")["step"] == 1
