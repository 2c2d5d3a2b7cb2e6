"""`slt.adapt` through its real entry point: only adapters learn, only of the signer's clips, and become the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from slt.corpora import layout
from slt.training.batches import TrainBatches
from slt.training.checkpoint import load_checkpoint
from slt.training.lineage import who_has_seen
from slt.training.record import read_metrics

LIGHT = ("device=cpu", "evaluation.num_beams=2", "evaluation.nbest=2", "evaluation.bootstrap=20",
         "evaluation.blanked=false", "evaluation.report_strips=0", "evaluation.shuffled=false",
         "evaluation.frozen=false")  # fmt: skip
_made: list[Path] = []


@pytest.fixture
def run(entry: Any, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps, trained once for all tests."""
    if not _made:
        ran = entry("train", *tiny, "final=null", "good_chrf=20")
        _made.append(Path(shutil.copytree(ran.folder, tmp_path_factory.mktemp("trained") / "run")))
    return _made[0]


@pytest.fixture
def signers(corpus: Path) -> dict[str, list[str]]:
    """Signer of `test` -> their clips."""
    rows = [row for row in layout.read_table(corpus / "subs.csv") if row["video_id"].startswith("test")]
    return {row["signer"]: [each["video_id"] for each in rows if each["signer"] == row["signer"]] for row in rows}


def test_a_signer_is_learned_by_adapters_and_the_result_is_a_checkpoint_like_any(
    entry: Any, run: Path, signers: dict[str, list[str]]
) -> None:
    who, theirs = max(signers.items(), key=lambda pair: len(pair[1]))
    # Nothing is held out: what three updates make of it stands.
    given = (f"signer={who}", "clips=1", "max_steps=3", "batch_size=1", *LIGHT, "evaluation.num_beams=3")
    ran = entry("adapt", f"checkpoint={run}", *given)
    assert ran.status == 0, ran.err
    scores = json.loads((ran.folder / "scores.json").read_text())
    before = scores["gain"]["before"]
    assert scores["split"] == "test, one signer alone"
    assert f"{who}: 1 clips learned, 0 held out, {len(theirs) - 1} others: BLEU {before:.2f} before" in ran.out
    said = (ran.folder / "predictions.tsv").read_text().splitlines()[1:]
    assert len(said) == len(theirs) - 1
    assert {line.split("\t")[0] for line in said} < {*theirs}

    old, new = (load_checkpoint(folder / "checkpoints" / "best.pt") for folder in (run, ran.folder))
    assert [*old["model"]] == [*new["model"]]
    moved = {name for name in old["model"] if not torch.equal(old["model"][name], new["model"][name])}
    assert moved
    assert all(old["model"][name].dim() == 2 for name in moved)  # linear layers alone: no norm, bias or convolution
    assert dict(who_has_seen(who, ran.folder)) == {ran.folder / "checkpoints" / "best.pt": True}
    assert old["data"] == new["data"]  # what an export's card says of licence and consent
    assert "fitted anew on 4 clips of val that others sign" in (ran.folder / "adapt.log").read_text()
    assert new["confidence"]["signals"] != old["confidence"]["signals"]
    for name in ("good_chrf", "num_beams", "length_penalty"):  # as eval and export of the checkpoint will search
        assert new["confidence"][name] == old["confidence"][name]
    again = entry("eval", f"checkpoint={ran.folder}", "num_workers=0", *LIGHT)
    assert again.status == 0, again.err


def test_weights_on_the_way_are_picked_by_clips_that_are_held_out_and_those_before_may_be_the_best(
    entry: Any, run: Path, signers: dict[str, list[str]]
) -> None:
    who, theirs = max(signers.items(), key=lambda pair: len(pair[1]))
    given = (f"signer={who}", "clips=2", "held_out=0.5", "max_steps=4", "eval_every=2", "batch_size=1", *LIGHT)
    old = load_checkpoint(run / "checkpoints" / "best.pt")["model"]
    kept = {}
    for rate in (1e-3, 1e-30):  # at the second nothing becomes better
        ran = entry("adapt", f"checkpoint={run}", *given, f"optimizer.lr={rate}", "schedule.warmup_steps=0")
        assert ran.status == 0, ran.err
        assert f"{who}: 1 clips learned, 1 held out, {len(theirs) - 2} others: BLEU" in ran.out
        losses = dict(read_metrics(ran.folder / "metrics.csv")["val/loss"])
        assert [*losses] == [0, 2, 4]
        best = min(losses, key=losses.__getitem__)
        assert f"of 4 updates those up to {best} are kept" in (ran.folder / "adapt.log").read_text()
        new = load_checkpoint(ran.folder / "checkpoints" / "best.pt")["model"]
        kept[rate] = all(torch.equal(old[name], new[name]) for name in old)
        assert kept[rate] == (best == 0)
    assert kept == {1e-3: False, 1e-30: True}
    ran = entry("adapt", f"checkpoint={run}", *given, "held_out=1")
    assert (ran.status, "none is left to learn from" in ran.err) == (1, True)


def test_of_the_first_training_what_the_signer_signed_is_not_replayed(
    entry: Any, run: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clips that are scored afterwards would be learned, where the signer's split is train itself."""
    signed = {row["video_id"]: row["signer"] for row in layout.read_table(corpus / "subs.csv")}
    who = next(name for clip, name in signed.items() if clip.startswith("train"))
    learned: list[set[str]] = []
    make = TrainBatches.__init__

    def spied(self: TrainBatches, clips: Any, *given: Any, **more: Any) -> None:
        learned.append({*clips.ids})
        make(self, clips, *given, **more)

    monkeypatch.setattr(TrainBatches, "__init__", spied)
    ran = entry(
        "adapt", f"checkpoint={run}", f"signer={who}", "split=train", "clips=2", "max_steps=1", "batch_size=1", *LIGHT
    )
    assert ran.status == 0, ran.err
    own, others = learned
    assert {signed[clip] for clip in own} == {who}
    assert who not in {signed[clip] for clip in others}
    assert len(others) > 1


def test_without_other_signers_to_fit_it_on_the_confidence_stays_and_that_is_said(
    entry: Any, run: Path, corpus: Path, tmp_path: Path
) -> None:
    """Of whoever signs all of `val`: clips that are learned or scored fit no confidence."""
    who = next(row["signer"] for row in layout.read_table(corpus / "subs.csv") if row["video_id"].startswith("val"))
    given = (f"signer={who}", "split=val", "clips=1", "max_steps=3", "batch_size=1", *LIGHT)
    ran = entry("adapt", f"checkpoint={run}", *given)
    assert ran.status == 0, ran.err
    assert "the confidence stays that of the run" in (ran.folder / "adapt.log").read_text()
    old, new = (load_checkpoint(folder / "checkpoints" / "best.pt") for folder in (run, ran.folder))
    assert new["confidence"] == old["confidence"]

    del old["confidence"]
    torch.save(old, tmp_path / "before.pt")
    ran = entry("adapt", f"checkpoint={tmp_path / 'before.pt'}", *given)
    assert "confidence" not in (ran.folder / "adapt.log").read_text()
    assert "confidence" not in load_checkpoint(ran.folder / "checkpoints" / "best.pt")


@pytest.mark.parametrize(("given", "said"), [("signer=x", "0 clips in test"), ("clips=99", "more than clips=99")])
def test_a_signer_of_too_few_clips_is_refused_with_those_there_are(
    entry: Any, run: Path, signers: dict[str, list[str]], given: str, said: str
) -> None:
    who = next(iter(signers))
    ran = entry("adapt", f"checkpoint={run}", f"signer={who}", "clips=1", given, *LIGHT)
    assert ran.status == 1
    assert said in ran.err
    assert who in ran.err
