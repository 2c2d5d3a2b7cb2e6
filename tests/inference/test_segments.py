"""Where signing begins and ends: raised, moving and resting hands, long segments, and what is kept in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench.signing_stub import frames, regions, signer
from inference.parts import SEGMENTATION as SETTINGS

from slt.inference.inputs import inputs_from_regions
from slt.inference.segments import Segmenter, keep_model_crops
from slt.models.signature import StreamSpec

FPS = 10
NAMES = ("face", "left_hand", "right_hand")


def within(*times):
    return lambda second: (any(begin <= second < end for begin, end in times),) * 2


def cut(stream, segmenter):
    return [segment for segment in (*map(segmenter.add, stream), segmenter.close()) if segment is not None]


def found(stream, *, settings=SETTINGS, whole=False, fps=FPS):
    return cut(stream, Segmenter(settings, fps=fps, whole=whole))


def spans(segments):
    return [(round(one.start, 2), round(one.end, 2)) for one in segments]


def test_hands_that_are_raised_and_move_are_a_segment_with_its_margins():
    (segment,) = found(frames(6, within((2, 4))))
    # the hands jump up at 2 s, which is seen then, and down at 4 s
    assert segment.start == pytest.approx(2 - SETTINGS.margin, abs=0.11)
    assert segment.moved == pytest.approx(4, abs=0.21)
    assert segment.end == pytest.approx(segment.moved + SETTINGS.margin + 1 / FPS)
    assert [frame.seconds for frame in segment.frames] == pytest.approx(
        np.arange(segment.start, segment.end - 0.05, 0.1)
    )


@pytest.mark.parametrize(
    "signing", [(False, False), (True, False), (False, True)], ids=["at rest", "raised, still", "lowered, moving"]
)
def test_hands_that_are_only_raised_or_only_move_are_none(signing):
    assert found(frames(5, lambda second: signing)) == []


def test_a_short_pause_of_raised_hands_does_not_end_a_segment_and_a_long_one_does():
    def paused(length):
        return lambda second: (1 <= second < 6, not 3 <= second < 3 + length)

    assert len(found(frames(8, paused(0.5)))) == 1
    first, second = found(frames(8, paused(1.4)))
    assert first.end < 3.6 < second.start < 4.7
    assert (first.number, second.number) == (0, 1)


def test_lowered_hands_end_a_segment_sooner_than_still_ones():
    segmenter = Segmenter(SETTINGS, fps=FPS, whole=False)
    ended = [frame.seconds for frame in frames(6, within((1, 3))) if segmenter.add(frame) is not None]
    assert ended == [pytest.approx(3 + SETTINGS.lowered_seconds, abs=0.21)]
    segmenter = Segmenter(SETTINGS, fps=FPS, whole=False)
    ended = [one.seconds for one in frames(6, lambda s: (s >= 1, 1 <= s < 3)) if segmenter.add(one) is not None]
    assert ended == [pytest.approx(3 + SETTINGS.still_seconds, abs=0.21)]


def test_a_cut_ends_a_segment_though_no_hand_rests():
    stream = [replace(frame, cut=n == 35) for n, frame in enumerate(frames(8, within((1, 6))))]
    first, second = spans(found(stream))
    assert (first[1], second[0]) == (3.5, 3.5)
    assert first[0] == pytest.approx(0.7, abs=0.11)
    assert spans(found(stream[20:50], whole=True)) == [(2, 5)]


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.3])
def test_somebody_else_in_the_signer_s_place_begins_a_segment_and_who_leans_does_not(shift):
    stream = frames(8, within((1, 6)))
    for frame in stream[35:]:
        frame.points[:, 0] += shift
    assert len(found(stream)) == (2 if shift == 0.3 else 1)


def test_a_motion_too_short_to_be_a_sentence_is_none_and_is_counted():
    segmenter = Segmenter(replace(SETTINGS, min_seconds=1.5), fps=FPS, whole=False)
    segments = cut(frames(9, within((1, 1.6), (4, 7))), segmenter)
    assert [(one.number, round(one.start)) for one in segments] == [(1, 4)]


def test_the_end_of_the_stream_ends_the_segment():
    (segment,) = found(frames(4, within((2, 9))))
    assert segment.end == pytest.approx(4)


def test_a_long_segment_is_cut_at_its_stillest_moment_and_no_frame_is_lost():
    # slower and slower up to 4.5 s, and then fast again
    def slow(second):
        return signer(second if abs(second - 4.5) > 0.4 else 4.1, raised=True, moving=True)

    stream = [regions(n / FPS, slow(n / FPS)) for n in range(100)]
    first, second = found(stream)
    assert 4.1 < first.end <= 5.0
    assert first.end == pytest.approx(second.start)
    assert [*first.frames, *second.frames] == stream[round(first.start * FPS) :]


@pytest.mark.parametrize("rest", [5.1, 5.3, 5.5, 5.7, 5.9])
def test_hands_that_come_to_rest_as_a_long_segment_is_cut_leave_nothing_behind(rest):
    segments = found(frames(12, lambda second: (True, second < rest)))
    taken = [frame.seconds for segment in segments for frame in segment.frames]
    assert taken == pytest.approx(np.arange(len(taken)) / FPS)
    assert rest <= taken[-1] <= SETTINGS.max_seconds + SETTINGS.margin + SETTINGS.window


def test_memory_is_bounded_by_the_longest_segment_however_long_the_stream():
    segmenter = Segmenter(SETTINGS, fps=FPS, whole=False)
    held, came, given = 0, 0, 0
    for second in range(0, 240, 60):  # signing without end, then rest without end
        for frame in frames(60, lambda s, second=second: (second < 120, second < 120)):
            came += 1
            segment = segmenter.add(replace(frame, seconds=frame.seconds + second))
            given += 0 if segment is None else len(segment.frames)
            held = max(held, len(segmenter._frames))
    assert held <= SETTINGS.max_seconds * FPS + 1
    assert came == 2_400
    assert 1100 < given < 1300


def test_a_whole_film_is_one_segment_from_its_first_frame_to_its_last():
    stream = frames(5, lambda second: (False, False))
    (segment,) = found(stream, whole=True)
    assert (list(segment.frames), segment.start, segment.end) == (stream, 0, pytest.approx(5))
    assert found([], whole=True) == []


def test_somebody_who_walks_by_does_not_sign():
    walking = [regions(n / FPS, signer(0, raised=True, moving=False, shift=0.04 * n)) for n in range(30)]
    assert found(walking) == []


def test_hands_of_nobody_do_not_sign():
    stream = frames(5, lambda second: (True, True))
    for frame in stream:
        frame.points[:, 2] = 0
    assert found(stream) == []


def test_hips_out_of_the_picture_are_taken_to_be_where_a_trunk_ends():
    stream = frames(6, within((2, 4)))
    for frame in stream:
        frame.points[23:25] = (0.5, 0.1, 0.2)  # a guess of the pose, above the shoulders
    assert spans(found(stream)) == spans(found(frames(6, within((2, 4)))))


def test_a_segment_is_the_same_at_another_rate():
    for one, other in zip(spans(found(frames(6, within((2, 4)), fps=25), fps=25)),
                          spans(found(frames(6, within((2, 4))))), strict=True):  # fmt: skip
        assert one == pytest.approx(other, abs=0.2)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"raised": -1}, "segment.raised=-1: expected a number of at least 0"),
        ({"window": 0}, "segment.window=0: expected a number above 0"),
        ({"staying": 1.5}, "segment.staying=1.5: expected a number in .0, 1."),
        ({"margin": 0.5}, "segment.margin=0.5 is above lowered_seconds=0.4"),
        ({"max_seconds": 1}, "segment.max_seconds=1: expected at least twice"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(keys, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **keys)


def test_what_is_kept_of_a_frame_is_what_the_model_reads():
    rng = np.random.default_rng(0)
    streams = [
        StreamSpec(name=name, kind="crops", dtype="uint8", shape=(3, size, size), folder=name, points=None, size=size)
        for name, size in (("face", 8), ("left_hand", 16))
    ]
    stream = [
        regions(n / FPS, signer(n / FPS, raised=True, moving=True),
                {name: rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for name in NAMES})
        for n in range(4)
    ]  # fmt: skip
    light = [keep_model_crops(frame, streams) for frame in stream]
    assert {name: crop.shape for name, crop in light[0].crops.items()} == {"face": (8, 8, 3), "left_hand": (16, 16, 3)}
    keys = {"clip_fps": FPS, "fps": None, "max_frames": None}
    one, other = (inputs_from_regions(each, streams, **keys) for each in (stream, light))
    for name in ("face", "left_hand"):
        np.testing.assert_array_equal(one.streams[name], other.streams[name])
