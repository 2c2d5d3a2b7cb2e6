"""A film to captions, subtitles and an annotated copy; what is refused, and what is left when it is stopped."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace

import numpy as np
import pytest
from bench.landmarker_stub import write_film
from bench.signing_stub import SigningLandmarker, regions, signer
from inference.parts import READING, Spy, extractor
from omegaconf import OmegaConf

from slt.inference import session
from slt.inference.films import Track, find_films, translate_film
from slt.inference.recorder import Recorder
from slt.inference.session import Reading

av = pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')


@pytest.fixture
def film(tmp_path):
    (tmp_path / "films").mkdir()
    path = tmp_path / "films" / "a.mp4"
    write_film(path, count=40)
    return path


def steps(path, out, *, landmarker=None, **changes):
    landmarker = landmarker or SigningLandmarker(signing=[(0.3, 1.3), (2.3, 3.3)])
    return translate_film(path, Spy(), extractor(landmarker), settings=replace(READING, **changes), out=out)


def run(path, out, **how):
    *_, result = steps(path, out, **how)
    return result


def test_a_short_film_is_one_sentence_in_its_files(film, tmp_path):
    result = run(film, tmp_path / "out")
    assert [(one.start, one.end, one.text) for one in result.segments] == [(0, pytest.approx(4), "¿40 años?")]
    assert [one.score for one in result.segments[0].hypotheses] == [-0.5, -1.0]
    assert result.segments[0].seen == {"face": 1, "pose": 1}
    assert result.duration == 4
    assert {name: (marks.dtype, marks.tolist()) for name, marks in result.seen.items()} == {
        name: (np.uint8, [1] * 40) for name in ("face", "left_hand", "right_hand", "pose")
    }
    srt = "1\n00:00:00,000 --> 00:00:04,000\n¿40 años?\n\n"
    assert result.srt.read_text(encoding="utf-8") == srt
    assert result.vtt.read_text(encoding="utf-8") == "WEBVTT\n\n" + srt.removeprefix("1\n").replace(",", ".")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.mp4", "a.srt", "a.vtt", "a.eaf"}
    assert set(result.latency.milliseconds()) == {"decode", "landmarks", "crops", "encoder", "decoder", "draw"}


def test_the_annotated_film_is_h264_with_every_picture_at_its_time(film, tmp_path):
    result = run(film, tmp_path / "out")
    with av.open(str(result.annotated)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert float(stream.duration * stream.time_base) == pytest.approx(4)
    assert [time for time, _ in shown] == pytest.approx(np.arange(40) / 10)
    assert shown[0][1].shape[1] == 640
    # the film's pictures grow brighter by 20 each, up to where they begin anew
    middle = [int(np.median(picture[:480])) for _, picture in shown]
    assert middle[:6] == pytest.approx([40, 60, 80, 100, 120, 140], abs=12)


def test_the_sentence_is_burnt_in_as_long_as_its_segment_lasts(film, tmp_path):
    result = run(film, tmp_path / "out", segments="auto")
    with av.open(str(result.annotated)) as container:
        strips = [frame.to_ndarray(format="rgb24")[490:] for frame in container.decode(video=0)]
    first, second = result.segments
    ink = [int((strip[:40] > 150).sum()) for strip in strips]  # the sentence's lines
    for n, amount in enumerate(ink):
        said = any(one.start - 1e-6 <= n / 10 < one.end - 1e-6 for one in (first, second))
        assert (amount > 50) == said, n
    assert first.end < second.start


def test_a_film_is_cut_where_hands_rest(film, tmp_path):
    first, second = run(film, None, segments="auto").segments
    assert (first.start, first.end) == (pytest.approx(0, abs=0.2), pytest.approx(1.7, abs=0.25))
    assert (second.start, second.end) == (pytest.approx(2.0, abs=0.2), pytest.approx(3.7, abs=0.25))
    assert run(film, None, whole_seconds=3).segments == [first, second]


def test_a_film_in_which_nobody_signs_has_no_caption_unless_it_is_whole(film, tmp_path):
    still = {"landmarker": SigningLandmarker(signing=[])}
    result = run(film, tmp_path / "out", segments="auto", **still)
    assert (result.segments, result.srt.read_text(), result.vtt.read_text()) == ([], "", "WEBVTT\n\n")
    assert len(run(film, None, segments="whole", **still).segments) == 1


def test_the_caller_hears_how_far_it_is(film, tmp_path):
    *heard, _ = steps(film, tmp_path / "out", segments="auto")
    assert list(dict.fromkeys(update.stage for update in heard)) == ["landmarks", "translation", "drawing"]
    for stage in ("landmarks", "drawing"):
        seconds = [update.seconds for update in heard if update.stage == stage]
        assert len(seconds) > 10
        assert seconds == sorted(seconds)
    assert [len(update.segments) for update in heard if update.stage == "translation"] == [1, 2]
    assert {update.duration for update in heard} == {4}


@pytest.mark.parametrize("stage", ["landmarks", "translation", "drawing"])
def test_whoever_stops_it_finds_nothing_half_written(film, tmp_path, stage):
    news = steps(film, tmp_path / "out")
    assert next(one for one in news if one.stage == stage and one.seconds >= 1)
    news.close()
    assert list((tmp_path / "out").glob("*")) + list((tmp_path / "out").glob(".*")) == []


def test_nothing_is_written_without_a_folder_and_no_film_without_draw(film, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = run(film, None)
    assert (result.annotated, result.srt, result.vtt, result.eaf) == (None,) * 4
    assert sorted(tmp_path.rglob("*")) == before
    assert run(film, tmp_path / "out", draw=False).annotated is None
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.srt", "a.vtt", "a.eaf"}


def test_a_film_is_never_written_over_by_its_own_annotated_copy(film):
    before = film.read_bytes()
    with pytest.raises(ValueError, match=r"a\.mp4: it lies beside the film a\.mp4 already and would be overwritten"):
        run(film, film.parent)
    (film.parent / "a.srt").write_text("the film's own")
    with pytest.raises(ValueError, match=r"a\.srt: it lies beside the film"):
        run(film, film.parent, draw=False)
    assert film.read_bytes() == before
    assert (film.parent / "a.srt").read_text() == "the film's own"


def test_a_film_too_long_to_be_one_clip_is_refused_before_it_is_read(film, monkeypatch):
    monkeypatch.setattr(session, "LONGEST_CLIP", 3.0)
    with pytest.raises(ValueError, match=r"a\.mp4: 4 s as one clip .* set segments=auto"):
        run(film, None, segments="whole")
    assert len(run(film, None, segments="auto").segments) == 2


def test_what_was_found_takes_no_memory_by_the_frame():
    with tempfile.TemporaryFile() as file:
        track = Track(file, fps=10)
        for n in range(500):
            track.add(regions(n / 10, signer(n / 10, raised=True, moving=True)))
        assert not any(isinstance(kept, list | dict | bytearray) for kept in vars(track).values())
        found, seen = list(track.found()), track.seen()
    assert len(found) == track.frames == 500
    assert track.duration == 50
    np.testing.assert_array_equal(found[123].points, signer(12.3, raised=True, moving=True))
    assert {name: marks.tolist() for name, marks in seen.items()}["pose"] == [1] * 500


def test_films_are_found_by_name_and_what_is_not_a_film_is_left_out(film):
    folder = film.parent
    write_film(folder / "B.MKV")
    (folder / "notes.txt").write_text("a")
    assert find_films(folder) == [folder / "B.MKV", film]
    assert find_films(film) == [film]


def test_films_that_would_write_the_same_files_are_refused_by_name(film):
    write_film(film.with_suffix(".mkv"))
    with pytest.raises(ValueError, match=re.escape("films of the same name but for the ending (a.mkv, a.mp4)")):
        find_films(film.parent)


def test_the_settings_are_those_of_the_configuration(compose):
    keys = ("signer=box", "box=[1,2,3,4]", "search.num_beams=3", "segment.raised=0.5")
    cfg = compose("model=x", "source=y", *keys, name="demo")
    settings = Reading.of(OmegaConf.to_container(cfg, resolve=True))
    assert settings.box == (1, 2, 3, 4)
    assert settings.segmentation.raised == 0.5
    assert settings.search == {"num_beams": 3, "length_penalty": None, "max_tokens": None, "nbest": 1}


# ---------------------------------------------------------------- recordings


def write(path, *, live, fail=None):
    with Recorder(path, size=(64, 48), fps=10, live=live) as recorder:
        for n in range(20):
            if n == fail:
                raise ValueError("enough")
            recorder.write(n / 10 + (0.03 if n % 2 else 0), np.full((48, 64, 3), 5 * n, np.uint8))


@pytest.mark.parametrize("live", [False, True])
def test_a_recording_keeps_the_times_of_its_pictures(tmp_path, live):
    write(tmp_path / "a.mp4", live=live)
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([n / 10 + (0.03 if n % 2 else 0) for n in range(20)], abs=1e-3)


def test_a_film_that_fails_half_way_is_not_there_and_a_camera_s_is_up_to_there(tmp_path):
    for live in (False, True):
        with pytest.raises(ValueError, match="enough"):
            write(tmp_path / f"{live}.mp4", live=live, fail=12)
    assert [path.name for path in tmp_path.iterdir()] == ["True.mp4"]
    with av.open(str(tmp_path / "True.mp4")) as container:
        assert len(list(container.decode(video=0))) == 12


def test_a_camera_s_film_can_be_played_while_it_is_still_written(tmp_path):
    with Recorder(tmp_path / "a.mp4", size=(64, 48), fps=10, live=True) as recorder:
        for n in range(600):
            recorder.write(n / 10, np.full((48, 64, 3), n % 200, np.uint8))
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert len(list(container.decode(video=0))) > 200


def test_pictures_out_of_their_order_do_not_end_a_recording(tmp_path):
    with Recorder(tmp_path / "a.mp4", size=(64, 48), fps=10, live=True) as recorder:
        for seconds in (0.0, 0.1, 0.1, 0.05, 0.2):
            recorder.write(seconds, np.zeros((48, 64, 3), np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 5
    assert times == sorted(set(times))


def test_only_mp4_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"a\.avi: films are written as \.mp4"):
        Recorder(tmp_path / "a.avi", size=(64, 48), fps=10, live=False)
