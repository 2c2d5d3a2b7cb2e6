"""Films annotated with ELAN: tiers of sentences and glosses, time slots without a value, and splits."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_up import COUNTS, write_poses, write_text

from slt.corpora.eaf import Span, read_eaf
from slt.corpora.elan import Elan

pytest.importorskip("pympi", reason='pympi-ling is absent: pip install "slt[media]"')

XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="EAFv3.0.xsd"'
HEAD = f'<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01" FORMAT="3.0" VERSION="3.0" {XSI}>'
Cell = tuple[str, str, str]  # two time slots, or the annotation that it refers to and the one before; and the value


def write_eaf(path: Path, slots: Sequence[int | None], *tiers: tuple[str, Sequence[Cell]]) -> None:
    """Write time slots t0, t1, ... (milliseconds or None) and tiers, whose annotations are named <tier><number>."""
    lines = [HEAD, '<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>', "<TIME_ORDER>"]
    for number, value in enumerate(slots):
        stated = "" if value is None else f' TIME_VALUE="{value}"'
        lines.append(f'<TIME_SLOT TIME_SLOT_ID="t{number}"{stated}/>')
    lines.append("</TIME_ORDER>")
    for name, cells in tiers:
        lines.append(f'<TIER LINGUISTIC_TYPE_REF="any" TIER_ID="{name}">')
        for number, (a, b, value) in enumerate(cells):
            kind, keys = "ALIGNABLE_ANNOTATION", f'TIME_SLOT_REF1="{a}" TIME_SLOT_REF2="{b}"'
            if not re.fullmatch(r"t\d+", a):
                before = f' PREVIOUS_ANNOTATION="{b}"' if b else ""
                kind, keys = "REF_ANNOTATION", f'ANNOTATION_REF="{a}"{before}'
            lines.append(f'<ANNOTATION><{kind} ANNOTATION_ID="{name}{number}" {keys}>')
            lines.append(f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></{kind}></ANNOTATION>")
        lines.append("</TIER>")
    write_text(path, [*lines, '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="any"/>', "</ANNOTATION_DOCUMENT>"])


SENTENCES = ("Spanish", [("t0", "t1", "hola a todos"), ("t2", "t3", "nos vamos")])
GLOSSES = ("Gloss", [("t0", "t4", "HOLA"), ("t5", "t6", "TODOS"), ("t2", "t3", "IR")])
SLOTS = (0, 2000, 2000, 3500, 900, 1500, 2200)  # the gloss from 1.5 to 2.2 s goes past the sentence that it is in


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    root = tmp_path / "elan"
    rows = ["film;split"]
    for split, count in COUNTS.items():
        for number in range(count // 2):
            name = f"{split}-{number}"
            write_eaf(root / "eaf" / f"{name}.eaf", SLOTS, SENTENCES, GLOSSES)
            write_poses(root, [f"{name}_1", f"{name}_2"])
            rows.append(f"{name};{split}")
    write_text(root / "splits.csv", rows)
    return root


def spans(path: Path, tier: str) -> list[tuple[float, float, str]]:
    return [(round(one.start, 3), round(one.end, 3), one.value) for one in read_eaf(path)[tier, ""]]


def test_annotations_are_clips_and_glosses_belong_where_their_middle_is(annotated: Path) -> None:
    corpus = Elan(annotated, tier="Spanish", gloss_tier="Gloss")
    assert [len(corpus.rows(split)) for split in COUNTS] == [*COUNTS.values()]
    first, second = corpus.rows("val")
    assert (first.id, first.text) == ("val-0_1", "hola a todos")
    assert first.columns == {"gloss": "HOLA TODOS", "signer": "", "film": "val-0", "start": "0.0", "end": "2.0"}
    assert (second.text, second.columns["gloss"]) == ("nos vamos", "IR")
    assert corpus.notes == []
    assert "gloss" not in Elan(annotated, tier="Spanish", gloss_tier=None).rows("val")[0].columns


def test_they_are_trained_on_and_scored(annotated: Path, two_steps: Callable[..., Any]) -> None:
    keys = ("dataset.corpus.tier=Spanish", "dataset.corpus.gloss_tier=Gloss")
    two_steps("elan", annotated, "dataset.only=[pose]", *keys)


def test_without_a_table_all_is_trained_on(annotated: Path) -> None:
    (annotated / "splits.csv").unlink()
    corpus = Elan(annotated, tier="Spanish", gloss_tier=None)
    assert len(corpus.rows("train")) == sum(COUNTS.values())
    with pytest.raises(ValueError, match="split val: no clip"):
        corpus.rows("val")


def test_time_slots_without_a_value_are_spread_between_their_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    cells = [("t0", "t1", "a"), ("t1", "t3", "b"), ("t3", "t4", "c"), ("t4", "t5", "d")]
    write_eaf(path, (1000, None, 1200, None, 4000, 5000), ("words", cells), ("other", [("t2", "t4", "x")]))
    assert spans(path, "words") == [(1, 2, "a"), (2, 3, "b"), (3, 4, "c"), (4, 5, "d")]
    write_eaf(path, (1000, 2000, None), ("words", [("t0", "t1", "a"), ("t1", "t2", "b")]))
    with pytest.raises(ValueError, match=r"a.eaf: tier 'words' has time slots without a value at its end"):
        read_eaf(path)


def test_symbolic_parts_are_spread_over_what_they_divide(tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    parts = ("part", [("text0", "part2", "last"), ("text0", "", "first"), ("text0", "part1", "middle")])
    write_eaf(path, (0, 3000), ("kind", [("part0", "", "noun")]), parts, ("text", [("t0", "t1", "all")]))
    assert sorted(spans(path, "part")) == [(0, 1, "first"), (1, 2, "middle"), (2, 3, "last")]
    assert spans(path, "kind") == [(2, 3, "noun")]
    write_eaf(path, (0, 3000), ("part", [("gone", "", "x")]))
    with pytest.raises(ValueError, match="refer to none"):
        read_eaf(path)
    write_eaf(path, (0, 3000), ("text", [("t0", "t7", "x")]))
    with pytest.raises(ValueError, match="time slot 't7' of tier 'text' is not there"):
        read_eaf(path)


def test_tiers_of_two_signers_are_told_apart_and_overlaps_are_noted(tmp_path: Path) -> None:
    tiers = [("ES_A", [("t0", "t2", "uno")]), ("ES_B", [("t1", "t3", "dos")]),
             ("LS_A", [("t1", "t2", "A")]), ("LS_B", [("t1", "t2", "B"), ("t4", "t5", "C")])]  # fmt: skip
    write_eaf(tmp_path / "film.eaf", (0, 1000, 2000, 3000, 9000, 9500), *tiers)
    corpus = Elan(tmp_path, tier="ES_(A|B)", gloss_tier="LS_(A|B)")
    rows = corpus.rows("train")
    assert [(row.text, row.columns["signer"], row.columns["gloss"]) for row in rows] == [
        ("uno", "A", "A"),
        ("dos", "B", "B"),
    ]
    assert corpus.notes == [
        "train: 1 sentences begin before another has ended, and are clips all the same (first: film, 1.0 s)",
        "train: 1 glosses are in no sentence and left out (first: film, 9.0 s)",
    ]


def test_an_absent_tier_a_damaged_file_and_an_absent_library_are_named(
    annotated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"val-0.eaf: no tier 'English' among \['Gloss', 'Spanish'\]"):
        Elan(annotated, tier="English", gloss_tier=None).rows("val")
    write_text(tmp_path / "bad.eaf", ["<ANNOTATION_DOCUMENT"])
    with pytest.raises(ValueError, match=r"bad.eaf: not an ELAN file that can be read"):
        read_eaf(tmp_path / "bad.eaf")
    monkeypatch.setitem(sys.modules, "pympi", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "slt\[media\]"'):
        read_eaf(tmp_path / "bad.eaf")


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "elan"


@pytest.mark.skipif(not REAL.is_dir(), reason="ELAN's demonstration is not on this machine (../shared/data/elan)")
def test_elan_s_own_demonstration_is_read() -> None:
    for glosses in ("words-timesub", "words-symsub"):  # of the first most time slots have no value
        corpus = Elan(REAL, tier="text", gloss_tier=glosses)
        rows = corpus.rows("train")
        assert len(rows) == 399
        assert all(row.columns["gloss"].replace("Thé", "The") == row.text for row in rows)  # so once in a tier
        assert corpus.notes == []
    assert read_eaf(REAL / "sample_3.0.eaf")["words-timesub", ""][10] == Span(8.0, 8.6, "The", "")
