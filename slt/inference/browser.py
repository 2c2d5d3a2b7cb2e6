"""A visitor's camera: pictures that a browser sends go through the live path, drawn ones and captions come back.

H and W are a picture's height and width.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from slt.extraction.regions import Extractor
from slt.extraction.video import Picture
from slt.inference.films import FilmSettings
from slt.inference.live import LiveSettings, translate_live
from slt.inference.onnx import SentenceTranslator
from slt.inference.sources import LOOK_SECONDS, Shot
from slt.inference.subtitles import Caption

log = logging.getLogger(__name__)

# Pictures a second that a browser is asked for: each is a request of its own.
SENT_FPS = 10.0
# A camera that is silent for so long has been switched off; those who wait for the extractor are let in.
SILENCE = 4.0
# As in conf/demo.yaml, for windows: how often a running sentence is shown, and pictures that may wait.
PARTIAL_SECONDS, QUEUE = 1.0, 2
# Final captions on show.
SHOWN = 5
QUALITY = 80


class BrowserCamera:
    """A live source of pictures that are put in.

    Args:
        fps: frames a second, nominally.
    """

    def __init__(self, *, fps: float) -> None:
        self.name, self.fps, self.look_seconds = "camera", fps, LOOK_SECONDS
        self._pictures: deque[tuple[float, Picture]] = deque(maxlen=QUEUE)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, picture: Picture) -> None:
        """Put the newest RGB picture (H, W, 3) in."""
        with self._changed:
            self._pictures.append((time.perf_counter(), picture))
            self._changed.notify()

    def pictures(self, seconds: Sequence[float]) -> Iterator[tuple[float, Picture]]:
        """Watch, and give the pictures at some seconds from now."""
        begin = time.perf_counter()
        for second in seconds:
            while (shot := self._take()) is not None and shot[0] - begin < second:
                pass
            if shot is None:
                return
            yield shot[0] - begin, shot[1]

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give pictures until `stop` is set or none come any more."""
        origin: float | None = None
        last = -1.0
        while not stop.is_set() and (shot := self._take()) is not None:
            origin = shot[0] if origin is None else origin
            seconds = shot[0] - origin
            if seconds < last + 0.25 / self.fps:  # requests overtake each other; landmarkers want time to go on
                continue
            last = seconds
            yield Shot(seconds, shot[1], shot[0], 0.0)
            if not ready.is_set():
                ready.wait()
                origin = time.perf_counter()  # what came while the models were opened is past

    def close(self) -> None:
        """Take no more pictures."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self) -> tuple[float, Picture] | None:
        """Return the next picture and when it came; None where the camera is off."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._pictures or self._closed, SILENCE) or self._closed:
                return None
            return self._pictures.popleft()


class LiveVisit:
    """One visitor's live translation, in a thread of its own; as a `Screen` it keeps the last picture for the page.

    Args:
        translator: what turns frames into sentences.
        extractor: with the settings of the one behind the training clips.
        settings: how pictures are cut and translated.
        turn: held while the extractor is used.

    Attributes:
        state: "waiting", "looking", "on" or "over".
        error: what ended it, where it was an error.
        partial: the running sentence, as far as it is.
    """

    panel = False

    def __init__(
        self, translator: SentenceTranslator, extractor: Extractor, settings: FilmSettings, turn: threading.Lock
    ) -> None:
        self.state = "waiting"
        self.error: Exception | None = None
        self.partial: Caption | None = None
        self._captions: deque[Caption] = deque(maxlen=SHOWN)
        self._drawn = b""
        self._turn = turn
        self._camera = BrowserCamera(fps=SENT_FPS if settings.fps is None else min(SENT_FPS, settings.fps))
        self._arguments = (translator, extractor)
        self._settings = LiveSettings(
            segmentation=settings.segmentation, whole=False, search=settings.search, partial_seconds=PARTIAL_SECONDS,
            queue=QUEUE, box=settings.box, panel=False,
        )  # fmt: skip
        self._stopped = threading.Event()
        self.thread = threading.Thread(target=self._work, name="live", daemon=True)
        self.thread.start()

    def put(self, picture: Picture) -> None:
        """Take the next picture of the camera, RGB (H, W, 3)."""
        self._camera.put(np.ascontiguousarray(picture))

    def stop(self) -> None:
        """End it soon."""
        self._stopped.set()
        self._camera.close()

    @property
    def captions(self) -> list[Caption]:
        """Return the last final captions, the newest last."""
        return list(self._captions)

    @property
    def drawn(self) -> str:
        """Return the last drawn picture as a data URL, "" where there is none."""
        return f"data:image/jpeg;base64,{base64.b64encode(self._drawn).decode()}" if self._drawn else ""

    def show(self, picture: Picture) -> bool:
        """Keep a drawn picture; return whether to go on."""
        coded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        self._drawn = coded.tobytes()
        self.state = "on"
        return not self._stopped.is_set()

    def _hear(self, caption: Caption, partial: bool) -> None:
        if partial:
            self.partial = caption
        else:
            self.partial = None
            self._captions.append(replace(caption, hypotheses=caption.hypotheses[:1]))

    def _work(self) -> None:
        try:
            while not self._turn.acquire(timeout=0.2):
                if self._stopped.is_set():
                    return
            try:
                self.state = "looking"
                translate_live(
                    self._camera, *self._arguments, settings=self._settings, screen=self, record=None, subtitles=None,
                    on_caption=self._hear,
                )  # fmt: skip
            finally:
                self._turn.release()
        except (ValueError, OSError) as error:
            self.error = error
        except Exception as error:
            log.exception("a visitor's camera could not be translated")
            self.error = error
        finally:
            self.state = "over"
