"""Resuming: the whole run again from where it was, bit for bit, and which checkpoint it goes on from."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from slt.config.runs import find_resume
from slt.sweeps.status import claimed
from slt.training.checkpoint import load_checkpoint, save_checkpoint
from slt.training.loop import Trainer
from slt.training.record import read_metrics

# From Python 3.12 on a fork beside threads warns, such as tqdm's; ours and the loader's do nothing with them.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

# Everything random is on: dropout in every part, in the data all that can be changed; and the objective changes its
# form before the checkpoint.
RANDOM = (
    "projector.dropout=0.1", "fusion.dropout=0.1", "temporal.dropout=0.1", "streams.pose.dropout=0.1",
    "streams.face.dropout=0.1", "decoder.config.dropout=0.1", "dataset.augment.stream_dropout=0.2",
    "dataset.augment.frame_dropout=0.2", "dataset.augment.mirror=0.5", "gloss_weight=1", "flat_start=2", "max_steps=6",
    "eval_every=3", "final=null",
)  # fmt: skip
_kept: dict[str, Path] = {}  # runs that several tests look at
MEASURED = ("train/clips_per_second", "train/data_wait")  # of the clock, not of the run


class Stopped(Exception): ...


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make every training stop in the update after number `step`; 0 lets it run."""
    plain = Trainer.step

    def stop(step: int) -> None:
        def update(self: Trainer, stream: Any) -> Any:
            if step and self.step_count == step:
                raise Stopped
            return plain(self, stream)

        monkeypatch.setattr(Trainer, "step", update)

    return stop


def result(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a run's last.pt, and its metrics but for those of the clock."""
    curves = read_metrics(folder / "metrics.csv")
    return load_checkpoint(folder / "checkpoints" / "last.pt")["model"], {
        name: points for name, points in curves.items() if name not in MEASURED
    }


def assert_same(one: Path, other: Path) -> None:
    (mine, my_curves), (theirs, their_curves) = result(one), result(other)
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert my_curves == their_curves
    assert [step for step, _ in my_curves["train/loss"]] == [1, 2, 3, 4, 5, 6]


@pytest.fixture
def whole(entry: Any, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run, trained once for all tests."""
    if "whole" not in _kept:
        run = entry("train", *tiny, *RANDOM)
        assert run.status == 0, run.err
        _kept["whole"] = Path(shutil.move(run.folder, tmp_path_factory.mktemp("resumed") / "whole"))
    return _kept["whole"]


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    entry: Any, tiny: list[str], whole: Path, stop_at: Callable[[int], None], workers: int
) -> None:
    stop_at(4)
    with pytest.raises(Stopped):  # one update after the checkpoint of step 3: its metrics must not stand twice
        entry("train", *tiny, *RANDOM, f"num_workers={workers}")
    stop_at(0)
    torch.manual_seed(1234)
    rest = entry("train", *tiny, *RANDOM, f"num_workers={workers}", "resume=auto")
    assert rest.status == 0
    assert_same(rest.folder, whole)
    assert "at step 3" in (rest.folder / "train.log").read_text()


# A process of its own: a fork of this one could not train once a test has exported (autograd's threads do not fork).
DIES_IN_A_SAVE = """
import os, signal, torch
from slt.train import train
torch.set_num_threads(1)  # as the tests have it: sums depend on it
plain, saves = torch.save, iter(range(100))

def half(payload, file):
    if "optimizer" in payload and next(saves) == 1:  # last.pt for the second time, at step 6
        file.write(b"PK half of it")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    plain(payload, file)

torch.save = half
train()
"""


def test_run_killed_in_the_middle_of_a_save_goes_on_bit_for_bit(entry: Any, tiny: list[str], whole: Path) -> None:
    child = subprocess.run([sys.executable, "-c", DIES_IN_A_SAVE, *tiny, *RANDOM], timeout=300)
    assert child.returncode == -signal.SIGKILL
    (killed,) = (path.parent for path in Path.cwd().rglob("checkpoints"))
    assert load_checkpoint(killed / "checkpoints" / "last.pt")["step"] == 3
    rest = entry("train", *tiny, *RANDOM, f"resume={killed}")
    assert rest.status == 0, rest.err
    assert_same(rest.folder, whole)


@pytest.fixture
def runs(tmp_path: Path) -> Callable[..., Path]:
    """Write outputs/train/<date>/<time>/checkpoints/last.pt of a made-up run."""

    def make(time: str, *, step: int, config: str = "a: 1") -> Path:
        path = tmp_path / "outputs" / "train" / "2026-01-01" / time / "checkpoints" / "last.pt"
        save_checkpoint(path, {"step": step, "config": config})
        return path

    return make


def found(run: str = "outputs/train/2026-01-01/99", *, resume: str | None = "auto") -> Path | None:
    """What a run of 10 steps and configuration `a: 1` goes on from."""
    runs, same = Path("outputs/train"), lambda payload: payload["config"] == "a: 1"
    answer = find_resume(resume, run=Path(run), runs=runs, max_steps=10, same=same)
    return answer and answer[0].resolve()


def test_auto_takes_the_newest_unfinished_run(runs: Callable[..., Path]) -> None:
    runs("10-00", step=3)
    newest = runs("11-00", step=2)
    runs("12-00", step=10)
    assert found() == newest


def test_auto_ignores_another_configuration(runs: Callable[..., Path]) -> None:
    mine = runs("10-00", step=3)
    runs("11-00", step=3, config="a: 2")
    assert found() == mine


def test_auto_looks_in_its_own_folder_first(runs: Callable[..., Path]) -> None:
    own = runs("10-00", step=3)
    runs("11-00", step=3)
    assert found("outputs/train/2026-01-01/10-00") == own


@pytest.mark.parametrize(
    ("state", "step", "taken"),
    [
        ("failed", 10, True),
        ("stopped", 10, True),
        ("running", 10, True),
        ("finished", 10, False),
        ("finished", 3, True),
    ],
)
def test_auto_goes_on_with_a_run_that_was_cut_short_after_its_last_step(
    runs: Callable[..., Path], state: str, step: int, taken: bool
) -> None:
    last = runs("10-00", step=step)  # `running` of a process that is gone: killed
    with claimed(last.parent.parent, [], tell=str) as claim:
        claim.write(state)
    assert found() == (last if taken else None)


def test_auto_leaves_a_run_alone_that_another_process_is_at_work_on(runs: Callable[..., Path], at_work: Any) -> None:
    run = runs("10-00", step=3).parent.parent
    with claimed(run, [], tell=str) as claim:
        claim.write("running")
    with at_work(run):
        assert found() is None
    assert found() == run / "checkpoints" / "last.pt"


def test_a_job_killed_in_its_examination_is_examined_and_not_trained_again(
    entry: Any, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [*tiny, "max_steps=2", "eval_every=1", "resume=auto", "hydra.run.dir=own"]
    with monkeypatch.context() as full:
        full.setattr("slt.commands.train.score_split", partial(_raise, OSError("no space left")))
        assert entry("train", *own).status == 1
    before = read_metrics(Path("own/metrics.csv"))
    assert before["train/loss"]
    assert not Path("own/scores.json").exists()
    assert entry("train", *own).status == 0
    assert "at step 2" in Path("own/train.log").read_text()
    assert read_metrics(Path("own/metrics.csv"))["train/loss"] == before["train/loss"]
    assert Path("own/scores.json").is_file()


def _raise(error: Exception, *_: Any, **__: Any) -> None:
    raise error


def test_auto_starts_afresh_and_says_so_where_there_is_nothing(
    runs: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    runs("10-00", step=10)
    with caplog.at_level(logging.INFO):
        assert found() is None
    assert "resume=auto: no unfinished run of this configuration" in caplog.text


def test_null_never_resumes(runs: Callable[..., Path]) -> None:
    runs("10-00", step=3)
    assert found(resume=None) is None


def test_path_is_taken_as_it_is(runs: Callable[..., Path]) -> None:
    other = runs("10-00", step=10, config="a: 2")
    assert found(resume=str(other.parent.parent)) == found(resume=str(other)) == other


def test_auto_over_a_change_of_configuration_starts_afresh(entry: Any, tiny: list[str]) -> None:
    short = [*tiny, "final=null", "eval_every=1", "max_steps=1"]
    entry("train", *short)
    run = entry("train", *short, "resume=auto", "max_steps=2", "optimizer.lr=0.5")
    assert run.status == 0
    assert "starting afresh" in (run.folder / "train.log").read_text()


def test_wrong_places_to_resume_from_are_refused_with_what_to_do(entry: Any, tiny: list[str], tmp_path: Path) -> None:
    short = [*tiny, "final=null", "max_steps=1", "eval_every=1"]
    run = entry("train", *short)
    other = tmp_path / "other.pt"
    save_checkpoint(other, {**load_checkpoint(run.folder / "checkpoints" / "last.pt"), "corpus": "another"})
    for place, message in (
        (run.folder / "checkpoints" / "best.pt", "holds weights only (a best.pt does); resume from last.pt"),
        (other, "trained on another corpus"),
        (tmp_path / "absent", "no such file or folder; give a run folder"),
    ):
        refused = entry("train", *short, "max_steps=2", f"resume={place}")
        assert refused.status == 1
        assert refused.err.strip().splitlines()[-1].startswith("error: ")
        assert message in refused.err


@pytest.fixture
def begun(entry: Any, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step that has little of conf/train.yaml, from its corpus to its decoder; once for all tests."""
    if "begun" in _kept:
        return _kept["begun"]
    kept = [word for word in tiny if not word.startswith(("decoder.", "max_steps", "eval_every"))]
    bart = (
        "{d_model:16,encoder_ffn_dim:16,decoder_ffn_dim:16,encoder_layers:1,decoder_layers:1,"
        "encoder_attention_heads:2,decoder_attention_heads:2}"
    )
    run = entry(
        "train", *kept, "decoder=bart_small", f"decoder.config={bart}", "decoder.tokenizer.vocab_size=150", "seed=5",
        "dataset.limit=8", "fusion=concat", "~dataset.streams.face", "schedule=linear", "schedule.warmup_steps=7",
        "max_steps=1", "eval_every=1", "final=null",
    )  # fmt: skip
    assert run.status == 0, run.err
    _kept["begun"] = Path(shutil.move(run.folder, tmp_path_factory.mktemp("resumed") / "begun"))
    return _kept["begun"]


def test_a_run_goes_on_by_its_own_configuration_with_what_may_be_given_beside(entry: Any, begun: Path) -> None:
    on = entry("train", f"resume={begun}", "max_steps=3", "eval_every=2", "evaluation.num_beams=3", "board=tensorboard")
    assert on.status == 0, on.err
    mine, its = (OmegaConf.to_container(OmegaConf.load(run / "config.yaml")) for run in (on.folder, begun))
    board = {"_target_": "slt.training.boards.tensorboard.TensorBoard", "log_tables": True, "examples": 6}
    changed = {"resume": str(begun), "max_steps": 3, "eval_every": 2, "board": board}
    assert mine == its | changed | {"evaluation": its["evaluation"] | {"num_beams": 3}}
    assert [step for step, _ in read_metrics(on.folder / "metrics.csv")["train/loss"]] == [1, 2, 3]
    again = entry("train", f"resume={on.folder}", "max_steps=4", "seed=null", "board=none")
    cfg = OmegaConf.load(again.folder / "config.yaml")
    assert (again.status, cfg.seed, [*cfg.board]) == (0, 5, ["_target_"]), again.err


def test_what_contradicts_the_run_is_refused_with_both_values(entry: Any, begun: Path) -> None:
    several = ["embed_dim=32", "fusion=gated", "seed=4", "dataset.limit=null", "~dataset.streams.pose",
               "+temporal.more=1", "backbone=conv_small"]  # fmt: skip
    for given, *said in (
        (
            several, "embed_dim=32, and the run has 16", "dataset.limit=None, and the run has 8",
            "fusion._target_=slt.models.FuseGated, and the run has slt.models.FuseConcatLinear",
            "seed=4, and the run has 5", "dataset.streams.pose.folder=(no such key), and the run has pose",
            "temporal.more=1, and the run has (no such key)", "streams.left_hand.widths=[", "and the run has [8, 8]",
        ),
        (["embed_dim=128"], "embed_dim=128, and the run has 16"),  # as conf/train.yaml has it
        (["debug=overfit"], "val=train, and the run has val", "batch_size=2, and the run has 4"),
    ):  # fmt: skip
        refused = entry("train", f"resume={begun}", "max_steps=2", *given)
        assert (refused.status, [part for part in said if part not in refused.err]) == (1, [])
        assert "leave these out" in refused.err


def test_the_same_command_line_goes_on_wherever_its_folders_lie(entry: Any, tiny: list[str], corpus: Path) -> None:
    shutil.copytree(corpus, "here")
    line = [*tiny, f"dataset.root={Path.cwd() / 'here'}", "max_steps=1", "eval_every=1", "final=null"]
    line += ["resume=auto", "hydra.run.dir=own"]
    assert [entry("train", *words).status for words in (line, line, [*line, "resume=own"])] == [0, 0, 0]
    assert Path("own/train.log").read_text().count("resumed own/checkpoints/last.pt at step 1") == 2


def test_a_checkpoint_to_go_on_from_says_not_what_is_called(entry: Any, begun: Path) -> None:
    payload = load_checkpoint(begun / "checkpoints" / "last.pt")
    cfg = OmegaConf.create(payload["config"])
    cfg.schedule = {"_target_": "os.system", "command": "touch ran"}
    save_checkpoint(Path("foreign.pt"), payload | {"config": OmegaConf.to_yaml(cfg)})
    refused = entry("train", "resume=foreign.pt")
    assert (refused.status, "schedule._target_: os.system is refused" in refused.err) == (1, True)
    assert not Path("ran").exists()


def test_a_run_of_another_command_is_refused(entry: Any, begun: Path) -> None:
    refused = entry("pretrain", f"resume={begun}")
    assert (refused.status, "it is of another command" in refused.err) == (1, True)
