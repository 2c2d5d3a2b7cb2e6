"""A published corpus' films to its clips: cuts and splits as its tables say, films that are gone, ids with colons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench.landmarker_stub import write_film
from hydra import compose, initialize_config_dir

from slt import data, extract
from slt.config.checks import CONF
from slt.corpora import layout
from slt.corpora.openasl import OpenASL
from slt.extraction.run import Outcome

pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')

STUB = ("landmarker._target_=bench.landmarker_stub.StubLandmarker", "extractor.crop_size=16", "report=false")
HEAD = "vid\tyid\tstart\tend\traw-text\ttokenized-text\tgloss\tsplit"
POSE = {"pose": data.Landmarks(folder="pose", points="upper_body", normalise="shoulders", jitter=0.0, noise=0.0)}
KEYS: dict[str, Any] = {"fps": None, "max_frames": 100, "length_tolerance": 0, "augment": None, "seed": 1}


def row(film: str, split: str, start: float, end: float) -> str:
    times = [f"00:00:{time:06.3f}" for time in (start, end)]
    return "\t".join([f"{film}-{'-'.join(times)}", film, *times, f'They "sign" {film}.', "", "", split])


@pytest.fixture
def openasl(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of films and of the table: of film `gone` there is none, `d` is given away cut."""
    tables, films = tmp_path / "tables", tmp_path / "films"
    tables.mkdir()
    films.mkdir()
    rows = [row("-a", "train", 0.1, 0.4), row("-a", "train", 0.2, 0.6), row("b", "valid", 0, 0.3),
            row("c", "test", 0, 0.5), row("gone", "train", 0, 0.5), row("gone", "test", 0, 0.6),
            row("d", "test", 5, 9)]  # fmt: skip
    (tables / "openasl-v1.0.tsv").write_text("\n".join([HEAD, *rows, ""]), encoding="utf-8")
    for shade, name in enumerate(("-a", "b", "c", "d-00:00:05.000-00:00:09.000")):
        write_film(films / f"{name}.mp4", shade=10 * shade)
    return films, tables


def run(films: Path, tables: Path, out: Path, *overrides: str, dataset: str = "openasl") -> Outcome:
    given = [f"source={films}", f"out={out}", *STUB, f"dataset={dataset}", f"dataset.root={tables}", *overrides]
    with initialize_config_dir(str(CONF), version_base=None):
        return extract.run(compose("extract", given))


def test_clips_texts_and_splits_are_those_of_the_tables(openasl: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*openasl, out) == Outcome(5, {}, 0)
    rows = {row["video_id"]: row for row in layout.read_table(out / "subs.csv")}
    cut, whole = rows["-a-00_00_00.100-00_00_00.400"], rows["d-00_00_05.000-00_00_09.000"]
    assert [cut[key] for key in ("texto", "video", "start", "end", "frame_count")] == [
        'They "sign" -a.',
        "-a",
        "0.1",
        "0.4",
        "3",
    ]
    assert [whole[key] for key in ("video", "start", "end", "frame_count")] == ["", "", "", "6"]
    splits = {split: layout.read_index(out / "index" / f"{split}.csv") for split in layout.SPLITS}
    assert {split: [name.partition("-0")[0] for name in names] for split, names in splits.items()} == {
        "train": ["-a", "-a"],
        "val": ["b"],
        "test": ["c", "d"],
    }
    assert layout.index_faults(out) == []


def test_films_that_are_gone_are_listed_and_stop_nothing(
    openasl: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*openasl, tmp_path / "out")
    listed = (tmp_path / "out" / "faults.csv").read_text(encoding="utf-8").splitlines()
    gone = [line for line in listed if "film 'gone' is not in the source" in line]
    assert len(gone) == 2
    assert all(line.endswith(";true") for line in gone)
    assert "2 clips of 1 films are not in" in caplog.text
    assert "left out: 2 rows or films" in capsys.readouterr().out


def test_what_is_extracted_is_read_by_the_corpus_and_as_any_other_folder(
    openasl: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(*openasl, out)
    plain = data.LsaTMultiStream(root=str(out), split="test", streams=POSE, **KEYS)
    (out / "openasl-v1.0.tsv").write_bytes((openasl[1] / "openasl-v1.0.tsv").read_bytes())
    theirs = data.Clips(root=str(out), corpus=OpenASL, split="test", streams=POSE, max_missing=0.5, **KEYS)
    assert [sample.text for sample in (plain[0], plain[1])] == [sample.text for sample in (theirs[0], theirs[1])]
    assert (plain[0].streams["pose"] == theirs[0].streams["pose"]).all()
    assert theirs[1].id == "d-00:00:05.000-00:00:09.000"


def test_it_goes_on_where_it_stopped(openasl: tuple[Path, Path], tmp_path: Path) -> None:
    films, tables = openasl
    run(films, tables, tmp_path / "out")
    write_film(films / "gone.mp4")
    assert run(films, tables, tmp_path / "out") == Outcome(7, {}, 0)
    assert len(layout.read_index(tmp_path / "out" / "index" / "train.csv")) == 3


def test_a_split_that_is_not_there_is_a_note(openasl: tuple[Path, Path], tmp_path: Path) -> None:
    films, _ = openasl
    line = "x\tb\tb_1\tb_1-5-rgb_front\t0\t0.3\tHi!\nx\tb\tb_2\tb_2-5-rgb_front\t0.3\t0.3\tNone."
    tables = tmp_path / "how2sign"
    tables.mkdir()
    head = "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE"
    (tables / "how2sign_realigned_val.csv").write_text(f"{head}\n{line}\n", encoding="utf-8")
    assert run(films, tables, tmp_path / "out", dataset="how2sign").finished == 1
    listed = (tmp_path / "out" / "faults.csv").read_text(encoding="utf-8")
    assert "split train is left out" in listed
    assert "1 end before they begin" in listed
    assert layout.read_index(tmp_path / "out" / "index" / "val.csv") == ["b_1-5-rgb_front"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("captions.path=x.csv",), "leave out captions.path"),
        (("kind=poses",), "leave out captions.path and kind"),
        (("dataset=lsa_t",), "as dataset=how2sign"),
        (("dataset=elan",), "dataset.corpus.tier is missing"),
        (("dataset.root=???",), "dataset.root is missing"),
    ],
)
def test_keys_that_do_not_go_together_are_named(
    openasl: tuple[Path, Path], tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(*openasl, tmp_path / "out", *overrides)


def test_films_of_none_of_the_clips_are_refused(openasl: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    write_film(tmp_path / "others" / "x.mp4")
    with pytest.raises(ValueError, match="none of its clips has a film in source=.*film '-a' is not in the source"):
        run(tmp_path / "others", openasl[1], tmp_path / "out")


def test_the_command_says_what_is_gone(openasl: tuple[Path, Path], tmp_path: Path, entry: Callable[..., Any]) -> None:
    films, tables = openasl
    ran = entry(
        "extract", f"source={films}", f"out={tmp_path / 'out'}", *STUB, "dataset=openasl", f"dataset.root={tables}"
    )
    assert ran.status == 0, ran.err
    assert "left out: 2 rows or films" in ran.out
