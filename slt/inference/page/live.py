"""A visitor's camera: pictures that a browser sends go through the live path, drawn ones and captions come back."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from slt.extraction.video import Picture
from slt.inference.live import LiveResult, Mailbox
from slt.inference.page.line import Full, Line
from slt.inference.sources import LiveCamera
from slt.inference.subtitles import Caption

log = logging.getLogger(__name__)

# Pictures a second that a browser is asked for: each is a request of its own.
SENT_FPS = 10.0
# A camera that is silent for so long has been switched off; those who wait for the extractor are let in.
SILENCE = 4.0
# Final captions on show.
SHOWN = 5
QUALITY = 80


class BrowserCamera(LiveCamera):
    """A live source of pictures that are put in."""

    def __init__(self, *, fps: float, queue: int) -> None:
        super().__init__("camera", fps)
        self._pictures: Mailbox[tuple[float, Picture]] = Mailbox(queue)

    def put(self, picture: Picture) -> None:
        """Put the newest RGB picture (H, W, 3) in."""
        self._pictures.put((time.perf_counter(), np.ascontiguousarray(picture)))

    def close(self) -> None:
        self._pictures.close()

    def _grabs(self) -> Iterator[tuple[float, Callable[[], Picture]]]:
        while (shot := self._pictures.take(timeout=SILENCE)) is not None:
            taken, picture = shot
            yield taken, partial(np.asarray, picture)

    def _earliest(self, earliest: float, seconds: float) -> float:
        return seconds + 0.25 / self.fps  # requests overtake each other; landmarkers want time to go on


class LiveVisit:
    """One visitor's live translation, in a thread of its own; as a `Screen` it keeps the last picture for the page.

    `translate` is `translate_live` but for its source and who looks and hears; it stands in `line` until its turn.
    """

    panel = False

    def __init__(self, camera: BrowserCamera, translate: Callable[..., LiveResult], line: Line) -> None:
        self.camera, self._translate, self._line = camera, translate, line
        self.state = "waiting"  # then "looking", "on" and "over"
        self.place = (1, 1)  # in the queue while it waits, and how many wait
        self.error: Exception | None = None  # what ended it, where it was an error
        self.partial: Caption | None = None  # the running sentence, as far as it is
        self._captions: deque[Caption] = deque(maxlen=SHOWN)
        self._drawn = b""
        self._stopped = threading.Event()
        self.thread = threading.Thread(target=self._work, name="live", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End it soon."""
        self._stopped.set()
        self.camera.close()

    @property
    def captions(self) -> list[Caption]:
        """The last final captions, the newest last."""
        return list(self._captions)

    @property
    def drawn(self) -> str:
        """The last drawn picture as a data URL, "" where there is none."""
        return f"data:image/jpeg;base64,{base64.b64encode(self._drawn).decode()}" if self._drawn else ""

    def show(self, picture: Picture) -> bool:
        """Keep a drawn picture; return whether to go on."""
        coded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        self._drawn = coded.tobytes()
        self.state = "on"
        return not self._stopped.is_set()

    def _hear(self, caption: Caption, partial: bool) -> None:
        self.partial = caption if partial else None
        if not partial:
            kept = caption.hypotheses[:1] if caption.understood else caption.hypotheses
            self._captions.append(replace(caption, hypotheses=kept))

    def _work(self) -> None:
        try:
            with self._line.place() as place:
                while not place.wait(0.2):
                    self.place = (place.ahead, place.waiting)
                    if self._stopped.is_set():
                        return
                self.state = "looking"
                self._translate(self.camera, screen=self, subtitles=None, on_caption=self._hear)
        except Exception as error:
            if not isinstance(error, ValueError | OSError | Full):
                log.exception("a visitor's camera could not be translated")
            self.error = error
        finally:
            self.state = "over"
