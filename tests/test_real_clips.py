"""The whole chain on real film: three LSA-T clips, extracted, learned by heart, read back exactly, exported, shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.signing_stub import regions

from slt.config.checks import HOME
from slt.corpora.folder import LsaTMultiStream
from slt.corpora.layout import read_table
from slt.evaluation.prediction import read_predictions
from slt.inference.diarization import LOOK_SECONDS, Diarizer
from slt.inference.segments import Segment
from slt.streams.crops import Crops

CLIPS = HOME.parent / "shared" / "data" / "lsa_t" / "clips"


@pytest.fixture
def films() -> Path:
    pytest.importorskip("mediapipe", reason='MediaPipe is absent: pip install "slt[media]"')
    pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')
    from slt.extraction.mediapipe_models import cache_folder

    if not CLIPS.is_dir():
        pytest.skip("the real clips are not on this machine (../shared/data/lsa_t/clips)")
    if not any(cache_folder().rglob("pose_landmarker.task")):
        pytest.skip("the landmark models are not prepared; one run of slt.extract does it")
    return CLIPS


def tell_signers_apart(corpus: Path) -> None:
    """Halves of the clips, in turn, are each of the signer of their other half."""
    streams = {"face": Crops(folder="face", size=48, jitter=0.0, colour=0.0)}
    clips = LsaTMultiStream(root=corpus, split="train", streams=streams, fps=None, max_frames=None,
                            length_tolerance=0, augment=None, seed=0)  # fmt: skip
    crops = [clips.read(place, "face") for place in range(len(clips))]
    halves = [np.array_split(np.flatnonzero(one.seen), 2) for one in crops]
    diarizer, found, now = Diarizer(), [], 0.0
    for turn in range(2):
        for one, half in zip(crops, halves, strict=True):
            start = now
            for place in half[turn]:
                frame = regions(now, np.zeros((75, 3), np.float32), {"face": one.array[place]})
                diarizer.look(frame)
                now += LOOK_SECONDS
            found.append(diarizer.who(Segment((), start, now, now, len(found))))
    assert found == [1, 2, 3] * 2


@pytest.mark.filterwarnings("default")  # MediaPipe's own
def test_three_real_clips_are_extracted_learned_read_back_exported_and_shown(
    films: Path, entry: Any, tmp_path: Path
) -> None:
    corpus = tmp_path / "clips"
    options = (f"source={films}", f"out={corpus}", "split.by=all_train", "captions.unquoted=true")
    assert entry("extract", *options, "extractor.crop_size=48").status == 0
    tell_signers_apart(corpus)
    ran = entry("train", "experiments=real_clips", f"dataset.root={corpus}", "dataset.fps=5", "device=cpu")
    assert ran.status == 0, ran.err
    again = entry("eval", f"checkpoint={ran.folder}", "split=train", "num_workers=0", "device=cpu",
                  "evaluation={bootstrap:0,blanked:false,report_strips:3}")  # fmt: skip
    assert again.status == 0, again.err
    sentences = {row["video_id"]: row["texto"] for row in read_table(corpus / "subs.csv")}
    assert {p.id: p.hypothesis for p in read_predictions(again.folder / "predictions.tsv")} == sentences
    assert json.loads((again.folder / "scores.json").read_text(encoding="utf-8"))["scores"]["bleu"]["value"] > 99.99

    made = entry("export", f"checkpoint={ran.folder}", "out=exports/real", "parity.split=train", "parity.batches=1")
    assert made.status == 0, made.err
    wanted = sentences["lsat_100"]
    for live in (False, True):  # a film, and the same film at its own pace as if it were a camera
        shown = entry("demo", "model=exports/real", f"source={films / 'lsat_100.mp4'}", f"out=shown_{live}",
                      "device=cpu", f"live={live}", f"headless={live}")  # fmt: skip
        assert shown.status == 0, shown.err
        assert wanted in shown.out
    assert wanted in Path("shown_False/lsat_100.srt").read_text(encoding="utf-8").replace("\n", " ")
    assert Path("shown_False/lsat_100.mp4").stat().st_size > 50_000
