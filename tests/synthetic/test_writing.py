"""One complete corpus on disk, the same for a seed, never half of one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slt.config.checks import HOME
from slt.corpora import layout
from slt.streams.arrays import read_pose
from slt.streams.packed import PackedCrops
from slt.synthetic import corpus_folder, writing

SPLITS = ("train", "val", "test")


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_clip_has_its_row_crops_pose_and_labels_of_one_length(corpus: Path) -> None:
    rows = layout.read_table(corpus / "subs.csv")
    assert [row["video_id"] for row in rows] == [
        n for s in SPLITS for n in layout.read_index(corpus / "index" / f"{s}.csv")
    ]
    for row in rows:
        name, frames = row["video_id"], int(row["frame_count"])
        labels = json.loads((corpus / "labels" / f"{name}.json").read_text(encoding="utf-8"))
        assert read_pose(corpus / "pose" / f"{name}.npz").points.shape == (frames, 75, 3)
        assert {len(labels[key]) for key in ("hand_l", "hand_r", "mouth", "brows")} == {frames}
        assert [one["sign"] for one in labels["signs"]] == [gloss for gloss in row["gloss"].split() if gloss.isupper()]
        assert {PackedCrops(corpus / s / f"{name}.safetensors").length for s in ("face", "hand_l", "hand_r")} == {
            frames
        }


def test_what_was_missed_is_black_and_its_landmarks_have_no_confidence(corpus: Path) -> None:
    missed = 0
    for name in layout.read_index(corpus / "index" / "train.csv"):
        pose = read_pose(corpus / "pose" / f"{name}.npz").points
        for stream, points in (("hand_l", slice(33, 54)), ("hand_r", slice(54, 75))):
            crops = PackedCrops(corpus / stream / f"{name}.safetensors")
            dark = ~crops.frames(np.arange(crops.length)).any((1, 2, 3))
            np.testing.assert_array_equal(dark, ~crops.seen)
            np.testing.assert_array_equal(pose[:, points, 2].max(1) > 0, crops.seen)
            missed += int(dark.sum())
    assert missed > 0


def test_splits_share_no_sentence_and_no_signer(corpus: Path) -> None:
    rows = {row["video_id"]: row for row in layout.read_table(corpus / "subs.csv")}
    assert len({row["texto"] for row in rows.values()}) == len(rows)
    names = {
        split: {rows[n]["signer"] for n in layout.read_index(corpus / "index" / f"{split}.csv")} for split in SPLITS
    }
    assert not names["train"] & names["test"]
    assert not names["train"] & names["val"]
    assert not names["val"] & names["test"]


def test_the_truth_lies_beside_the_corpus(corpus: Path) -> None:
    assert {"lexicon.json", "grammar.json", "signers.json"} <= {path.name for path in (corpus / "labels").iterdir()}
    about = json.loads((corpus / "corpus.json").read_text(encoding="utf-8"))
    assert corpus.name == f"synthetic-{about['fingerprint']}"
    facts = [json.loads(line) for line in (corpus / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(facts) == 10
    assert facts[0]["extractor"] == "slt.synthetic"


def test_the_same_parameters_give_the_same_bytes_from_any_number_of_workers(
    corpus: Path, tmp_path: Path, parameters: dict[str, Any]
) -> None:
    again = corpus_folder(cache=str(tmp_path), **parameters | {"workers": 2})
    assert again.name == corpus.name
    assert digest(again) == digest(corpus)


def test_a_worker_that_fails_is_told_and_leaves_nothing(tmp_path: Path, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fps=3: a sign must last"):
        corpus_folder(cache=str(tmp_path), **parameters | {"workers": 2, "fps": 3.0})
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


SCRIPT = """
import json, sys
print("main module")
from slt.synthetic import corpus_folder
print(corpus_folder(cache=sys.argv[1], **json.loads(sys.argv[2])))
"""


def test_a_script_without_a_guard_may_ask_for_the_corpus(tmp_path: Path, parameters: dict[str, Any]) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    small = parameters | {"clips": dict.fromkeys(SPLITS, 1), "workers": 2}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), json.dumps(small)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(HOME)}
    )
    first, folder = done.stdout.splitlines()
    assert first == "main module"
    assert layout.read_index(Path(folder) / "index" / "test.csv") == ["test_00000"]


def test_another_seed_gives_another_folder(corpus: Path, tmp_path: Path, parameters: dict[str, Any]) -> None:
    small = {"clips": dict.fromkeys(SPLITS, 1), "seed": 6}
    assert corpus_folder(cache=str(tmp_path), **parameters | small).name != corpus.name


def test_a_corpus_is_written_once(corpus: Path, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_write", lambda *args: pytest.fail("written again"))
    assert corpus_folder(cache=str(corpus.parent), **parameters) == corpus


def test_a_half_written_corpus_is_never_used(
    corpus: Path, tmp_path: Path, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(layout, "write_metadata", killed)
        with pytest.raises(KeyboardInterrupt):
            corpus_folder(cache=str(tmp_path), **parameters)
    folder = tmp_path / corpus.name
    assert not folder.exists()
    folder.mkdir()  # what a kill -9 at the worst moment, or another program, could leave
    (folder / "subs.csv").write_text("half")
    assert corpus_folder(cache=str(tmp_path), **parameters) == folder
    assert digest(folder) == digest(corpus)


def test_jpeg_crops_look_like_raw_ones(corpus: Path, tmp_path: Path, parameters: dict[str, Any]) -> None:
    folder = corpus_folder(cache=str(tmp_path), **parameters | {"encoding": "jpeg", "quality": 95})
    raw, packed = (PackedCrops(at / "face" / "test_00000.safetensors") for at in (corpus, folder))
    frames = np.flatnonzero(raw.seen)
    assert packed.encoding == "jpeg"
    assert np.abs(raw.frames(frames).astype(float) - packed.frames(frames)).mean() < 8


@pytest.mark.parametrize(
    ("change", "message"),
    [({"size": "huge"}, "size='huge'"), ({"encoding": "png"}, "encoding='png'"), ({"crop_size": 4}, "crop_size=4"),
     ({"left_handed": 2.0}, "left_handed=2.0"), ({"fps": 3.0}, "fps=3"),
     ({"noise": {"jitter": 0.1}}, "noise: jitter, missed"), ({"sede": 1}, "came .*sede; did you mean seed"),
     ({"clips": {"train": 3, "val": 1, "test": 0}}, "clips: a number of at least 1"),
     ({"signers": {"train": 3, "val": 1}}, "signers: a number of at least 1 for each of train, val and test")],
)  # fmt: skip
def test_a_bad_parameter_is_named(
    tmp_path: Path, parameters: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        corpus_folder(cache=str(tmp_path), **parameters | change)
