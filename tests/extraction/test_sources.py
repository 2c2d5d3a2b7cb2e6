"""Sources of an extraction: films and captions brought together, boxes, and a message for every bad folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from slt.corpora import lsa_t
from slt.extraction.captions import Captions
from slt.extraction.poses import read_keypoints
from slt.extraction.source import Source
from slt.extraction.sources import Footage, find_sources, read_boxes

CUTS = "video_id;video;start;end;texto\n"
FORMS = {"subs": "video_id;texto\n", "cuts": CUTS}


def find(source: Path, form: str = "subs", path: Path | None = None, **keys):
    return find_sources(source, Footage(**{"kind": "films", **keys}), Captions(path, form, False, 0.3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "films"
    out.mkdir()
    for name in ("a.mp4", "b.MKV", "c.gif"):
        (out / name).write_bytes(b"a film")
    return out


def table(folder: Path, rows: str, form: str = "subs") -> Path:
    path = folder / "subs.csv"
    path.write_text(FORMS[form] + rows, encoding="utf-8")
    return path


def test_whole_films_are_found_by_their_names(folder):
    table(folder, "a;uno\nb;dos <i></i>\nc;tres\n")
    sources, faults = find(folder)
    assert sources[1] == Source("b", folder / "b.MKV", text="dos")
    assert ([s.video_id for s in sources], faults) == (["a", "b", "c"], [])


def test_cuts_keep_film_times_and_further_columns_in_their_row(folder):
    rows = "a_1;a;0;2.5;uno\na_2;a.mp4;3;4;dos\nb_1;b;;;tres\nc_1;c;1;2;x\n"
    table(folder, rows, "cuts")
    sources, faults = find(folder, "cuts")
    assert (sources[0], faults) == (Source("a_1", folder / "a.mp4", 0.0, 2.5, "uno", "a"), [])
    assert sources[0].row == {"video_id": "a_1", "texto": "uno", "video": "a", "start": 0.0, "end": 2.5}
    assert [s.path.name for s in sources] == ["a.mp4", "a.mp4", "b.MKV", "c.gif"]
    assert {tuple(s.row) for s in sources} == {("video_id", "texto", "video", "start", "end")}


def test_a_film_without_a_row_is_listed_and_a_row_without_a_film_is_left_to_the_extraction(folder):
    table(folder, "a;uno\nd;dos\n")
    sources, faults = find(folder)
    assert [s.path for s in sources] == [folder / "a.mp4", folder / "d"]
    assert [(f.where, f.dropped) for f in faults] == [("b.MKV", True), ("c.gif", True)]


def test_films_are_known_by_name_without_invisible_characters_and_in_one_spelling(folder):
    (folder / "Sen\u0303as\u200c \u200cya-x.mp4").write_bytes(b"")
    table(folder, "x_1;Señas ya-x;0;1;uno\n", "cuts")
    sources, _ = find(folder, "cuts")
    assert sources[0].path.is_file()
    assert sources[0].row["video"] == "Señas ya-x"


def test_films_without_captions_have_empty_texts(folder):
    sources, faults = find(folder, "none")
    assert (sources[0].row, faults) == ({"video_id": "a", "texto": ""}, [])
    with pytest.raises(ValueError, match=r"captions\.format=none reads no table"):
        find(folder, "none", path=folder / "subs.csv")
    (folder / "x;y.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x;y\.mp4: id 'x;y' cannot name files"):
        find(folder, "none")


def test_srt_beside_films_cuts_them(folder):
    (folder / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhola\n")
    sources, faults = find(folder, "srt")
    assert [(s.video_id, s.path.name, s.start, s.end) for s in sources] == [("a_1", "a.mp4", 1.0, 2.0)]
    assert [f.where for f in faults] == ["b.MKV", "c.gif"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"subs.csv": "video_id;texto\na;uno\n", "a.srt": "x"}, ["a"]),
        ({"subs.csv": "video_id;video;start;end;texto\na_1;a;0;1;uno\n"}, ["a_1"]),
        ({"subs.csv": "video_id;video;start;end;texto\na;;;;uno\n"}, ["a"]),
        ({"meta.csv": "id;text;video;start;end;split\nx;uno;a;0;1;[]\n"}, ["x"]),
        ({"subtitles.json": '{"a": [[0, 1, "uno"]]}'}, ["a_1"]),
        ({"a.vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nuno\n"}, ["a_1"]),
    ],
)
def test_captions_that_are_there_are_found(folder, written, expected):
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    assert [clip.video_id for clip in find(folder, "auto")[0]] == expected


def test_captions_are_found_in_the_folder_that_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no captions in this folder"):
        find(folder, "auto", path=tmp_path)
    (tmp_path / "subs.csv").write_text("video_id;texto\na;uno\n")
    assert [clip.video_id for clip in find(folder, "auto", path=tmp_path)[0]] == ["a"]


def test_subtitles_are_found_where_their_films_are(folder):
    (folder / "day" / "two").mkdir(parents=True)
    (folder / "day" / "two" / "d.ts").write_bytes(b"")
    (folder / "day" / "two" / "d.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhola\n")
    assert [(clip.video_id, clip.path.name) for clip in find(folder, "auto")[0]] == [("d_1", "d.ts")]


def test_of_captions_in_several_formats_one_must_be_named(folder):
    (folder / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhola\n")
    (folder / "subtitles.json").write_text('{"a": [[0, 1, "uno"]]}')
    with pytest.raises(ValueError, match=r"subtitles\.json, a\.srt.*captions\.format=subtitles"):
        find(folder, "auto")
    assert [clip.video_id for clip in find(folder, "auto", path=folder / "subtitles.json")[0]] == ["a_1"]


def test_ids_and_films_are_one_in_whatever_way_their_accents_are_written(folder):
    (folder / "sen\u0303a.mp4").write_bytes(b"")
    table(folder, "se\u00f1a;uno\n")
    sources, _ = find(folder)
    assert (sources[0].video_id, sources[0].film, sources[0].path.is_file()) == ("se\u00f1a", "se\u00f1a", True)


def test_key_points_whose_names_spell_accents_otherwise_are_found(tmp_path):
    h5py = pytest.importorskip("h5py", reason='h5py is absent: pip install "slt[media]"')
    with h5py.File(tmp_path / "keypoints.h5", "w") as file:
        file["sen\u0303a.mp4/signer_0/keypoints"] = np.full((4, 4 * lsa_t.POINTS), 9, np.float16)
    (tmp_path / "meta.csv").write_text("id;text;video;start;end;split\nse\u00f1a;uno;v;1;3;[]\n", encoding="utf-8")
    sources, faults = find(tmp_path / "keypoints.h5", "auto", kind="keypoints")
    assert (faults, read_keypoints(sources[0]).fps) == ([], 2)


def test_only_films_can_be_mirrored(tmp_path):
    (tmp_path / "a.pose").write_bytes(b"")
    with pytest.raises(ValueError, match="kind=poses holds none"):
        find(tmp_path, "none", kind="poses", mirrored=True)


def test_two_films_of_one_name_are_refused(folder):
    (folder / "a.avi").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.mp4: a\.avi has the same name"):
        find(folder)


def test_folders_that_are_none_hold_no_film_or_cannot_be_listed_are_named(folder, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        find(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"a\.mp4: a file; kind=films expects the folder"):
        find(folder / "a.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no film in this folder"):
        find(tmp_path / "empty")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match="films cannot be listed \\(Permission denied\\)"):
        find(folder)


def test_a_missing_table_and_a_table_of_which_nothing_is_left_are_named(folder):
    with pytest.raises(FileNotFoundError, match=r"subs\.csv: no such"):
        find(folder)
    table(folder, "a_1;a;2;1;uno\n", "cuts")
    with pytest.raises(ValueError, match=r"no clip is left to extract \(subs\.csv line 2: a cut of no length"):
        find(folder, "cuts")


@pytest.mark.parametrize("video", ["../a", "sub/a"])
def test_a_path_in_place_of_a_film_s_name_is_refused(folder, video):
    table(folder, f"a_1;{video};0;1;uno\n", "cuts")
    with pytest.raises(ValueError, match=r"subs\.csv line 2: video .* must be a film's name"):
        find(folder, "cuts")


def boxes(folder: Path, rows: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text(f"video_id;x;y;width;height\n{rows}", encoding="utf-8")
    return path


def test_a_clip_has_its_own_box_or_its_film_s(folder):
    table(folder, "a_1;a;0;1;x\na_2;a;1;2;x\n", "cuts")
    path = boxes(folder, "a;10;20;30;40\na_2;0;0;5.5;6\nz;0;0;1;1\n")
    sources, faults = find(folder, "cuts", boxes=path)
    assert [s.box for s in sources] == [(10, 20, 40, 60), (0, 0, 5.5, 6)]
    assert [(f.where, f.video_id) for f in faults if f.video_id] == [("boxes.csv line 4", "z")]


def test_every_clip_needs_a_box_where_there_are_some(folder):
    table(folder, "a;uno\nb;dos\nc;tres\n")
    with pytest.raises(ValueError, match="signer=box: no box for 'b', 'c'; give each"):
        find(folder, boxes=boxes(folder, "a;0;0;9;9\n"))


@pytest.mark.parametrize(
    "row", ["a;0;0;9", "a;0;0;0;9", "a;x;0;9;9", "a;nan;0;9;9", ";0;0;9;9", "b;0;0;9;9\nb;0;0;9;9"]
)
def test_a_bad_row_of_boxes_is_named(folder, row):
    with pytest.raises(ValueError, match=r"boxes\.csv line [23]"):
        read_boxes(boxes(folder, f"{row}\n"))


def test_boxes_with_other_columns_or_not_there_are_named(folder):
    (folder / "boxes.csv").write_text("video_id,x,y,width\n")
    with pytest.raises(ValueError, match=r"boxes\.csv line 1"):
        read_boxes(folder / "boxes.csv")
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_boxes(folder / "none.csv")


def test_poses_are_found_like_films(tmp_path):
    (tmp_path / "a.pose").write_bytes(b"")
    (tmp_path / "b.mp4").write_bytes(b"")
    table(tmp_path, "a_1;a;0;1;uno\n", "cuts")
    sources, faults = find(tmp_path, "cuts", kind="poses")
    assert [(s.video_id, s.path.name, faults) for s in sources] == [("a_1", "a.pose", [])]


def test_key_points_of_lsa_t_are_found_with_their_signer_and_clips_without_a_row_are_listed(tmp_path):
    h5py = pytest.importorskip("h5py", reason='h5py is absent: pip install "slt[media]"')
    with h5py.File(tmp_path / "keypoints.h5", "w") as file:
        for name in ("v_1", "v_2"):
            file.create_group(f"{name}.mp4/signer_0")
    head = "id,label,video,start,end,splits,signers_amount,infered_signer\n"
    (tmp_path / "meta.csv").write_text(head + "v_1,uno,v,1,3,[],2,signer_1\nv_3,tres,v,4,5,[],0,\n")
    sources, faults = find(tmp_path / "keypoints.h5", "lsa_t", kind="keypoints")
    assert [(s.video_id, s.start, s.end, s.person) for s in sources] == [("v_1", 1.0, 3.0, 1), ("v_3", 4.0, 5.0, 0)]
    assert [(f.where, f.video_id, f.dropped) for f in faults] == [("keypoints.h5", "v_2", True)]
    with pytest.raises(ValueError, match=r"captions\.format=lsa_t; came cuts"):
        find(tmp_path / "keypoints.h5", "cuts", kind="keypoints")
    with pytest.raises(FileNotFoundError, match="no such file; expected LSA-T"):
        find(tmp_path / "other.h5", "lsa_t", kind="keypoints")


def test_subtitles_with_a_language_behind_the_film_s_name_are_its_own(folder):
    (folder / "Título [x-1].mp4").write_bytes(b"")
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\nhola\n"
    (folder / "Título [x-1].es-419.vtt").write_text(text, encoding="utf-8")
    (clip,), _ = find(folder, "vtt")
    assert (clip.video_id, clip.path) == ("Título [x-1]_1", folder / "Título [x-1].mp4")
    (folder / "Título [x-1].en.vtt").write_text(text.replace("hola", "hi"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"captions\.language=null: .* es-419"):
        find(folder, "vtt")
