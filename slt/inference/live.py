"""Live pictures to sentences while signing goes on: capture, landmarks and translation each in a thread of its own.

What is too much is dropped in one place, between capture and landmarks, the oldest first, and counted: pictures there
wait in a queue of one or two, so that what is seen is what is happening. n frames of a segment.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from slt.extraction.regions import Extractor, Regions
from slt.extraction.video import Picture, sample
from slt.inference.latency import CAPTION, Latency
from slt.inference.onnx import SentenceTranslator
from slt.inference.segments import Segment
from slt.inference.session import Reading, Session
from slt.inference.sources import Shot, Source
from slt.inference.subtitles import Caption, Subtitles
from slt.inference.view import Screen, View

Item = TypeVar("Item")

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
    """What came of a live translation."""

    captions: list[Caption]  # the last thousand
    # Frames that the source gave: where it ended by itself all were extracted or dropped, and where it was stopped some
    # were still on their way.
    captured: int
    latency: Latency


def translate_live(
    source: Source,
    translator: SentenceTranslator,
    extractor: Extractor,
    *,
    reading: Reading,
    live: Live,
    screen: Screen | None,  # shows each picture; None = nobody looks
    subtitles: Subtitles | None,  # take each final caption
    on_caption: Callable[[Caption, bool], None],  # takes each caption and whether it is partial, in the caller's thread
) -> LiveResult:
    """Translate until the source ends, the screen is closed or the user interrupts; memory does not grow with time."""
    session = Session(translator, extractor, reading, source)
    latency = session.latency
    stop, ready = threading.Event(), threading.Event()
    queue: Mailbox[Shot] = Mailbox(live.queue)
    pending: deque[Shot] = deque()
    with ExitStack() as stack:
        view = View(source, session, screen, stack, panel=live.panel, record=live.record)
        speaker = Speaker(session, view, live.partial_seconds, subtitles, on_caption)
        stack.callback(speaker.pool.shutdown, cancel_futures=True)
        stack.enter_context(_capturing(source, queue, stop, ready, latency))
        try:
            for regions in session.regions(_feed_extractor(queue, pending, ready, latency)):
                shot = pending.popleft()
                assert shot.seconds == regions.seconds
                if not speaker.step(regions, shot):
                    break
        except KeyboardInterrupt:
            pass
        stop.set()
        speaker.finish()
    latency.dropped = queue.dropped
    return LiveResult(list(speaker.captions), queue.count, latency)


class Mailbox(Generic[Item]):
    """At most `length` items wait, and of more the oldest is dropped and counted."""

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"queue={length}: expected at least 1")
        self.count = 0  # items that were put in
        self.dropped = 0  # of these, that nobody took
        self._items: deque[Item] = deque(maxlen=length)
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Put an item in, at once."""
        with self._changed:
            self.dropped += len(self._items) == self._items.maxlen
            self._items.append(item)
            self.count += 1
            self._changed.notify()

    def close(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes, or that it ended by an error, which whoever takes out is told."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> Item | None:
        """Take an item out; None where it is closed and empty, or nothing came for `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout)
            if self._items:
                return self._items.popleft()
            if self._error is not None:
                raise self._error
            return None

    def __iter__(self) -> Iterator[Item]:
        while (item := self.take()) is not None:
            yield item


@contextmanager
def _capturing(
    source: Source, queue: Mailbox[Shot], stop: threading.Event, ready: threading.Event, latency: Latency
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


def evenly(frames: Sequence[Regions], fps: float) -> tuple[Regions, ...]:
    """Return n frames at an even rate: in place of one that was dropped, or came late, stands the nearest in time.

    A model knows signing at the pace of its training clips, where frames are evenly spaced.
    """
    timed = ((frame.seconds, frame) for frame in frames)
    return tuple(frame for _, frame in sample(timed, fps=fps, last_duration=1 / fps))


class Speaker:
    """Has segments translated one after the other in the thread of its `pool`, and says what comes back."""

    def __init__(
        self,
        session: Session,
        view: View,
        partial_seconds: float,
        subtitles: Subtitles | None,
        on_caption: Callable[[Caption, bool], None],
    ) -> None:
        self.captions: deque[Caption] = deque(maxlen=REMEMBERED)
        self.pool = ThreadPoolExecutor(1, "translation")
        self._session, self._view, self._every = session, view, partial_seconds
        self._subtitles, self._on_caption = subtitles, on_caption
        self._awaited: deque[tuple[Segment, bool, Future[Caption]]] = deque()  # with whether it is partial
        self._asked = 0.0  # second at which the running segment was last asked for
        self._origin = 0.0

    def step(self, regions: Regions, shot: Shot) -> bool:
        """Take the next frame; return whether to go on."""
        self._origin = shot.taken - shot.seconds
        segmenter = self._session.segmenter
        was = segmenter.signing
        segment = self._session.add(regions)
        if segment is not None:
            self.ask(segment, partial=False)
        elif was and not segmenter.signing:
            self._view.retract()  # too short to be a sentence
        if segmenter.signing and not was:
            self._asked = regions.seconds
        self._hear()
        due = self._every > 0 and regions.seconds - self._asked >= self._every - 1e-6
        if due and not self._awaited and (running := tuple(segmenter.running)):
            end = regions.seconds
            self.ask(Segment(running, running[0].seconds, end, end, segmenter.number), partial=True)
            self._asked = end
        return self._view.frame(regions, shot, signing=segmenter.signing)

    def finish(self) -> None:
        """End the last segment and wait for what is still to be said."""
        segment = self._session.close()
        if segment is not None:
            self.ask(segment, partial=False)
        self._hear(to_the_end=True)

    def ask(self, segment: Segment, *, partial: bool) -> None:
        """Have a segment translated; waits while many others do."""
        wait([future for *_, future in self._awaited][:-WAITING])
        self._awaited.append((segment, partial, self.pool.submit(self._translate, segment, partial)))

    def _translate(self, segment: Segment, partial: bool) -> Caption:
        even = replace(segment, frames=evenly(segment.frames, self._session.fps))
        return self._session.translate(even, partial=partial)

    def _hear(self, *, to_the_end: bool = False) -> None:
        while self._awaited and (to_the_end or self._awaited[0][2].done()):
            segment, partial, future = self._awaited.popleft()
            caption = future.result()
            if partial and segment.number < self._session.segmenter.number:
                continue  # it has ended meanwhile, and its last word comes
            self._view.say(caption.shown, partial=partial)
            self._on_caption(caption, partial)
            if not partial:
                self._session.latency.add(CAPTION, time.perf_counter() - self._origin - segment.moved)
                self.captions.append(caption)
                if self._subtitles is not None:
                    self._subtitles.add(caption)
