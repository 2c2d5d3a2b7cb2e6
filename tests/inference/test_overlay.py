"""What is drawn: boxes, landmarks, marks and sentences, at every size, and nothing over an edge."""

from __future__ import annotations

import numpy as np
import pytest
from bench.signing_stub import signer

from slt.extraction.regions import Regions
from slt.inference.films import Track
from slt.inference.onnx import Hypothesis
from slt.inference.overlay import (
    COLOURS,
    FAINT,
    GROUND,
    INK,
    LONGEST_RIGHT,
    Found,
    Overlay,
    Text,
    _font,
    _wrap,
    sentence_at,
)
from slt.inference.subtitles import Caption
from slt.streams.skeleton import find_skeleton

STREAMS = ("face", "left_hand", "right_hand", "pose")
SIZES = [(426, 240), (1280, 720), (240, 426), (64, 48), (1920, 1080), (33, 77)]
LONG = "¿Dónde está la niña que mañana irá a la escuela, si llueve muchísimo y no hay ómnibus? " * 4
PANEL = ("milliseconds      median    95 %", "landmarks           36.6    60.1", "1 of 4 dropped (25.0%)")


def found(size, marks=(1, 1, 1, 1)):
    boxes = {
        name: np.array([size[0] * x, size[1] / 2, size[1] / 4])
        for name, x in zip(STREAMS, (0.5, 0.8, 0.2), strict=False)
    }
    return Found(signer(0.1, raised=True, moving=True), boxes, dict(zip(STREAMS, marks, strict=True)))


def drawn(size, text, marks=(1, 1, 1, 1), names=STREAMS):
    overlay = Overlay(size, names)
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    out = overlay.draw(picture, found(size, marks), text)
    assert (picture == 90).all()
    return overlay, out


def text(sentence="", partial=False, right=(), panel=()):
    return Text(sentence, partial, right, panel)


def face() -> np.ndarray:
    """The 543 points of a signer whose face's mesh lies on a circle."""
    skeleton, points = find_skeleton("mediapipe_543"), np.zeros((543, 3))
    angle = np.linspace(0, 2 * np.pi, 468)
    points[list(skeleton.parts["face"])] = np.stack(
        [0.5 + 0.08 * np.sin(angle), 0.3 + 0.1 * np.cos(angle), angle + 1], 1
    )
    body = [n for part in ("body", "left_hand", "right_hand") for n in skeleton.parts[part]]
    points[body] = signer(0.1, raised=True, moving=True)
    return points


def test_a_face_is_drawn_where_the_skeleton_has_one_and_hands_stay_where_they_were():
    overlay, picture = Overlay((640, 480), STREAMS), np.full((480, 640, 3), 90, np.uint8)
    marks = dict.fromkeys(STREAMS, 1)
    bare = overlay.draw(picture, Found(signer(0.1, raised=True, moving=True), {}, marks), text())
    drawn = overlay.draw(picture, Found(face(), {}, marks, find_skeleton("mediapipe_543")), text())
    assert not has(bare[: overlay.height], COLOURS["face"])
    assert has(drawn[: overlay.height], COLOURS["face"])
    changed = np.argwhere((bare != drawn).any(-1))
    assert (changed.min(0) >= (90, 255)).all()
    assert (changed.max(0) <= (200, 385)).all()


@pytest.mark.parametrize("name", ["", "mediapipe_543"])
def test_what_was_found_in_a_film_comes_back_with_the_points_of_its_skeleton(tmp_path, name):
    points = face() if name else signer(0.1, raised=True, moving=True)
    box = {stream: np.array([1.0, 2, 3]) for stream in STREAMS[:3]}
    frame = Regions(0.0, signer(0.1, raised=True, moving=True), {}, dict.fromkeys(STREAMS[:3], 1), box, (64, 48),
                    whole=points if name else None, skeleton=name)  # fmt: skip
    with (tmp_path / "track").open("w+b") as file:
        track = Track(file, 25.0)
        for _ in range(2):
            track.add(frame)
        one, other = track.found()
    assert np.allclose(one.points, points)
    assert np.array_equal(one.points, other.points)
    assert len(one.skeleton) == len(points)
    assert (one.boxes["face"].tolist(), one.marks["pose"]) == ([1, 2, 3], 1)


def has(picture, colour):
    return bool((picture == colour).all(-1).any())


@pytest.mark.parametrize("size", SIZES)
def test_every_size_becomes_an_even_one_that_is_neither_tiny_nor_huge(size):
    overlay, out = drawn(size, text(LONG, partial=True, right=LONGEST_RIGHT, panel=PANEL))
    assert out.shape == (overlay.size[1], overlay.size[0], 3)
    assert out.dtype == np.uint8
    assert overlay.size[0] % 2 == overlay.size[1] % 2 == 0
    assert 480 <= min(overlay.width, overlay.height) <= 1080
    assert overlay.width / overlay.height == pytest.approx(size[0] / size[1], rel=0.02)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "sentence", ["¡Sí!", LONG[:80], LONG, "ñandú" * 60], ids=["short", "two lines", "long", "word"]
)
def test_no_sentence_reaches_an_edge_or_the_marks(size, sentence):
    overlay, out = drawn(size, text(sentence))
    empty = drawn(size, text())[1]
    ink = np.argwhere((out != empty).any(-1))
    assert len(ink) > 0
    (top, left), (bottom, right) = ink.min(0), ink.max(0)
    assert overlay.height <= top
    assert bottom < overlay.height + overlay.margin + overlay.sentence_height
    assert overlay.margin - 2 <= left
    assert right < overlay.width - overlay.margin + 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("names", [STREAMS, STREAMS[:3], ()], ids=["all used", "pose unused", "none used"])
def test_marks_and_what_stands_at_the_right_never_meet(size, names):
    overlay, right = drawn(size, text(right=LONGEST_RIGHT), marks=(0, 2, 0, 0), names=names)
    marks = drawn(size, text(), marks=(0, 2, 0, 0), names=names)[1]
    strip = slice(overlay.height + overlay.margin + overlay.sentence_height, None)
    written = (right[strip] != marks[strip]).any(-1)
    rows, columns = np.nonzero(written)
    assert len(rows) > 0
    # where the right lines were put there was nothing but the ground
    assert (marks[strip][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == GROUND).all()
    assert columns.max() < overlay.width - overlay.margin + 2


@pytest.mark.parametrize("name", ["DejaVuSans.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSans-Bold.ttf"])
def test_the_font_has_the_letters_of_spanish(name):
    font = _font(20, name)
    missing = bytes(font.getmask("\U0010ffff"))
    masks = {letter: bytes(font.getmask(letter)) for letter in "ñáéíóúüÑÁÉÍÓÚÜ¿¡…nN"}
    assert missing not in masks.values()
    assert len(set(masks.values())) == len(masks)


def test_an_accent_changes_the_picture():
    assert (drawn((426, 240), text("anos"))[1] != drawn((426, 240), text("años"))[1]).any()


def test_a_partial_sentence_looks_other_than_a_final_one():
    overlay, final = drawn((426, 240), text("hola"))
    partial = drawn((426, 240), text("hola", partial=True))[1]
    strip = slice(overlay.height, overlay.height + overlay.margin + overlay.sentence_height)
    assert has(final[strip], INK)
    assert has(partial[strip], FAINT)
    assert not has(partial[strip], INK)


def test_each_mark_of_each_stream_can_be_told_apart():
    pictures = [drawn((426, 240), text(), marks=tuple(mark if n == one else 1 for n in range(4)))[1]
                for one in range(3) for mark in (0, 2)]  # fmt: skip
    pictures.append(drawn((426, 240), text())[1])
    overlay = Overlay((426, 240), STREAMS)
    strips = {bytes(picture[overlay.height :]) for picture in pictures}
    assert len(strips) == 7


def test_a_part_that_is_not_seen_has_no_box_and_one_that_is_followed_a_dashed_one():
    amount = []
    for mark in (0, 2, 1):
        overlay, out = drawn((852, 480), text(), marks=(mark, 1, 1, 1))
        amount.append(int((out[: overlay.height] == COLOURS["face"]).all(-1).sum()))
    assert amount[0] == 0
    assert amount[0] < amount[1] < amount[2]


def test_a_box_is_where_the_part_is():
    overlay, out = drawn((852, 480), text())
    rows, columns = np.nonzero((out[: overlay.height] == COLOURS["face"]).all(-1))
    assert columns.min() == pytest.approx(426 - 60, abs=3)
    assert columns.max() == pytest.approx(426 + 60, abs=3)
    assert rows.max() == pytest.approx(240 + 60, abs=3)


def test_points_the_pose_only_guesses_are_not_drawn():
    overlay = Overlay((852, 480), STREAMS)
    seen = found((852, 480))
    points = seen.points.copy()
    points[:33, 2] = 0.2
    picture = np.full((480, 852, 3), 90, np.uint8)
    bare = Found(points, {}, dict.fromkeys(STREAMS, 1))
    assert has(overlay.draw(picture, seen, text())[: overlay.height], COLOURS["pose"])
    assert not has(overlay.draw(picture, bare, text())[: overlay.height], COLOURS["pose"])


@pytest.mark.parametrize("centre", [(-50, -50), (426, 900), (5000, 100)])
def test_what_lies_beyond_the_picture_is_cut_off(centre):
    overlay = Overlay((426, 240), STREAMS)
    points = signer(0, raised=True, moving=True, shift=3.0)
    boxes = {"face": np.array([*centre, 80.0])}
    out = overlay.draw(np.full((240, 426, 3), 90, np.uint8), Found(points, boxes, dict.fromkeys(STREAMS, 1)), text())
    empty = overlay.draw(np.full((240, 426, 3), 90, np.uint8), Found(points, {}, dict.fromkeys(STREAMS, 1)), text())
    np.testing.assert_array_equal(out[overlay.height :], empty[overlay.height :])


def test_the_panel_lies_over_the_picture_only_where_it_is_asked_for():
    overlay, out = drawn((1280, 720), text(panel=PANEL))
    plain = drawn((1280, 720), text())[1]
    changed = np.argwhere((out != plain).any(-1))
    assert len(changed) > 1000
    assert changed.max(0)[0] < overlay.height / 2


def test_a_patch_that_has_not_changed_is_not_drawn_again():
    overlay = Overlay((426, 240), STREAMS)
    for sentence in ("uno", "uno", "dos", "uno"):
        overlay.draw(np.zeros((240, 426, 3), np.uint8), found((426, 240)), text(sentence))
    assert overlay.sentence.cache_info().misses == 3


def test_lines_break_between_words_and_an_ellipsis_never_stands_alone():
    font = _font(20, "DejaVuSans.ttf")
    text = "una niña y un niño\N{NO-BREAK SPACE}…"
    for room in range(60, 400, 7):
        lines = _wrap(text, font, room)
        assert " ".join(lines) == text or room < font.getlength("niño\N{NO-BREAK SPACE}…")
        assert all(font.getlength(line) <= room for line in lines)


def test_the_sentence_of_a_second_is_that_of_the_segment_it_lies_in():
    captions = [
        Caption(a, b, (Hypothesis(name, 0, ()),)) for a, b, name in ((1, 2, "uno"), (2, 3, "dos"), (5, 6, "tres"))
    ]
    assert [sentence_at(captions, second) for second in (0, 1, 1.99, 2, 3, 4, 5.5, 9)] == [
        "",
        "uno",
        "uno",
        "dos",
        "",
        "",
        "tres",
        "",
    ]
