"""slt.check: a corpus in numbers, and splits of one's own that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_a_corpus_is_counted_and_split_anew_and_trained_on(
    entry: Any, tiny: list[str], corpus: Path, tmp_path: Path
) -> None:
    ran = entry("check", "dataset=lsa_t", f"dataset.root={corpus}", f"split.out={tmp_path / 'mine'}", "split.by=clip")
    assert ran.status == 0, ran.err
    counts = json.loads((ran.folder / "counts.json").read_text())
    assert counts["splits"]["train"]["clips"] == 12
    assert "splits by clip: train" in ran.out
    given = [each for each in tiny if not each.startswith("dataset.root")]
    more = entry("train", *given, f"dataset.root={corpus}", f"dataset.splits={tmp_path / 'mine'}", "final=null")
    assert more.status == 0, more.err


def test_a_root_that_is_not_there_is_one_message(entry: Any, tmp_path: Path) -> None:
    ran = entry("check", "dataset=phoenix14t", f"dataset.root={tmp_path / 'none'}")
    assert ran.status == 1
    assert ran.err.startswith(f"error: dataset.root={tmp_path / 'none'}: no such folder; expected PHOENIX")
