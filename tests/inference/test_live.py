"""Live pictures to captions: what is said and when, what is dropped, what stays in memory, and how it ends."""

from __future__ import annotations

import json
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
from bench.landmarker_stub import write_film
from bench.signing_stub import SigningLandmarker, frames

from slt.extraction.regions import Extractor
from slt.inference import live, view
from slt.inference.films import Reading, translate_film
from slt.inference.live import Live, TranslationThread, evenly, translate_live
from slt.inference.mailbox import Mailbox
from slt.inference.onnx import Hypothesis
from slt.inference.segments import Segment, Segmentation
from slt.inference.sources import PacedFilm, Shot
from slt.inference.subtitles import SubtitleFiles
from slt.models.signature import StreamSpec

KEYS = {"crop_size": 8, "face_margin": 1.2, "hand_margin": 1.4, "smooth_centre": 0.1, "smooth_size": 0.2,
        "follow_visibility": 0.95, "follow_seconds": 1.0, "signer": "auto", "min_certainty": 0.6}  # fmt: skip
STREAMS = (
    StreamSpec(name="face", kind="crops", dtype="uint8", shape=(3, 8, 8), folder="face", points=None, size=8),
    StreamSpec(name="pose", kind="pose", dtype="float32", shape=(25, 3), folder="pose", points="upper_body", size=None),
)
SEGMENTATION = Segmentation(raised=0.35, moving=0.8, staying=0.5, window=0.2, start_seconds=0.2, lowered_seconds=0.4,
                            still_seconds=0.8, margin=0.3, min_seconds=0.4, max_seconds=6)  # fmt: skip
SEARCH = {"num_beams": 2, "length_penalty": None, "max_tokens": None, "nbest": 1}
READING = Reading(fps=None, max_fps=30, segments=None, whole_seconds=20, segmentation=SEGMENTATION, search=SEARCH,
                  box=None, draw=False)  # fmt: skip
# So long a queue drops nothing, however busy the machine of the tests is; what is dropped has tests of its own.
LIVE = Live(partial_seconds=0.5, queue=1000, headless=True, panel=False, record=None)


class Spy:
    """Says how many frames it was given, and keeps them; `hold` makes it wait."""

    streams, fps, max_frames, extractor = STREAMS, None, None, None

    def __init__(self):
        self.clips, self.searches = [], []
        self.hold = threading.Event()
        self.hold.set()

    def encode(self, clips):
        assert self.hold.wait(60)
        self.clips += clips
        return len(clips[0].seen["face"])

    def write(self, encoded, **search):
        self.searches.append(search)
        return [[Hypothesis(f"{encoded} años", -0.5, (1,))]]


class Source:
    """A camera made of numbers: `count` pictures at `fps`, in time divided by `speed`."""

    name, look_seconds = "numbers", 1.0

    def __init__(self, count, *, fps=10, speed=1.0, fail=None):
        self.count, self.fps, self.speed, self.fail = count, fps, speed, fail
        self.closed = False

    def pictures(self, seconds):
        return ((second, np.zeros((80, 100, 3), np.uint8)) for second in seconds)

    def shots(self, stop, ready):
        origin = time.perf_counter()
        for n in range(self.count):
            if self.fail is not None and n == self.fail:
                raise ValueError("source=numbers: the camera gives no more pictures")
            due = origin + n / self.fps / self.speed
            if stop.wait(max(0.0, due - time.perf_counter())):
                return
            yield Shot(n / self.fps, np.full((80, 100, 3), n % 256, np.uint8), due, 0.0)
            if n == 0:
                ready.wait()
                origin = time.perf_counter()

    def close(self):
        self.closed = True


class Screen:
    """Keeps what is written on each picture; `until` closes it."""

    def __init__(self, monkeypatch, *, until=10**9, panel=False):
        self.texts, self.until, self.panel = [], until, panel
        draw = view.Overlay.draw

        def spy(overlay, picture, found, text):
            self.texts.append(text)
            return draw(overlay, picture, found, text)

        monkeypatch.setattr(view.Overlay, "draw", spy)

    def show(self, picture):
        return len(self.texts) < self.until


def run(source, translator, *, landmarker=None, reading=READING, settings=LIVE, screen=None, subtitles=None):
    said = []
    extractor = Extractor(landmarker or SigningLandmarker(), **KEYS)
    result = translate_live(
        source, translator, extractor, reading=reading, live=settings, screen=screen, subtitles=subtitles,
        on_caption=lambda caption, partial: said.append((caption, partial)),
    )  # fmt: skip
    return result, said


# ---------------------------------------------------------------- what is said


def test_partial_translations_while_signing_goes_on_and_a_final_one_when_it_stops(tmp_path):
    landmarker = SigningLandmarker(signing=[(1, 3), (5, 7)])
    spy = Spy()
    with SubtitleFiles(srt=tmp_path / "a.srt", vtt=tmp_path / "a.vtt") as subtitles:
        result, said = run(Source(90, speed=8), spy, landmarker=landmarker, subtitles=subtitles)
    assert result.dropped == 0
    finals = [caption for caption, partial in said if not partial]
    assert [round(one.start) for one in finals] == [1, 5]
    assert [round(one.end, 1) for one in finals] == pytest.approx([3.4, 7.4], abs=0.25)
    order = "".join("p" if partial else "F" for _, partial in said)
    assert order.strip("p") != order
    assert "pF" in order
    first = [caption for caption, partial in said if caption.start < 3]
    lengths = [int(caption.text.split()[0]) for caption in first]
    assert lengths == sorted(lengths)  # a partial translation is of all that was signed so far
    assert result.captions == finals
    assert (tmp_path / "a.srt").read_text(encoding="utf-8").count(" --> ") == 2
    assert result.latency.milliseconds()["sign to caption"][0] == 2
    assert all(search == SEARCH for search in spy.searches)


def test_without_partial_seconds_only_final_captions_are_said():
    settings = replace(LIVE, partial_seconds=0)
    _, said = run(Source(40, speed=10), Spy(), landmarker=SigningLandmarker(signing=[(1, 2)]), settings=settings)
    assert [partial for _, partial in said] == [False]


def test_hands_at_rest_say_nothing():
    result, said = run(Source(40, speed=10), Spy(), landmarker=SigningLandmarker(signing=[]))
    assert (said, result.captions, result.captured) == ([], [], 40)


def test_the_running_sentence_is_on_show_while_it_is_signed_and_a_while_after(monkeypatch):
    monkeypatch.setattr(view, "SHOWN_SECONDS", 0.0)
    monkeypatch.setattr(view, "SHOWN_PER_LETTER", 0.01)
    screen = Screen(monkeypatch)
    run(Source(80, speed=4), Spy(), landmarker=SigningLandmarker(signing=[(1, 4)]), screen=screen)
    shown = [("" if not text.sentence else "partial" if text.partial else "final") for text in screen.texts]
    changes = [one for n, one in enumerate(shown) if n == 0 or one != shown[n - 1]]
    assert changes == ["", "partial", "final", ""]
    states = [text.right[0].split()[-1] for text in screen.texts]
    assert {"signing", "rest"} == set(states)


def test_a_partial_sentence_of_what_was_no_sentence_is_taken_back(monkeypatch):
    screen = Screen(monkeypatch)
    reading = replace(READING, segmentation=replace(SEGMENTATION, min_seconds=2.0))
    _, said = run(Source(50, speed=6), Spy(), landmarker=SigningLandmarker(signing=[(1, 2)]), reading=reading,
                  settings=replace(LIVE, partial_seconds=0.2), screen=screen)  # fmt: skip
    assert said
    assert all(partial for _, partial in said)
    assert any(text.sentence for text in screen.texts)
    assert screen.texts[-1].sentence == ""


# ---------------------------------------------------------------- the same as from files


def test_a_film_at_its_own_pace_reaches_the_model_as_the_same_film_from_its_file_does(tmp_path):
    write_film(tmp_path / "a.mp4", count=15)
    offline, online = Spy(), Spy()
    extractor = Extractor(SigningLandmarker(), **KEYS)
    film = translate_film(tmp_path / "a.mp4", offline, extractor, settings=READING, out=None, on_update=None)
    source = PacedFilm(tmp_path / "a.mp4", fps=None, max_fps=30)
    settings = replace(LIVE, partial_seconds=0)
    begin = time.perf_counter()
    result, _ = run(source, online, settings=settings)
    assert time.perf_counter() - begin > 1.2  # 15 pictures at 10 a second
    assert result.dropped == 0
    assert result.captions == film.segments
    (one,), (other,) = offline.clips, online.clips
    assert len(one.seen["face"]) == 15
    for name in ("face", "pose"):
        np.testing.assert_array_equal(one.streams[name], other.streams[name])
        np.testing.assert_array_equal(one.seen[name], other.seen[name])


def test_a_long_film_is_cut_where_hands_rest_live_and_from_its_file_alike(tmp_path):
    write_film(tmp_path / "a.mp4", count=30)
    landmarker = {"signing": [(0.2, 1.0), (1.7, 2.5)]}
    reading = replace(READING, segments="auto")
    extractor = Extractor(SigningLandmarker(**landmarker), **KEYS)
    film = translate_film(tmp_path / "a.mp4", Spy(), extractor, settings=reading, out=None, on_update=None)
    source = PacedFilm(tmp_path / "a.mp4", fps=None, max_fps=30)
    result, _ = run(source, Spy(), landmarker=SigningLandmarker(**landmarker), reading=reading)
    assert len(film.segments) == 2
    assert result.dropped == 0
    assert result.captions == film.segments


# ---------------------------------------------------------------- what is dropped


def test_of_more_pictures_than_may_wait_the_oldest_is_dropped_and_counted():
    box = Mailbox(2)
    for n in range(5):
        box.put(n)
    box.close(None)
    assert (list(box), box.count, box.dropped) == ([3, 4], 5, 3)


def test_a_mailbox_gives_what_came_before_an_error_and_then_the_error():
    box = Mailbox(3)
    box.put(1)
    box.close(ValueError("gone"))
    came = iter(box)
    assert next(came) == 1
    with pytest.raises(ValueError, match="gone"):
        next(came)
    with pytest.raises(ValueError, match="queue=0: expected at least 1"):
        Mailbox(0)


def test_a_machine_that_is_too_slow_drops_frames_and_says_how_many(monkeypatch):
    screen = Screen(monkeypatch, panel=True)
    source = Source(150, fps=100)
    result, _ = run(source, Spy(), landmarker=SigningLandmarker(pause=0.03), screen=screen,
                    settings=replace(LIVE, queue=2))  # fmt: skip
    assert result.captured == 150
    assert result.dropped > 50
    assert result.frames + result.dropped == 150
    assert result.latency.lines()[-1].startswith(f"{result.dropped} of 150 dropped")
    shown = [int(text.right[1].split()[-2]) for text in screen.texts]
    assert shown == sorted(shown)
    assert shown[-1] == result.dropped
    assert any("dropped" in line for line in screen.texts[-1].panel)


def test_a_slow_machine_sees_what_is_happening_now_and_not_what_was(monkeypatch):
    seen = []
    source = Source(150, fps=100)
    shots = source.shots

    def timed(stop, ready):
        for shot in shots(stop, ready):
            yield shot._replace(taken=time.perf_counter())

    source.shots = timed
    extractor_keys = KEYS | {"smooth_centre": 0, "smooth_size": 0}
    step = live.Session.step

    def look(self, regions, shot):
        seen.append((shot.taken, time.perf_counter()))
        return step(self, regions, shot)

    monkeypatch.setattr(live.Session, "step", look)
    extractor = Extractor(SigningLandmarker(pause=0.03), **extractor_keys)
    settings = replace(LIVE, queue=2)
    translate_live(source, Spy(), extractor, reading=READING, live=settings, screen=None, subtitles=None,
                   on_caption=lambda *_: None)  # fmt: skip
    taken, when = np.array(seen).T
    # Two wait and one is looked at, for as long as a picture takes; if none were dropped, some fifty would wait.
    assert np.median(when - taken) < 6 * np.median(np.diff(when))


def test_in_place_of_a_dropped_frame_stands_the_nearest():
    stream = frames(1, lambda second: (True, True))
    left = [frame for n, frame in enumerate(stream) if n not in (2, 3, 7)]
    assert [round(one.seconds * 10) for one in evenly(left, 10)] == [0, 1, 1, 4, 4, 5, 6, 6, 8, 9]
    assert list(evenly(stream, 10)) == stream


# ---------------------------------------------------------------- memory


def test_the_frames_in_memory_are_bounded_however_long_it_goes_on(monkeypatch):
    alive, most = 0, 0
    keep = live.keep_model_crops

    def gone():
        nonlocal alive
        alive -= 1

    def counted(frame, streams):
        nonlocal alive, most
        made = keep(frame, streams)
        weakref.finalize(made, gone)
        alive += 1
        most = max(most, alive)
        return made

    monkeypatch.setattr(live, "keep_model_crops", counted)
    # signing without end, at 30 frames/s, as fast as they can be taken: cut every 2 s of their own time
    settings = replace(LIVE, queue=2)
    reading = replace(READING, segmentation=replace(SEGMENTATION, max_seconds=2))
    result, said = run(Source(3000, fps=30, speed=60), Spy(), reading=reading, settings=settings)
    assert result.frames + result.dropped == 3000
    assert sum(not partial for _, partial in said) > 10
    # one segment grows, two wait, one is at work, and a partial one shares its frames with the first
    assert most <= 30 * 2 * 5
    assert most < result.frames


def segment(number):
    crops = {"face": np.zeros((8, 8, 3), np.uint8)}
    stream = [replace(frame, crops=crops) for frame in frames(0.5, lambda second: (True, True))]
    return Segment(tuple(stream), 0.0, 0.5, 0.5, number)


@pytest.fixture
def translating():
    spy = Spy()
    spy.hold.clear()
    made = TranslationThread(spy, fps=10, search=SEARCH, latency=live.Latency())
    yield made, spy
    spy.hold.set()
    made.stop()


def test_no_more_segments_wait_for_their_translation_than_memory_is_meant_for(translating):
    made, spy = translating
    done = []
    asked = [segment(n) for n in range(live.WAITING + 3)]
    thread = threading.Thread(target=lambda: [done.append(made.submit_final(one)) for one in asked], daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while len(done) < live.WAITING + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    thread.join(0.3)
    assert thread.is_alive()
    assert len(done) == live.WAITING + 1  # one is at work
    assert not made.submit_partial(segment(9).frames, 9)
    spy.hold.set()
    thread.join(60)
    made.finish()
    said = [made.done.get_nowait() for _ in range(live.WAITING + 3)]
    assert [(one.segment.number, one.partial) for one in said] == [(n, False) for n in range(live.WAITING + 3)]


def test_a_partial_translation_that_has_not_begun_gives_way_to_the_final_one(translating):
    made, spy = translating
    made.submit_final(segment(0))
    deadline = time.monotonic() + 60
    while made._ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not made.submit_partial(segment(1).frames, 1)  # busy
    spy.hold.set()
    made.finish()
    spy.hold.clear()
    assert made.submit_partial(segment(1).frames, 1)
    assert not made.submit_partial(segment(1).frames, 1)
    made.submit_final(segment(1))
    spy.hold.set()
    made.finish()
    said = []
    while not made.done.empty():
        said.append(made.done.get_nowait())
    assert [one.segment.number for one in said if not one.partial] == [0, 1]


# ---------------------------------------------------------------- how it ends


def test_a_closed_screen_ends_it_and_what_was_being_signed_is_still_said(monkeypatch, tmp_path):
    screen = Screen(monkeypatch, until=20)
    threads = threading.active_count()
    record = tmp_path / "a.mp4"
    result, said = run(Source(10_000, speed=4), Spy(), screen=screen, settings=replace(LIVE, record=record))
    assert len(screen.texts) == 20
    assert [partial for _, partial in said][-1] is False
    assert result.frames == 20
    assert threading.active_count() == threads
    assert pictures(record) == 20


def test_an_interrupt_ends_it_in_order():
    class Interrupting(SigningLandmarker):
        def find(self, seconds, picture):
            if seconds >= 2:
                raise KeyboardInterrupt
            return super().find(seconds, picture)

    result, said = run(Source(100, speed=4), Spy(), landmarker=Interrupting())
    assert said[-1][1] is False
    assert result.frames < 21


def test_a_camera_that_fails_is_told_and_what_was_recorded_can_be_played(monkeypatch, tmp_path):
    threads = threading.active_count()
    with pytest.raises(ValueError, match="gives no more pictures"):
        run(Source(100, speed=4, fail=30), Spy(), settings=replace(LIVE, record=tmp_path / "a.mp4"))
    assert pictures(tmp_path / "a.mp4") == 28  # the smoothing still held two
    assert threading.active_count() == threads


def test_a_translator_that_fails_is_told_where_it_was_asked():
    class Failing(Spy):
        def write(self, encoded, **search):
            raise ValueError("nbest above num_beams")

    threads = threading.active_count()
    with pytest.raises(ValueError, match="nbest above"):
        run(Source(200, speed=4), Failing())
    assert threading.active_count() == threads


def test_pictures_that_change_their_size_are_refused():
    source = Source(30, speed=10)
    shots = source.shots
    source.shots = lambda stop, ready: (
        shot._replace(picture=shot.picture[: 60 if shot.seconds > 1 else 80]) for shot in shots(stop, ready)
    )
    with pytest.raises(ValueError, match=r"numbers: pictures of \(100, 80\) became \(100, 60\)"):
        run(source, Spy())


def test_a_recording_has_every_frame_at_its_time_and_the_panel_where_it_is_asked_for(monkeypatch, tmp_path):
    screen = Screen(monkeypatch)  # only to see what is drawn
    settings = replace(LIVE, panel=True, record=tmp_path / "a.mp4")
    result, _ = run(Source(30, speed=2), Spy(), settings=settings)
    assert pictures(tmp_path / "a.mp4") == result.frames == 30
    assert all(text.panel for text in screen.texts)


def pictures(path):
    """How many pictures a film has, each after the one before it."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        times = [frame.time for frame in container.decode(video=0)]
    assert times == sorted(set(times))
    return len(times)


def test_what_is_counted_can_be_written_down():
    result, _ = run(Source(10, speed=10), Spy())
    assert json.loads(json.dumps(result.latency.milliseconds()))["landmarks"][0] == 10
