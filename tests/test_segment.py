"""Continuous films of the embedded corpus, from `slt.segment` to captions, scores and captions moved to the signing."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from inference import conftest as exported

from slt.config.checks import CONF
from slt.corpora.cues import write_srt
from slt.corpora.posed import PosedFilms, read_lines
from slt.extraction.video import frames_at
from slt.inference.posed import film_segments
from slt.inference.segments import Segmentation
from slt.synthetic import films_folder
from slt.synthetic.drawn import read_number

pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')
pytest.importorskip("onnxruntime", reason='onnxruntime is absent: pip install "slt[export]"')

words, model, folder = exported.words, exported.model, exported.folder  # fixtures
CORPUS: dict[str, Any] = {
    "size": "default", "seed": 3, "clips": {"train": 12, "val": 4, "test": 4}, "left_handed": 0.2, "fps": 12.0,
    "signers": {"train": 3, "val": 2, "test": 2}, "crop_size": 16, "encoding": "raw", "quality": 90,
    "noise": {"jitter": 0.004, "missed": 0.02, "burst": 2.5, "grain": 4.0},
}  # fmt: skip
FILMS: dict[str, Any] = {
    "count": {"train": 2, "val": 1, "test": 1}, "seconds": {"train": 45, "val": 10, "test": 16}, "pause": (0.6, 1.5),
    "turn": (1, 2), "trim": 0.2, "drawn": ["test"],
}  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films_folder(corpus=CORPUS | {"cache": str(tmp_path_factory.mktemp("films"))}, **FILMS)


def segments(printed: str) -> list[float]:
    return [float(value) for value in re.findall(r"segments F1 ([\d.]+)", printed)]


def test_a_film_has_two_signers_in_turn_and_sentences_of_no_clip(films: Path, tmp_path: Path) -> None:
    film = PosedFilms(films, captions=None, tier=None).film("test_00")
    assert film.points.shape == (len(film.points), 75, 3)
    assert len(film.points) >= 16 * film.fps
    width = np.linalg.norm((film.points[:, 11, :2] - film.points[:, 12, :2]) * film.size, axis=1)
    shots = np.split(width, film.cuts)
    assert len(shots) > 2
    assert [np.median(shot) for shot in shots[::2]] == pytest.approx([np.median(shots[0])] * len(shots[::2]), rel=0.02)
    said = [text for name in ("train_00", "train_01", "val_00", "test_00") for *_, text in
            PosedFilms(films, captions=None, tier=None).lines(name)]  # fmt: skip
    clips = films_folder(
        corpus=CORPUS | {"cache": str(tmp_path)}, **FILMS | {"seconds": dict.fromkeys(FILMS["seconds"], 1), "drawn": []}
    )
    assert len({*said}) == len(said) > 16
    assert (clips / "captions" / "train_00.srt").read_text(encoding="utf-8").split("\n")[2] in said  # of the same draw


def test_a_coded_picture_still_says_which_frame_it_is(films: Path) -> None:
    numbers = [read_number(picture) for _, picture in frames_at(films / "films" / "test_00.mp4", [0.0, 1.0, 10.0])]
    assert numbers == [(3, 0), (3, 12), (3, 120)]
    with pytest.raises(ValueError, match="bears no number"):
        read_number(np.full((480, 640, 3), 128, np.uint8))


def test_no_sentence_found_by_rules_goes_over_a_cut(films: Path) -> None:
    film = PosedFilms(films, captions=None, tier=None).film("test_00")
    settings = Segmentation(**yaml.safe_load((CONF / "rules.yaml").read_text(encoding="utf-8"))["segment"])
    found = film_segments(film, settings, None)
    assert len(found) >= len(film.cuts)
    for cut in film.cuts:
        assert not any(start + 0.1 < cut / film.fps < end - 0.1 for start, end in found)


def test_a_continuous_film_becomes_captions_by_a_segmenter_that_was_trained_on_others(
    entry: Any, films: Path, folder: Path
) -> None:
    ran = entry("segment", f"root={films}", "max_steps=250", "batch_size=8", "fps=12", "seconds=8")
    assert ran.status == 0, ran.err
    assert len(segments(ran.out)) == 4  # of val and test, by rules and learned
    learned = ran.folder / "segmenter.safetensors"
    keys = ("extractor=drawn", f"landmarker.films={films}", "segments=learned", f"segmenter={learned}")
    ran = entry("demo", f"model={folder}", f"source={films / 'films' / 'test_00.mp4'}", *keys, "out=out", "draw=false",
                "other_extractor=true", "threads=1")  # fmt: skip
    assert ran.status == 0, ran.err
    true = films / "captions" / "test_00.srt"
    scored = entry("score", "hypotheses=out/test_00.srt", f"references={true}", "bootstrap=0")
    assert scored.status == 0, scored.err
    assert f"{len(read_lines(true))} sentences beside" in scored.out
    assert segments(scored.out)[0] >= 75  # of five sentences, by what 90 s of films have taught
    assert len(read_lines(Path("out/test_00.eaf"), "captions")) == len(read_lines(Path("out/test_00.vtt")))
    film = PosedFilms(films, captions=None, tier=None).film("test_00")
    who = [
        (start, int(text.removeprefix("signer "))) for start, _, text in read_lines(Path("out/test_00.eaf"), "signers")
    ]
    assert who == [(start, 1 + np.searchsorted(film.cuts, (start + 0.1) * film.fps, "right") % 2) for start, _ in who]
    assert {signer for _, signer in who} == {1, 2}


def test_captions_two_seconds_late_come_back_to_the_signing(entry: Any, films: Path, tmp_path: Path) -> None:
    late, rng = tmp_path / "late", np.random.default_rng(0)
    here = PosedFilms(films, captions=None, tier=None)
    for name in here.names:
        moved = ((a + 2 + rng.normal(0, 0.3), b + 2 + rng.normal(0, 0.3), text) for a, b, text in here.lines(name))
        write_srt(late / f"{name}.srt", moved)
    ran = entry("align", f"root={films}", f"captions={late}", "out=aligned")
    assert ran.status == 0, ran.err
    away = {}
    for where in (late, Path("aligned")):
        lines = [(line, true) for name in here.names for line, true in
                 zip(read_lines(where / f"{name}.srt"), here.lines(name), strict=True)]  # fmt: skip
        assert all(line[2] == true[2] for line, true in lines)
        away[where.name] = np.median([abs(line[k] - true[k]) for line, true in lines for k in (0, 1)])
    assert away["late"] == pytest.approx(2, abs=0.2)
    assert away["aligned"] < 0.3
    with Path("aligned/shifts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert len(rows) == sum(len(here.lines(name)) for name in here.names)
    assert np.median([float(row["shift"]) for row in rows]) == pytest.approx(-2, abs=0.3)


MISTAKES = {
    "no films": ("segment", ("root=empty",), "root=empty: no film in pose/"),
    "no captions": ("align", ("root=films", "captions=empty", "out=o"), "no test_00.srt, .vtt or .eaf"),
    "written over": ("align", ("root=films", "out=films/captions"), "the captions themselves lie there"),
    "damaged segmenter": ("align", ("root=films", "out=o", "segmenter=films/corpus.json"), "corpus.json: no segmenter"),
    "segmenter alone": ("demo", ("model=x", "source=a.mp4", "segmenter=a"), "segments=learned and segmenter belong"),
    "misspelt key": ("segment", ("max_step=3",), "did you mean max_steps"),
    "impossible share": ("segment", ("split=2",), "split=2.0: expected a number in [0, 1]"),
}


@pytest.mark.parametrize(("command", "overrides", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_message(
    entry: Any, films: Path, tmp_path: Path, command: str, overrides: Any, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(films, tmp_path / "films", ignore=shutil.ignore_patterns("*.found", "*.mp4"))
    ran = entry(command, *overrides)
    assert ran.status == 1
    assert message in ran.err
    assert "Traceback" not in ran.err
