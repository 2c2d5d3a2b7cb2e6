"""Films and folders of pictures: found wherever they lie, known by their content, and read alike."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bench.landmarker_stub import write_film

from slt.extraction.footage import find_footage, frames_at, known_by, probe, read_frames
from slt.extraction.source import Source

pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')


def write_pictures(folder: Path, count: int = 12, ending: str = ".png") -> Path:
    """Pictures 1, 2, ... whose left half is as bright as their number times ten, and whose right half is black."""
    folder.mkdir(parents=True)
    for n in range(1, count + 1):
        picture = np.zeros((8, 16, 3), np.uint8)
        picture[:, :8] = 10 * n
        cv2.imwrite(str(folder / f"img_{n}{ending}"), picture)
    return folder


def taken(folder: Path, start: float | None = None, end: float | None = None, **keys) -> Source:
    return Source("a", folder, start, end, fps=4, **keys)


def numbers(frames) -> list[int]:
    return [round(float(picture[:, :8].mean()) / 10) for _, picture in frames]


@pytest.mark.parametrize("ending", ["ts", "mpg", "vob", "wmv", "3gp", "mxf", "MTS", "asf", "m2v"])
def test_a_film_is_found_whatever_its_ending(tmp_path, ending):
    (tmp_path / "sub").mkdir()
    write_film(tmp_path / "film.avi")
    os.rename(tmp_path / "film.avi", tmp_path / "sub" / f"a b.{ending}")  # FFmpeg goes by the content
    for name in ("a.srt", "a.txt", "notes.txt", "a.json", "README", "list.m3u8", "a.mp4.part", "._a.mp4"):
        (tmp_path / name).write_text("#EXTM3U\nhttp://127.0.0.1:9/a.ts\n")
    cv2.imwrite(str(tmp_path / "thumb.png"), np.zeros((8, 8, 3), np.uint8))
    assert find_footage(tmp_path, "films") == {"a b": tmp_path / "sub" / f"a b.{ending}"}


def test_of_an_ending_that_holds_no_film_one_file_is_opened_and_not_all(tmp_path, monkeypatch):
    write_film(tmp_path / "a.mp4")
    for n in range(50):
        (tmp_path / f"{n}.json").write_text("{}")
    opened = []
    monkeypatch.setattr("slt.extraction.footage._opens", lambda path: bool(opened.append(path)))
    assert [*find_footage(tmp_path, "films")] == ["a"]
    assert len(opened) == 1


def test_folders_of_numbered_pictures_are_films_and_others_are_not(tmp_path):
    one = write_pictures(tmp_path / "train" / "clip.1")
    write_film(tmp_path / "a.mp4")
    (tmp_path / "thumbs").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "thumbs" / f"{name}.jpg"), np.zeros((8, 8, 3), np.uint8))
    assert find_footage(tmp_path, "films") == {"a": tmp_path / "a.mp4", "clip.1": one}
    with pytest.raises(FileNotFoundError, match="give the folder above"):
        find_footage(one, "films")


def test_a_corpus_below_the_source_is_no_source(tmp_path):
    write_film(tmp_path / "a.mp4")
    write_pictures(tmp_path / "out" / "face")
    (tmp_path / "out" / "extraction.json").write_text("{}")
    assert [*find_footage(tmp_path, "films")] == ["a"]


def test_two_films_of_one_name_in_two_folders_or_spellings_are_refused(tmp_path):
    for name in ("one/se\u00f1a.mp4", "two/sen\u0303a.mkv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"two.*has the same name.*rename one"):
        find_footage(tmp_path, "films")


def test_folders_that_lead_into_each_other_are_walked_once(tmp_path):
    write_film(tmp_path / "a.mp4")
    (tmp_path / "again").symlink_to(tmp_path)
    assert [*find_footage(tmp_path, "films")] == ["a"]


@pytest.mark.parametrize("place", [0, 1 << 19, (1 << 20) - 1])
def test_a_film_is_known_by_its_beginning_middle_and_end_and_not_by_place_or_time(tmp_path, place):
    data = bytearray(1 << 20)
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(data)
    os.utime(tmp_path / "b", (1, 1))
    assert known_by(tmp_path / "a") == known_by(tmp_path / "b") is not None
    data[place] = 1
    (tmp_path / "b").write_bytes(data)
    assert known_by(tmp_path / "a") != known_by(tmp_path / "b")
    assert known_by(tmp_path / "none") is None


def test_a_folder_of_pictures_is_known_by_its_pictures(tmp_path):
    one = write_pictures(tmp_path / "one")
    other = tmp_path / "other"
    shutil.copytree(one, other)
    assert known_by(one) == known_by(other)
    (other / "img_12.png").unlink()
    assert known_by(one) != known_by(other)


def test_pictures_are_read_in_the_order_of_their_numbers_at_their_rate_and_at_others(tmp_path):
    folder = write_pictures(tmp_path / "a")
    assert (probe(taken(folder)).fps, probe(taken(folder)).duration) == (4, 3)
    assert numbers(read_frames(taken(folder), fps=4)) == list(range(1, 13))
    assert numbers(read_frames(taken(folder), fps=2)) == [1, 3, 5, 7, 9, 11]
    assert numbers(read_frames(taken(folder, 1, 2), fps=4)) == [5, 6, 7, 8]
    assert numbers(frames_at(taken(folder, 0.5), [0, 1.1, 99])) == [3, 7, 12]
    with pytest.raises(ValueError, match="12 pictures that end at 3"):
        list(read_frames(taken(folder, 1, 4), fps=4))


def test_pictures_that_are_none_or_of_another_size_are_named(tmp_path):
    folder = write_pictures(tmp_path / "a")
    cv2.imwrite(str(folder / "img_3.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"img_3\.png: 4 x 4 pixels after pictures of 16 x 8"):
        list(read_frames(taken(folder), fps=4))
    (folder / "img_2.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"img_2\.png: not a picture"):
        list(read_frames(taken(folder), fps=4))


def test_a_picture_that_is_missing_between_others_is_told_and_every_second_one_is_not(tmp_path):
    folder = write_pictures(tmp_path / "a")
    (folder / "img_6.png").unlink()
    with pytest.raises(ValueError, match=r"img_7\.png does not follow img_5\.png"):
        probe(taken(folder))
    for n in (2, 4, 8, 10, 12):
        (folder / f"img_{n}.png").unlink()
    assert numbers(read_frames(taken(folder), fps=4)) == [1, 3, 5, 7, 9, 11]


def test_mirrored_pictures_are_turned_over_and_films_too(tmp_path):
    folder = write_pictures(tmp_path / "a")
    plain, turned = (list(read_frames(taken(folder, mirrored=mirrored), fps=4)) for mirrored in (False, True))
    assert all((one[1] == other[1][:, ::-1]).all() for one, other in zip(plain, turned, strict=True))
    (_, one), (_, other) = (next(frames_at(taken(folder, mirrored=mirrored), [1.0])) for mirrored in (False, True))
    assert (one == other[:, ::-1]).all()
    assert not (one == other).all()
