"""What is kept of an extraction between its starts: whose folder it is, who works in it, what is finished."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from slt.extraction import records
from slt.extraction.records import (
    OutputError,
    claim_folder,
    commit,
    locked,
    own_shard,
    read_records,
    writing,
)

RECIPE = {"extractor": "x", "quality": 90, "folders": {"face": "face"}, "parameters": {"models": {"a": 1}, "size": 2}}


def done(name: str, **keys) -> dict:
    return {"video_id": name, "film": "f.mp4", "start": None, "end": None, **keys}


def test_a_lock_has_one_holder_and_leaves_no_file(tmp_path: Path):
    path = tmp_path / "work" / "a.lock"
    with locked(path, wait=False) as first, locked(path, wait=False) as second:
        assert (first, second) == (True, False)
        assert path.exists()
    assert not path.exists()
    with locked(path, wait=True) as again:
        assert again


def test_a_lock_that_a_killed_process_left_is_free(tmp_path: Path):
    (tmp_path / "a.lock").touch()
    with locked(tmp_path / "a.lock", wait=False) as free:
        assert free


def test_a_folder_is_claimed_once_and_gone_on_in_with_the_same_recipe(tmp_path: Path):
    claim_folder(tmp_path / "out", RECIPE)
    claim_folder(tmp_path / "out", RECIPE)
    other = {**RECIPE, "quality": 50, "parameters": {"models": {"a": 2}, "size": 2}}
    with pytest.raises(ValueError, match=r"quality: 90 there, 50 now, parameters\.models\); give another folder"):
        claim_folder(tmp_path / "out", other)


def test_a_claim_that_was_killed_half_way_is_no_foreign_folder(tmp_path: Path):
    (tmp_path / "out" / ".work").mkdir(parents=True)
    (tmp_path / "out" / ".work" / ".extraction.json.1.tmp").write_text("{")
    claim_folder(tmp_path / "out", RECIPE)
    records.sweep(tmp_path / "out")
    records.tidy(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["extraction.json"]


def test_scratch_that_a_killed_process_left_is_swept_and_that_of_others_is_not(tmp_path: Path):
    for name in ("shard-1-of-2", "shard-2-of-2", "shard-1-of-3"):
        (tmp_path / ".work" / name / "clip").mkdir(parents=True)
    with own_shard(tmp_path, (1, 2)) as scratch:
        assert list(scratch.iterdir()) == []
        with locked(tmp_path / ".work" / "shard-2-of-2.lock", wait=False):
            records.sweep(tmp_path)
            assert sorted(path.name for path in (tmp_path / ".work").iterdir() if path.is_dir()) == [
                "shard-1-of-2", "shard-2-of-2"]  # fmt: skip
        records.sweep(tmp_path)
    assert not (tmp_path / ".work").exists()


def test_a_record_replaces_its_failure_and_a_failure_its_record(tmp_path: Path):
    commit(tmp_path, done("a", failure="broken"), tmp_path)
    assert read_records(tmp_path)["a"]["failure"] == "broken"
    commit(tmp_path, done("a"), tmp_path)
    assert "failure" not in read_records(tmp_path)["a"]
    assert records.failed_films(tmp_path) == set()


def test_single_records_come_before_the_gathered_ones(tmp_path: Path):
    lines = [done("a", frames=1), done("b\u2028", frames=1)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
    commit(tmp_path, done("a", frames=2), tmp_path)
    assert {name: record["frames"] for name, record in read_records(tmp_path).items()} == {"a": 2, "b\u2028": 1}


def test_a_record_that_lost_its_bytes_counts_as_none(tmp_path: Path):
    commit(tmp_path, done("a"), tmp_path)
    (tmp_path / ".records" / "a.json").write_bytes(b"")
    assert read_records(tmp_path) == {}


def test_a_damaged_metadata_file_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "metadata.jsonl").write_text(json.dumps(done("a")) + "\n{broken\n")
    with pytest.raises(ValueError, match=r"metadata\.jsonl line 2: not a record of a clip"):
        read_records(tmp_path)


@pytest.mark.parametrize("line", ["[1]", '{"video_id": 3}', '{"video_id": "a", "frames": "x"}', "[" * 5000])
def test_a_record_of_other_values_is_named_with_its_line(tmp_path: Path, line):
    (tmp_path / "metadata.jsonl").write_text(json.dumps(done("a")) + f"\n{line}\n")
    with pytest.raises(ValueError, match=r"metadata\.jsonl line 2: not a record of a clip"):
        read_records(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"a": ', "\x00"])
def test_a_damaged_recipe_is_named(tmp_path: Path, text):
    (tmp_path / "extraction.json").write_text(text)
    with pytest.raises(ValueError, match=r"extraction\.json: "):
        records.claim_folder(tmp_path, {"fingerprint": "a"})


def test_failures_that_are_tried_again_are_forgotten_and_others_kept(tmp_path: Path):
    (tmp_path / "scratch").mkdir()
    lines = [done("a", failure="x"), done("b"), done("c", failure="y")]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    commit(tmp_path, done("d", failure="z"), tmp_path / "scratch")
    records.forget_failures(tmp_path, ["a", "d"], tmp_path / "scratch")
    assert sorted(read_records(tmp_path)) == ["b", "c"]


def test_clips_of_one_film_are_one_failed_film(tmp_path: Path):
    for name in ("a", "b"):
        commit(tmp_path, done(name, failure="x"), tmp_path)
    commit(tmp_path, done("c", failure="x") | {"film": "g.mp4"}, tmp_path)
    assert records.failed_films(tmp_path) == {"f.mp4", "g.mp4"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_what_the_disk_says_names_the_place(code, tmp_path: Path):
    with pytest.raises(OutputError, match=f"{tmp_path}/a: cannot be written"), writing(tmp_path):
        raise OSError(code, "no", f"{tmp_path}/a")
