"""Live pictures to sentences while signing goes on: capture, landmarks and translation each in a thread of its own.

What is too much is dropped in one place, between capture and landmarks, the oldest first, and counted: pictures there
wait in a queue of one or two, so that what is seen is what is happening. n frames of a segment.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from slt.extraction.geometry import Box
from slt.extraction.regions import Extractor, Regions
from slt.extraction.video import Picture, sample
from slt.inference.films import MARKED, translate_frames
from slt.inference.latency import CAPTION, Latency, timed_stream
from slt.inference.onnx import SentenceTranslator
from slt.inference.overlay import Found, Overlay, Text
from slt.inference.recorder import Recorder
from slt.inference.segments import Segment, Segmentation, Segmenter, lighten
from slt.inference.sources import LiveSource, Shot
from slt.inference.subtitles import Caption, SubtitleFiles, clock
from slt.streams.pose import shoulders_seen

Item = TypeVar("Item")

# Segments that may wait for their translation. When so many do, landmarks wait too, and pictures are dropped: those are
# counted, and memory stays bounded.
WAITING = 2
# A sentence stays on show for so long, and for so much longer per letter.
SHOWN_SECONDS, SHOWN_PER_LETTER = 2.0, 0.06
# Captions that a result remembers; all of them are in the subtitles.
REMEMBERED = 1000
# The panel's numbers are read off by people.
PANEL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """How live pictures are cut and translated.

    Attributes:
        segmentation: where sentences begin and end.
        whole: take all for signing, see `Segmenter`.
        search: keywords of `SentenceTranslator.write`.
        partial_seconds: so often a running segment is translated as far as it is; 0 = never.
        queue: pictures that may wait for their landmarks; of more the oldest is dropped.
        box: where the signer is, for an extractor that is told so; pixels.
        panel: draw the latency panel where no screen has a say in that.
    """

    segmentation: Segmentation
    whole: bool
    search: Mapping[str, Any]
    partial_seconds: float
    queue: int
    box: Box | None
    panel: bool


class Screen(Protocol):
    """What shows pictures."""

    panel: bool

    def show(self, picture: Picture) -> bool:
        """Show an RGB picture (H, W, 3); return whether to go on."""


@dataclass(frozen=True)
class LiveResult:
    """What came of a live translation.

    Attributes:
        captions: the last thousand.
        captured: frames that the source gave.
        frames: of these, that were extracted.
        dropped: that were not, because the machine was too slow. Where the source ended by itself, the two together
            are all; where it was stopped, some were still on their way.
        latency: what each stage took.
    """

    captions: list[Caption]
    captured: int
    frames: int
    dropped: int
    latency: Latency


def translate_live(
    source: LiveSource,
    translator: SentenceTranslator,
    extractor: Extractor,
    *,
    settings: LiveSettings,
    screen: Screen | None,
    record: Path | None,
    subtitles: SubtitleFiles | None,
    on_caption: Callable[[Caption, bool], None],
) -> LiveResult:
    """Translate until the source ends, the screen is closed or the user interrupts; memory does not grow with time.

    Args:
        source: gives pictures at its own pace.
        translator: what turns frames into sentences.
        extractor: with the settings of the one behind the training clips.
        settings: see `LiveSettings`.
        screen: shows each picture; None = nobody looks.
        record: film to write of what would be shown; None = none.
        subtitles: take each final caption.
        on_caption: takes each caption and whether it is partial, in the thread that calls this.

    Raises:
        ValueError: the source fails, or a picture has another size than the first.
    """
    latency = Latency()
    signer = extractor.find_signer(source.pictures, duration=source.look_seconds, box=settings.box)
    stop, ready = threading.Event(), threading.Event()
    box: Mailbox[Shot] = Mailbox(settings.queue)
    with ExitStack() as stack:
        interpreter = Interpreter(translator, fps=source.fps, search=settings.search, latency=latency)
        stack.callback(interpreter.stop)
        capture = threading.Thread(target=_capture, args=(source, box, stop, ready, latency), daemon=True)
        stack.callback(_join, capture)
        stack.callback(ready.set)
        stack.callback(stop.set)
        view = stack.enter_context(_View(source, translator, latency, screen, record, panel=settings.panel))
        session = _Session(settings, source, translator, interpreter, latency, view, subtitles, on_caption)
        capture.start()
        taken: deque[Shot] = deque()
        frames = _taken(box, taken, ready, latency)
        try:
            with closing(timed_stream(extractor, frames, fps=source.fps, signer=signer, latency=latency)) as stream:
                for regions in stream:
                    shot = taken.popleft()
                    assert shot.seconds == regions.seconds
                    if not session.step(regions, shot):
                        break
        except KeyboardInterrupt:
            pass
        stop.set()
        session.close()
    latency.dropped = box.dropped
    return LiveResult(list(session.captions), box.count, latency.frames, box.dropped, latency)


def _join(thread: threading.Thread) -> None:
    if thread.ident is not None:
        thread.join(10.0)  # a camera that hangs is left to end with the process


def _capture(
    source: LiveSource, box: Mailbox[Shot], stop: threading.Event, ready: threading.Event, latency: Latency
) -> None:
    try:
        for shot in source.shots(stop, ready):
            latency.add("decode", shot.decoding)
            box.put(shot)
    except BaseException as error:  # told in the thread that takes out
        box.close(error)
    else:
        box.close(None)


def _taken(
    box: Mailbox[Shot], taken: deque[Shot], ready: threading.Event, latency: Latency
) -> Iterator[tuple[float, Picture]]:
    """Give the pictures to the extractor, and keep those that it has not given back."""
    for shot in box:
        latency.dropped = box.dropped
        taken.append(shot)
        yield shot.seconds, shot.picture
        ready.set()  # the first has been through: all graphs are open, which takes longer than a frame


class Mailbox(Generic[Item]):
    """What one thread gives another: at most `length` items wait, and of more the oldest is dropped and counted.

    Attributes:
        count: items that were put in.
        dropped: of these, that nobody took.
    """

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"queue={length}: expected at least 1")
        self.length, self.count, self.dropped = length, 0, 0
        self._items: deque[Item] = deque()
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Put an item in, at once."""
        with self._changed:
            if len(self._items) == self.length:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self.count += 1
            self._changed.notify()

    def close(self, error: BaseException | None) -> None:
        """Say that nothing more comes, or that it ended by an error."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify()

    def __iter__(self) -> Iterator[Item]:
        """Take items out until it is closed and empty.

        Raises:
            Exception: what `close` was told.
        """
        while True:
            with self._changed:
                while not self._items and not self._closed:
                    self._changed.wait()
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
            yield item


@dataclass(frozen=True)
class Said:
    """A translation that came back.

    Attributes:
        number: of the segment.
        caption: its sentences.
        partial: the segment went on.
        moved: seconds at which its last motion was.
    """

    number: int
    caption: Caption
    partial: bool
    moved: float


class Interpreter:
    """Translates in a thread of its own, ended segments first; what has not begun of a running one is replaced.

    Args:
        translator: what it asks.
        fps: frames a second of the source.
        search: keywords of `SentenceTranslator.write`.
        latency: counts encoder and decoder.

    Attributes:
        said: what came back.
    """

    def __init__(
        self, translator: SentenceTranslator, *, fps: float, search: Mapping[str, Any], latency: Latency
    ) -> None:
        self.said: SimpleQueue[Said] = SimpleQueue()
        self._translator, self._fps, self._search, self._latency = translator, fps, search, latency
        self._ended: deque[Segment] = deque()
        self._running: Segment | None = None
        self._busy = self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="interpreter", daemon=True)
        self._thread.start()

    def partial(self, frames: Sequence[Regions], number: int) -> bool:
        """Ask for a running segment as far as it is; return False where the last answer is still awaited."""
        with self._changed:
            self._raise()
            if self._busy or self._ended or self._running is not None or not frames:
                return False
            end = frames[-1].seconds
            self._running = Segment(tuple(frames), frames[0].seconds, end, end, number)
            self._changed.notify_all()
            return True

    def final(self, segment: Segment) -> None:
        """Ask for a segment that has ended; waits while many others do."""
        with self._changed:
            while len(self._ended) >= WAITING and self._error is None and not self._stopped:
                self._changed.wait()
            self._raise()
            self._running = None
            self._ended.append(segment)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all is said."""
        with self._changed:
            self._running = None
            while (self._ended or self._busy) and self._error is None and not self._stopped:
                self._changed.wait()
            self._raise()

    def stop(self) -> None:
        """End the thread, after what it is at."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
                    while not (self._ended or self._running or self._stopped):
                        self._changed.wait()
                    if self._stopped:
                        return
                    self._busy = True
                    partial = not self._ended
                    segment = self._running if partial else self._ended.popleft()
                    self._running = None if partial else self._running
                    self._changed.notify_all()  # there is room for one more
                assert segment is not None
                frames = evenly(segment.frames, self._fps)
                found = translate_frames(
                    frames, self._translator, fps=self._fps, search=self._search, latency=self._latency
                )
                caption = Caption(segment.start, segment.end, found)
                self.said.put(Said(segment.number, caption, partial, segment.moved))
        except BaseException as error:  # told in the thread that asks
            with self._changed:
                self._error, self._busy = error, False
                self._changed.notify_all()


def evenly(frames: Sequence[Regions], fps: float) -> list[Regions]:
    """Return n frames at an even rate: in place of one that was dropped, or came late, stands the nearest in time.

    A model knows signing at the pace of its training clips, where frames are evenly spaced.
    """
    timed = ((frame.seconds, frame) for frame in frames)
    return [frame for _, frame in sample(timed, fps=fps, last_duration=1 / fps)]


class _Session:
    """One live translation: frames in, captions out.

    Attributes:
        captions: the last ones.
    """

    def __init__(
        self,
        settings: LiveSettings,
        source: LiveSource,
        translator: SentenceTranslator,
        interpreter: Interpreter,
        latency: Latency,
        view: _View,
        subtitles: SubtitleFiles | None,
        on_caption: Callable[[Caption, bool], None],
    ) -> None:
        self.captions: deque[Caption] = deque(maxlen=REMEMBERED)
        self._settings, self._streams = settings, translator.streams
        self._segmenter = Segmenter(settings.segmentation, fps=source.fps, whole=settings.whole)
        self._interpreter, self._latency, self._view = interpreter, latency, view
        self._subtitles, self._on_caption = subtitles, on_caption
        self._asked = 0.0
        self._origin = 0.0
        self._said = -1  # number of the last segment that was said to its end

    def step(self, regions: Regions, shot: Shot) -> bool:
        """Take the next frame; return whether to go on."""
        self._origin = shot.taken - shot.seconds
        was = self._segmenter.signing
        segment = self._segmenter.add(lighten(regions, self._streams))
        if segment is not None:
            self._interpreter.final(segment)
        elif was and not self._segmenter.signing:
            self._view.retract()  # too short to be a sentence
        if self._segmenter.signing and not was:
            self._asked = regions.seconds
        every = self._settings.partial_seconds
        due = every > 0 and self._segmenter.signing and regions.seconds - self._asked >= every - 1e-6
        if due and self._interpreter.partial(self._segmenter.running, self._segmenter.number):
            self._asked = regions.seconds
        self._hear()
        return self._view.frame(regions, shot, signing=self._segmenter.signing)

    def close(self) -> None:
        """End the last segment and wait for what is still to be said."""
        segment = self._segmenter.close()
        if segment is not None:
            self._interpreter.final(segment)
        self._interpreter.finish()
        self._hear()

    def _hear(self) -> None:
        while True:
            try:
                said = self._interpreter.said.get_nowait()
            except Empty:
                return
            if said.partial and said.number < self._segmenter.number:
                continue  # it has ended meanwhile, and its last word comes
            self._view.say(said.caption.text, partial=said.partial)
            self._on_caption(said.caption, said.partial)
            if not said.partial:
                self._latency.add(CAPTION, time.perf_counter() - self._origin - said.moved)
                self.captions.append(said.caption)
                if self._subtitles is not None:
                    self._subtitles.add(said.caption)


class _View:
    """Draws what is live for a screen and a recording; where there is neither, nothing is drawn."""

    def __init__(
        self,
        source: LiveSource,
        translator: SentenceTranslator,
        latency: Latency,
        screen: Screen | None,
        record: Path | None,
        *,
        panel: bool,
    ) -> None:
        self._source, self._latency, self._screen, self._record = source, latency, screen, record
        self._names = [stream.name for stream in translator.streams]
        self._overlay: Overlay | None = None
        self._size: tuple[int, int] | None = None
        self._recorder: Recorder | None = None
        self._sentence, self._partial, self._until = "", False, 0.0
        self._with_panel = panel
        self._panel: list[str] = []
        self._counted = -PANEL_SECONDS

    def say(self, sentence: str, *, partial: bool) -> None:
        """Put a sentence on show."""
        self._sentence, self._partial = sentence, partial
        shown = SHOWN_SECONDS + SHOWN_PER_LETTER * len(sentence)
        self._until = float("inf") if partial else time.perf_counter() + shown

    def retract(self) -> None:
        """Take a partial sentence back."""
        if self._partial:
            self._sentence = ""

    def frame(self, regions: Regions, shot: Shot, *, signing: bool) -> bool:
        """Draw a frame, show and record it; return whether to go on."""
        if self._size not in (None, regions.size):
            raise ValueError(f"source={self._source.name}: pictures of {self._size} became {regions.size}; start again")
        self._size = regions.size
        if self._screen is None and self._record is None:
            return True
        with self._latency.timed("draw"):
            drawn = self._draw(regions, shot, signing)
        if self._recorder is not None:
            self._recorder.write(shot.seconds, drawn)
        return self._screen is None or self._screen.show(drawn)

    def _draw(self, regions: Regions, shot: Shot, signing: bool) -> Picture:
        if self._overlay is None:
            self._overlay = Overlay(regions.size, MARKED, self._names)
            if self._record is not None:
                self._recorder = Recorder(self._record, size=self._overlay.size, fps=self._source.fps, live=True)
        now = time.perf_counter()
        if now > self._until:
            self._sentence = ""
        panel: Sequence[str] = ()
        if self._with_panel if self._screen is None else self._screen.panel:
            if now - self._counted >= PANEL_SECONDS:
                self._panel, self._counted = self._latency.lines(), now
            panel = self._panel
        marks = {**regions.marks, "pose": int(shoulders_seen(regions.points[None])[0])}
        state = "signing" if signing else "at rest"
        right = (f"{clock(shot.seconds)}  {state}",
                 f"{self._latency.rate:.1f} frames/s, {self._latency.dropped} dropped")  # fmt: skip
        text = Text(self._sentence, self._partial and bool(self._sentence), right, panel)
        return self._overlay.draw(shot.picture, Found(regions.points, regions.boxes, marks), text)

    def __enter__(self) -> _View:
        return self

    def __exit__(self, *_: object) -> None:
        if self._recorder is not None:
            self._recorder.close()
