"""A visitor's camera: pictures that a browser sends go through the live path, drawn ones and captions come back."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections import deque
from dataclasses import replace

import cv2
import numpy as np

from slt.extraction.regions import Extractor
from slt.extraction.video import Picture
from slt.inference.live import Live, translate_live
from slt.inference.mailbox import Mailbox
from slt.inference.onnx import SentenceTranslator
from slt.inference.session import Reading
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

    def _grab(self) -> float | None:
        shot = self._pictures.take(timeout=SILENCE)
        if shot is None:
            return None
        taken, self._picture = shot
        return taken

    def _retrieve(self) -> Picture:
        return self._picture

    def _earliest(self, earliest: float, seconds: float) -> float:
        return seconds + 0.25 / self.fps  # requests overtake each other; landmarkers want time to go on


class LiveVisit:
    """One visitor's live translation, in a thread of its own; as a `Screen` it keeps the last picture for the page.

    `turn` is held while the extractor is used.
    """

    panel = False

    def __init__(
        self, translator: SentenceTranslator, extractor: Extractor, settings: Reading, live: Live, turn: threading.Lock
    ) -> None:
        self.state = "waiting"  # then "looking", "on" and "over"
        self.error: Exception | None = None  # what ended it, where it was an error
        self.partial: Caption | None = None  # the running sentence, as far as it is
        self.camera = BrowserCamera(fps=min(SENT_FPS, settings.fps or SENT_FPS), queue=live.queue)
        self._captions: deque[Caption] = deque(maxlen=SHOWN)
        self._drawn = b""
        self._stopped = threading.Event()
        work = (translator, extractor, settings, live, turn)
        self.thread = threading.Thread(target=self._work, args=work, name="live", daemon=True)
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
            self._captions.append(replace(caption, hypotheses=caption.hypotheses[:1]))

    def _work(
        self, translator: SentenceTranslator, extractor: Extractor, reading: Reading, live: Live, turn: threading.Lock
    ) -> None:
        try:
            while not turn.acquire(timeout=0.2):
                if self._stopped.is_set():
                    return
            try:
                self.state = "looking"
                translate_live(
                    self.camera, translator, extractor, reading=reading, live=live, screen=self, subtitles=None,
                    on_caption=self._hear,
                )  # fmt: skip
            finally:
                turn.release()
        except Exception as error:
            if not isinstance(error, ValueError | OSError):
                log.exception("a visitor's camera could not be translated")
            self.error = error
        finally:
            self.state = "over"
