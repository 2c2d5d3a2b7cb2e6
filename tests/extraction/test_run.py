"""Before the first film: cuts past an end are told, and only where reading confirms it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench.landmarker_stub import write_film

from slt.extraction import run
from slt.extraction.run import foresee
from slt.extraction.source import Source

pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')


def look(path: Path, *cuts: tuple[float | None, float | None]) -> list[str]:
    """The numbers of the cuts that cannot be extracted; the film has pictures for 0.6 s."""
    clips = [Source(str(n), path, start, end) for n, (start, end) in enumerate(cuts)]
    return [fault.video_id for fault in foresee(clips, kind="films")]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts"])
def test_cuts_that_end_or_begin_after_the_film_are_told_and_others_are_not(tmp_path, ending):
    write_film(tmp_path / f"a.{ending}")
    told = look(tmp_path / f"a.{ending}", (None, None), (0, 0.6), (0, 0.69), (0.2, 2), (5, 9), (5, None))
    assert told == ["3", "4", "5"]


def test_a_film_that_is_not_there_or_cannot_be_opened_is_told(tmp_path):
    (tmp_path / "b.mp4").write_text("no film")
    assert (look(tmp_path / "a.mp4", (None, None)), look(tmp_path / "b.mp4", (0, 1), (1, 2))) == (["0"], ["0", "1"])


def test_a_film_that_may_not_be_read_is_told_with_what_to_do(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    write_film(tmp_path / "a.mp4")
    monkeypatch.setattr(Path, "open", denied)
    clip = Source("0", tmp_path / "a.mp4")
    assert "cannot be read (Permission denied); mend the rights" in foresee([clip], kind="films")[0].reason


def test_a_film_that_holds_more_than_it_says_is_read_to_be_sure(tmp_path, monkeypatch):
    write_film(tmp_path / "a.mp4")
    probe = run.probe
    monkeypatch.setattr(run, "probe", lambda *args, **keys: replace(probe(*args, **keys), duration=0.2))
    assert look(tmp_path / "a.mp4", (0, 0.6), (0.3, 0.6)) == []
    assert look(tmp_path / "a.mp4", (0, 3)) == ["0"]
