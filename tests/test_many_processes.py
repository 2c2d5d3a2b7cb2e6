"""`slt.train` and `slt.pretrain` in two processes of gloo, through their entry points: one run, like one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slt.config.checks import check
from slt.evaluation.prediction import read_predictions
from slt.training.checkpoint import load_checkpoint
from slt.training.record import read_metrics

DECODER = "{d_model:16,decoder_layers:1,decoder_attention_heads:2,decoder_ffn_dim:32,dropout:0.0}"
# Batches of three clips: two for one process and one for the other, and at times a part shows nothing of a stream.
SAME = (
    f"decoder.config={DECODER}", "batch_size=3", "accumulate=2", "dataset.augment.stream_dropout=0.4", "gloss_weight=1",
    "flat_start=2", "ema_decay=0.9", "eval_every=1", "schedule=constant", "optimizer.lr=0.003", "select=chrf",
    "evaluation.shuffled=true", "evaluation.frozen=true", "evaluation.bootstrap=0", "evaluation.report_strips=0",
)  # fmt: skip
PRETRAIN = (
    "stream=hands", "backbone.embed_dim=16", "backbone.depth=2", "backbone.num_heads=2", "augment.size=32",
    "augment.part_size=16", "augment.parts=2", "objective.model.num_prototypes=8", "objective.model.head.hidden=16",
    "objective.model.head.bottleneck=8", "objective.model.drop_path=0", "objective.loss.ibot_weight=0",
    "objective.loss.koleo_weight=0", "objective.loss.freeze_prototypes=1", "probe.enabled=false", "precision=fp32",
    "device=cpu", "num_workers=0", "batch_size=7", "max_steps=3", "eval_every=3", "log_every=1", "drift=0.4",
    "schedule.warmup_steps=1",
)  # fmt: skip
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "slt.train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes") / "runs"


@pytest.fixture
def joined(folder: Path, tiny: list[str]) -> Path:
    """The first two updates by two processes of torchrun, with DDP, once for all tests; where they were made."""
    if not folder.is_dir():
        folder.mkdir()
        words = ("max_steps=2", "strategy=ddp", "final=null")
        done = subprocess.run(
            [sys.executable, "-m", *TORCHRUN, *tiny, *SAME, *words], cwd=folder, capture_output=True, text=True,
            timeout=900, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (folder / "printed").write_text(done.stdout)
    (made,) = (folder / "outputs" / "train").glob("*/*")
    return made


@pytest.fixture
def runs(folder: Path, joined: Path, entry: Any, tiny: list[str]) -> tuple[Path, Path]:
    """Four updates of one process with its report on `test`; and by two, the last two updates and the report.

    These are a job of a sweep, with FSDP2.
    """
    one, two = folder / "whole", folder / "sweep"
    if not one.is_dir():
        ran = entry("train", *tiny, *SAME, "max_steps=4", f"hydra.run.dir={one}")
        assert ran.status == 0, ran.err
        ran = entry("train", "-m", *tiny, *SAME, "max_steps=4", "devices=2", "strategy=fsdp2", "num_workers=1",
                    "final=test", f"resume={joined}", f"hydra.sweep.dir={two}")  # fmt: skip
        assert ran.status == 0, ran.err
    return one, two / "0"


def curves(folder: Path) -> dict[str, list[float]]:
    found = read_metrics(folder / "metrics.csv")
    return {name: [value for _, value in points] for name, points in found.items() if name[:6] in ("train/", "val/lo")}


def test_two_processes_train_as_one_does_whatever_started_them_and_the_strategy(runs: tuple[Path, Path]) -> None:
    one, two = map(curves, runs)
    for name in ("train/loss", "val/loss", "train/lr"):
        assert len(two[name]) == 4
        assert two[name] == pytest.approx(one[name], rel=1e-3), name
    mine, theirs = (load_checkpoint(each / "checkpoints" / "last.pt") for each in runs)
    assert list(mine) == list(theirs)
    assert list(mine["model"]) == list(theirs["model"])
    for name in mine["model"]:
        torch.testing.assert_close(theirs["model"][name], mine["model"][name], rtol=1e-2, atol=1e-3)


def test_predictions_are_those_of_one_process_each_clip_once_and_in_order(runs: tuple[Path, Path]) -> None:
    one, two = (read_predictions(each / "predictions.tsv") for each in runs)
    assert [p.id for p in two] == sorted({p.id for p in one})
    assert two == one
    scores = [json.loads((each / "scores.json").read_text()) for each in runs]
    assert scores[1]["scores"] == scores[0]["scores"]
    assert scores[1]["controls"] == scores[0]["controls"]
    assert {"shuffled", "frozen"} <= scores[0]["controls"].keys()
    assert scores[1]["loss"] == pytest.approx(scores[0]["loss"], rel=1e-4)


def test_torchruns_processes_are_one_run_in_one_folder_and_say_so(folder: Path, joined: Path) -> None:
    there = {str(path.relative_to(joined)) for path in joined.rglob("*") if path.is_file()}
    assert there == {
        "config.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "train.log", "metrics.csv",
        "curves.png", "checkpoints/last.pt", "checkpoints/best.pt", "origin.json", "status.json",
    }  # fmt: skip
    assert "process 0 of 2 that torchrun has started" in (joined / "train.log").read_text()
    assert (folder / "printed").read_text().count("run folder:") == 1


def test_pretraining_by_two_processes_is_that_of_one(entry: Any, corpus: Path) -> None:
    given = (*PRETRAIN, f"dataset.root={corpus}")
    one, two = (entry("pretrain", *given, f"devices={count}") for count in (1, 2))
    assert (one.status, two.status) == (0, 0), two.err
    losses, other = (curves(each.folder)["train/loss"] for each in (one, two))
    assert other == pytest.approx(losses, rel=1e-4)
    mine, theirs = (load_file(each.folder / "backbone_hands.safetensors") for each in (one, two))
    for name in mine:
        torch.testing.assert_close(theirs[name], mine[name], rtol=1e-2, atol=1e-4)
    assert two.out.count("backbone:") == 1


def test_a_killed_process_ends_the_run_with_the_cause_and_leaves_none_behind(
    entry: Any, tiny: list[str], tmp_path: Path
) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    begun: list[int] = []

    def kill() -> None:
        until(last.is_file)
        begun.extend(descendants(os.getpid()))
        os.kill(begun[1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    ran = entry("train", *tiny, "devices=2", "num_workers=1", "max_steps=100000", "hydra.run.dir=run")
    killer.join()
    assert ran.status == 1
    assert "error: process 1 of 2 was killed by SIGKILL, and the others were ended" in ran.err
    assert len(begun) >= 4  # with the loaders
    until(lambda: not any(map(alive, begun)))
    assert load_checkpoint(last)["step"] >= 2


def descendants(parent: int) -> list[int]:
    """Processes that `launch` has started below a process: those that train first, by rank, then their loaders."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if "spawn_main" in (path.parent / "cmdline").read_text():
                parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    mine = sorted(pid for pid, above in parents.items() if above == parent)
    return mine + [pid for pid, above in sorted(parents.items()) if above in mine]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(ready: Callable[[], bool], seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("command", "overrides", "said"),
    [
        ("train", ["devices=0"], "devices=0: expected a number above 0"),
        ("train", ["devices=4096"], r"devices=4096: there are \d+ processor cores here; expected at most as many"),
        ("train", ["devices=2", "batch_size=1"], "batch_size=1 is the batch of all 2 processes together"),
        ("train", ["strategy=dpp"], r"strategy=dpp: expected one of ddp, fsdp2; did you mean ddp\?"),
        ("train", ["devices=2", "device=cuda:0"], "device=cuda:0 is one device, and there are 2 processes"),
        ("train", ["devices=2", "strategy=fsdp2", "precision=fp16"], "use bf16 with strategy=fsdp2"),
        ("pretrain", ["devices=2", "strategy=fsdp2"], "strategy=fsdp2: pretraining's teacher follows the student"),
    ],
)
def test_what_does_not_go_together_is_said_first(compose: Any, command: str, overrides: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check(compose("device=cpu", *overrides, name=command))


def test_more_devices_than_there_are_is_said_on_a_machine_with_gpus(
    compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="devices=8: there are 2 CUDA devices here"):
        check(compose("device=cuda", "devices=8"))


def test_processes_of_torchrun_are_not_multiplied(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="devices=4: torchrun has started 2 processes; leave devices out"):
        check(compose("device=cpu", "devices=4"))
