"""A corpus in another layout is one class and one YAML file: it trains, is read again from its run, and is scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from slt.corpora import layout
from slt.corpora.clips import Clips
from slt.corpora.corpus import Row
from slt.corpora.published import Published


class Annotated(Published):
    """A corpus whose splits are one file each, of `id|signer|gloss|sentence`, as PHOENIX-2014T has it."""

    published: ClassVar[dict[str, int]] = {"train": 0, "val": 0, "test": 0}
    expects = "annotations/train.csv, val.csv and test.csv"

    def read(self, split: str) -> Iterator[Row]:
        lines = self.file(f"annotations/{split}.csv").read_text(encoding="utf-8").splitlines()
        for line in lines[1:]:
            name, signer, gloss, text = line.split("|")
            yield Row(name, text, {"signer": signer, "gloss": gloss})


YAML = """
defaults:
  - /corpus/clips@_here_
  - _self_

corpus: {{_target_: {module}.Annotated, _partial_: true}}
max_frames: 20
length_tolerance: 0
streams:
  face: {{_target_: slt.data.Crops, folder: face, size: 32, jitter: 0.05, colour: 0.2}}
  left_hand: {{_target_: slt.data.Crops, folder: hand_l, size: 32, jitter: 0.05, colour: 0.2, mirror: right_hand}}
  right_hand: {{_target_: slt.data.Crops, folder: hand_r, size: 32, jitter: 0.05, colour: 0.2, mirror: left_hand}}
  pose: {{_target_: slt.data.Landmarks, folder: pose, points: upper_body, jitter: 0.1, noise: 0.01}}
augment: {{speed: [0.85, 1.15], warp: 0.0, frame_dropout: 0.05, stream_dropout: 0.05, mirror: 0.5}}
"""


@pytest.fixture
def annotated(corpus: Path, tmp_path: Path) -> Path:
    """The embedded corpus' streams with the tables of `Annotated`."""
    root = tmp_path / "annotated"
    rows = {row["video_id"]: row for row in layout.read_table(corpus / "subs.csv")}
    (root / "annotations").mkdir(parents=True)
    for folder in ("face", "hand_l", "hand_r", "pose"):
        (root / folder).symlink_to(corpus / folder)
    for split in layout.SPLITS:
        there = [rows[name] for name in layout.read_index(corpus / "index" / f"{split}.csv")]
        lines = [f"{row['video_id']}|{row['signer']}|{row['gloss']}|{row['texto']}" for row in there]
        (root / "annotations" / f"{split}.csv").write_text(
            "\n".join(["id|signer|gloss|text", *lines]), encoding="utf-8"
        )
    return root


def test_a_corpus_of_another_layout_is_one_class_and_one_yaml(entry: Any, tiny: list[str], annotated: Path) -> None:
    (Path.cwd() / "dataset").mkdir()
    (Path.cwd() / "dataset" / "annotated.yaml").write_text(YAML.format(module=__name__))
    given = [each for each in tiny if not each.startswith("dataset.")]
    ran = entry(
        "train", f"--config-dir={Path.cwd()}", *given, "final=null", "dataset=annotated", f"dataset.root={annotated}"
    )
    assert ran.status == 0, ran.err
    wrong = entry("train", f"--config-dir={Path.cwd()}", *given, "dataset=annotated", "+dataset.limt=3")
    assert "dataset.limt: " in wrong.err
    assert "did you mean limit?" in wrong.err
    scored = entry("eval", f"checkpoint={ran.folder}", "split=test", "device=cpu", f"trust=[{__name__}.Annotated]")
    assert scored.status == 0, scored.err


def test_rows_of_another_layout_are_samples_with_glosses_and_few_signers(annotated: Path) -> None:
    from slt.data import Landmarks

    streams = {"pose": Landmarks(folder="pose", points="body", normalise="shoulders", jitter=0, noise=0)}
    options: dict[str, Any] = {"streams": streams, "fps": None, "max_frames": None, "length_tolerance": 0,
                               "augment": None, "seed": 0}  # fmt: skip
    clips = Clips(root=annotated, corpus=Annotated, split="train", **options)
    assert clips[0].gloss == clips.gloss(0) != ""
    assert len(Clips(root=annotated, corpus=Annotated, split="train", signers=1, **options)) < len(clips)
    with pytest.raises(ValueError, match=r"dataset\.fps=10 needs the column `fps`"):
        Clips(root=annotated, corpus=Annotated, split="val", **{**options, "fps": 10})
