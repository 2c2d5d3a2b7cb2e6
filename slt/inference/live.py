"""Live pictures to sentences while signing goes on: capture, landmarks and translation each in a thread of its own.

What is too much is dropped in one place, between capture and landmarks, the oldest first, and counted: pictures there
wait in a queue of one or two, so that what is seen is what is happening. n frames of a segment.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from slt.extraction.regions import Extractor, Regions
from slt.extraction.video import Picture, sample
from slt.inference.films import Reading, translate_segment
from slt.inference.latency import CAPTION, Latency
from slt.inference.mailbox import Mailbox
from slt.inference.onnx import SentenceTranslator
from slt.inference.segments import Segment, Segmenter, keep_model_crops
from slt.inference.sources import LiveSource, PacedFilm, Shot
from slt.inference.subtitles import Caption, SubtitleFiles
from slt.inference.view import Screen, View

# Segments that may wait for their translation. When so many do, landmarks wait too, and pictures are dropped: those are
# counted, and memory stays bounded.
WAITING = 2
# Captions that a result remembers; all of them are in the subtitles.
REMEMBERED = 1000


@dataclass(frozen=True, kw_only=True)
class Live:
    """How a live source is translated and shown."""

    partial_seconds: float  # so often a running segment is translated as far as it is; 0 = never
    queue: int  # pictures that may wait for their landmarks; of more the oldest is dropped
    headless: bool  # open no window
    panel: bool  # show the latency panel from the start; without a window, always
    record: Path | None  # film to write of what the window shows, or would show

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Live:
        """Return what the keys of `conf/demo.yaml` say."""
        same = {key: keys[key] for key in ("partial_seconds", "queue", "headless", "panel")}
        return cls(**same, record=None if keys["record"] is None else Path(keys["record"]))


@dataclass(frozen=True)
class LiveResult:
    """What came of a live translation.

    Where the source ended by itself, `frames` and `dropped` together are all that was captured; where it was stopped,
    some were still on their way.
    """

    captions: list[Caption]  # the last thousand
    captured: int  # frames that the source gave
    frames: int  # of these, that were extracted
    dropped: int  # that were not, because the machine was too slow
    latency: Latency


def translate_live(
    source: LiveSource,
    translator: SentenceTranslator,
    extractor: Extractor,
    *,
    reading: Reading,
    live: Live,
    screen: Screen | None,
    subtitles: SubtitleFiles | None,
    on_caption: Callable[[Caption, bool], None],
) -> LiveResult:
    """Translate until the source ends, the screen is closed or the user interrupts; memory does not grow with time.

    Args:
        source: gives pictures at its own pace; a film is cut as the same film that is not live.
        screen: shows each picture; None = nobody looks.
        subtitles: take each final caption.
        on_caption: takes each caption and whether it is partial, in the thread that calls this.

    Raises:
        ValueError: the source fails, or a picture has another size than the first.
    """
    latency = Latency()
    path = source.path if isinstance(source, PacedFilm) else None
    segmentation, whole = reading.cutting(path, source.look_seconds)
    signer = extractor.find_signer(source.pictures, duration=source.look_seconds, box=reading.box)
    stop, ready = threading.Event(), threading.Event()
    queue: Mailbox[Shot] = Mailbox(live.queue)
    pending: deque[Shot] = deque()
    with ExitStack() as stack:
        thread = TranslationThread(translator, fps=source.fps, search=reading.search, latency=latency)
        stack.callback(thread.stop)
        stack.enter_context(_capturing(source, queue, stop, ready, latency))
        view = stack.enter_context(View(source, translator.streams, latency, screen, live.record, panel=live.panel))
        segmenter = Segmenter(segmentation, fps=source.fps, whole=whole)
        session = Session(segmenter, thread, view, live.partial_seconds, subtitles, on_caption)
        try:
            frames = _feed_extractor(queue, pending, ready, latency)
            for regions in extractor.stream(frames, fps=source.fps, signer=signer):
                latency.frame(regions.took)
                shot = pending.popleft()
                assert shot.seconds == regions.seconds
                if not session.step(keep_model_crops(regions, translator.streams), shot):
                    break
        except KeyboardInterrupt:
            pass
        stop.set()
        session.close()
    latency.dropped = queue.dropped
    return LiveResult(list(session.captions), queue.count, latency.frames, queue.dropped, latency)


@contextmanager
def _capturing(
    source: LiveSource, queue: Mailbox[Shot], stop: threading.Event, ready: threading.Event, latency: Latency
) -> Iterator[None]:
    """Put the source's pictures into the queue, in a thread of its own, until the body of the `with` is left."""

    def capture() -> None:
        try:
            for shot in source.shots(stop, ready):
                latency.add("decode", shot.decoding)
                queue.put(shot)
        except BaseException as error:  # told in the thread that takes out
            queue.close(error)
        else:
            queue.close()

    thread = threading.Thread(target=capture, name="capture", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        ready.set()
        thread.join(10.0)  # a camera that hangs is left to end with the process


def _feed_extractor(
    queue: Mailbox[Shot], pending: deque[Shot], ready: threading.Event, latency: Latency
) -> Iterator[tuple[float, Picture]]:
    """Give the pictures to the extractor, and keep in `pending` those that it has not given back."""
    for shot in queue:
        latency.dropped = queue.dropped
        pending.append(shot)
        yield shot.seconds, shot.picture
        ready.set()  # the first has been through: all graphs are open, which takes longer than a frame


@dataclass(frozen=True)
class Translation:
    """A translation that came back."""

    segment: Segment
    caption: Caption
    partial: bool  # the segment went on


class TranslationThread:
    """Translates in a thread of its own, ended segments first; what has not begun of a running one is replaced."""

    def __init__(
        self, translator: SentenceTranslator, *, fps: float, search: Mapping[str, Any], latency: Latency
    ) -> None:
        self.done: SimpleQueue[Translation] = SimpleQueue()
        self.latency = latency
        self._translator, self._fps, self._search = translator, fps, search
        self._ended: deque[Segment] = deque()
        self._running: Segment | None = None
        self._busy = self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="translation", daemon=True)
        self._thread.start()

    def submit_partial(self, frames: Sequence[Regions], number: int) -> bool:
        """Ask for a running segment as far as it is; return False where the last answer is still awaited."""
        with self._changed:
            self._raise()
            if self._busy or self._ended or self._running is not None or not frames:
                return False
            end = frames[-1].seconds
            self._running = Segment(tuple(frames), frames[0].seconds, end, end, number)
            self._changed.notify_all()
            return True

    def submit_final(self, segment: Segment) -> None:
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
                caption = translate_segment(
                    replace(segment, frames=evenly(segment.frames, self._fps)), self._translator, fps=self._fps,
                    search=self._search, latency=self.latency,
                )  # fmt: skip
                self.done.put(Translation(segment, caption, partial))
        except BaseException as error:  # told in the thread that asks
            with self._changed:
                self._error, self._busy = error, False
                self._changed.notify_all()


def evenly(frames: Sequence[Regions], fps: float) -> tuple[Regions, ...]:
    """Return n frames at an even rate: in place of one that was dropped, or came late, stands the nearest in time.

    A model knows signing at the pace of its training clips, where frames are evenly spaced.
    """
    timed = ((frame.seconds, frame) for frame in frames)
    return tuple(frame for _, frame in sample(timed, fps=fps, last_duration=1 / fps))


class Session:
    """One live translation: frames in, captions out."""

    def __init__(
        self,
        segmenter: Segmenter,
        thread: TranslationThread,
        view: View,
        partial_seconds: float,
        subtitles: SubtitleFiles | None,
        on_caption: Callable[[Caption, bool], None],
    ) -> None:
        self.captions: deque[Caption] = deque(maxlen=REMEMBERED)
        self._segmenter, self._thread, self._view, self._every = segmenter, thread, view, partial_seconds
        self._subtitles, self._on_caption = subtitles, on_caption
        self._asked = 0.0
        self._origin = 0.0

    def step(self, regions: Regions, shot: Shot) -> bool:
        """Take the next frame; return whether to go on."""
        self._origin = shot.taken - shot.seconds
        was = self._segmenter.signing
        segment = self._segmenter.add(regions)
        if segment is not None:
            self._thread.submit_final(segment)
        elif was and not self._segmenter.signing:
            self._view.retract()  # too short to be a sentence
        if self._segmenter.signing and not was:
            self._asked = regions.seconds
        due = self._every > 0 and self._segmenter.signing and regions.seconds - self._asked >= self._every - 1e-6
        if due and self._thread.submit_partial(self._segmenter.running, self._segmenter.number):
            self._asked = regions.seconds
        self._hear()
        return self._view.frame(regions, shot, signing=self._segmenter.signing)

    def close(self) -> None:
        """End the last segment and wait for what is still to be said."""
        segment = self._segmenter.close()
        if segment is not None:
            self._thread.submit_final(segment)
        self._thread.finish()
        self._hear()

    def _hear(self) -> None:
        while True:
            try:
                done = self._thread.done.get_nowait()
            except Empty:
                return
            if done.partial and done.segment.number < self._segmenter.number:
                continue  # it has ended meanwhile, and its last word comes
            self._view.say(done.caption.text, partial=done.partial)
            self._on_caption(done.caption, done.partial)
            if not done.partial:
                self._thread.latency.add(CAPTION, time.perf_counter() - self._origin - done.segment.moved)
                self.captions.append(done.caption)
                if self._subtitles is not None:
                    self._subtitles.add(done.caption)
