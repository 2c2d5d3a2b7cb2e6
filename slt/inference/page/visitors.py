"""What visitors of the page have: films that are translated and deleted, and cameras; all in one folder."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import gradio as gr

from slt.extraction.regions import Extractor
from slt.extraction.video import Film, probe
from slt.inference.films import FilmResult, Reading, Update, film_length, translate_film
from slt.inference.live import Live
from slt.inference.onnx import SentenceTranslator
from slt.inference.page import html
from slt.inference.page.html import TEXTS
from slt.inference.page.live import LiveVisit

log = logging.getLogger(__name__)

# What was left behind by a browser that never said goodbye goes after so long.
KEPT_SECONDS = 3600.0
# Rates that cameras in browsers have; a recording that says no length is measured in pictures a second of this.
RECORDED_FPS = 5.0


class Stopped(Exception):
    """The visitor, or the server, is gone."""


class TooLong(Exception):
    """A film is longer than the page takes."""


@dataclass
class Visit:
    """What one visitor has on disk."""

    folder: Path  # of this translation: the film until it is translated, then the result
    busy: bool = True  # it is being translated
    stop: threading.Event = field(default_factory=threading.Event)  # set when nobody waits any more


class Visitors:
    """Translates for visitors, who are known by their sessions; one at a time has the extractor.

    Args:
        translator: what turns frames into sentences.
        extractor: with the settings of the one behind the training clips.
        reading, live: films are always drawn, and the n-best are as many as beams.
        max_seconds: longest film.
    """

    def __init__(
        self, translator: SentenceTranslator, extractor: Extractor, reading: Reading, live: Live, max_seconds: float
    ) -> None:
        search = reading.search if (reading.search.get("nbest") or 1) > 1 else {**reading.search, "nbest": None}
        self.translator, self.extractor = translator, extractor
        self.reading, self.live = replace(reading, draw=True, search=search), replace(live, panel=False, record=None)
        self.max_seconds = max_seconds
        self.folder = Path()  # of all that visitors sent and got; gone when the page is closed
        self.turn = threading.Lock()  # the extractor keeps state from frame to frame: one film at a time
        self.cameras: dict[str, LiveVisit] = {}
        self._visits: dict[str, Visit] = {}
        self._threads: list[threading.Thread] = []

    def stop_all(self) -> None:
        """End what runs, and wait for it."""
        for visit in list(self._visits.values()):
            visit.stop.set()
        threads = self._threads + [live.thread for live in self.cameras.values()]
        for session in list(self.cameras):
            self.switch_off(session)
        for thread in threads:
            thread.join(30.0)

    def translate(self, path: str | None, session: str, language: str) -> Iterator[dict[str, Any]]:
        """Translate what a visitor sent, and delete it.

        Args:
            path: the film as it was uploaded or recorded.
            session: whose it is.
            language: of the html.

        Yields:
            part of the page -> what it shows now.
        """
        text = TEXTS[language]
        self.forget(session)
        self._sweep()
        yield {**_nothing(text), "hint": gr.update(visible=False)}
        try:
            visit, film = self._take(path, session)
        except FileNotFoundError:
            yield {"status": html.message(text["no_film"] if path is None else text["gone"]), "film": None}
            return
        heard: SimpleQueue[Any] = SimpleQueue()
        thread = threading.Thread(target=self._work, args=(visit, film, heard.put), name="film", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        yield {"film": None}
        try:
            while True:
                news = heard.get()
                if isinstance(news, FilmResult):
                    yield self._shown(news, film.name, text)
                    return
                if isinstance(news, BaseException):
                    yield {**_nothing(text), "status": html.message(self._reason(news, film, text))}
                    return
                if isinstance(news, str):
                    yield {"status": html.notice(text[news])}
                    continue
                yield {
                    "status": html.progress(news, text, name=film.name),
                    "said": html.sentences(news.segments, text),
                }
        except GeneratorExit:
            visit.stop.set()
            raise

    def forget(self, session: str) -> None:
        """Stop what a visitor waits for, and delete what they got."""
        visit = self._visits.pop(session, None)
        if visit is not None:
            visit.stop.set()
            shutil.rmtree(visit.folder, ignore_errors=True)

    def look(self, picture: Any, session: str, language: str) -> tuple[str, str]:
        """Take a picture of a visitor's camera; return captions and the last drawn picture, both as HTML.

        Args:
            picture: RGB uint8 (H, W, 3).
            session: whose it is.
            language: of the html.
        """
        live = self.cameras.get(session)
        if live is None or (live.state == "over" and live.error is None):
            live = self.cameras[session] = LiveVisit(
                self.translator, self.extractor, self.reading, self.live, self.turn
            )
        if picture is not None:
            live.put(picture)
        return self.seen(session, language) or ("", "")

    def seen(self, session: str, language: str) -> tuple[str, str] | None:
        """Return what a visitor's live translation has come to, as `look` does; None where there is none."""
        live, text = self.cameras.get(session), TEXTS[language]
        if live is None:
            return None
        if live.error is not None:
            return html.message(text["failed"].format(name=text["camera"], reason=live.error)), ""
        if live.state in ("waiting", "looking"):
            return html.notice(text[f"live_{live.state}"]), ""
        return html.live_sentences(live.captions, live.partial, text), html.live_picture(live.drawn, text)

    def switch_off(self, session: str) -> None:
        """End a visitor's live translation."""
        live = self.cameras.pop(session, None)
        if live is not None:
            live.stop()

    def _take(self, path: str | None, session: str) -> tuple[Visit, Path]:
        """Move a film into a folder of its own, where nobody else's translation of the same film deletes it."""
        if path is None or not Path(path).resolve().is_relative_to(self.folder) or not Path(path).is_file():
            raise FileNotFoundError(path)
        visit = Visit(Path(tempfile.mkdtemp(prefix="film-", dir=self.folder)))
        film = visit.folder / Path(path).name
        Path(path).replace(film)
        with suppress(OSError):
            Path(path).parent.rmdir()
        self._visits[session] = visit
        return visit, film

    def _work(self, visit: Visit, film: Path, tell: Callable[[Any], None]) -> None:
        """Translate in a thread; tell of each step, and at last of the result or of what went wrong."""

        def update(news: Update) -> None:
            if visit.stop.is_set():
                raise Stopped
            if news.seconds > self.max_seconds:  # whatever its header said
                raise TooLong
            tell(news)

        try:
            refuse_long(probe(film), self.max_seconds)
            while not self.turn.acquire(timeout=0.2):
                tell("waiting")
                if visit.stop.is_set():
                    raise Stopped
            try:
                tell("opening")
                news: Any = translate_film(
                    film, self.translator, self.extractor, settings=self.reading, out=visit.folder / "out",
                    on_update=update,
                )  # fmt: skip
            finally:
                self.turn.release()
        except BaseException as error:  # told in the thread that asked
            news = error
            if not isinstance(error, ValueError | OSError | Stopped | TooLong):
                log.exception("%s could not be translated", film.name)
        film.unlink(missing_ok=True)
        visit.busy = False
        if visit.stop.is_set() or isinstance(news, BaseException):
            shutil.rmtree(visit.folder, ignore_errors=True)
        tell(news)

    def _shown(self, result: FilmResult, name: str, text: Mapping[str, str]) -> dict[str, Any]:
        """Return what the page shows of a result."""
        if not any(marks.any() for marks in result.seen.values()):
            return {**_nothing(text), "status": html.message(text["nobody"].format(name=name))}
        said = "" if result.segments else html.message(text["no_signing"].format(name=name))
        files = {
            kind: gr.update(value=str(path), label=text[kind], visible=True)
            for kind, path in (("annotated", result.annotated), ("srt", result.srt), ("vtt", result.vtt))
        }
        return {
            "status": said,
            "said": html.sentences(result.segments, text),
            "nbest": html.nbest(result.segments, text),
            "timeline": html.timeline(result.seen, result.segments, result.duration, text),
            "timings": html.timings(result, text),
            **files,
        }

    def _reason(self, error: BaseException, film: Path, text: Mapping[str, str]) -> str:
        """Return what went wrong in words for a visitor, who knows a film by its name and no folder here."""
        if isinstance(error, TooLong):
            return text["too_long"].format(name=film.name, limit=self.max_seconds)
        if isinstance(error, ValueError | OSError):
            reason = str(error).replace(f"{film}: ", "").replace(f"{film.parent}{os.sep}", "")
            if "not a film that can be read" in reason:
                return text["not_a_film"].format(name=film.name)
            return text["failed"].format(name=film.name, reason=reason)
        return text["ours"].format(name=film.name)

    def _sweep(self) -> None:
        """Delete what nobody came back for: uploads that were never translated, and results of lost visitors."""
        oldest = time.time() - KEPT_SECONDS
        busy = {visit.folder for visit in list(self._visits.values()) if visit.busy}
        for path in self.folder.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < oldest and path not in busy:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def refuse_long(film: Film, limit: float) -> None:
    """Refuse a film that is too long; one that does not say (a browser's recording) is read as far as the limit.

    Raises:
        TooLong: it is longer.
        ValueError: it cannot be read.
    """
    if film_length(film, RECORDED_FPS, limit) > limit:
        raise TooLong


def _nothing(text: Mapping[str, str]) -> dict[str, Any]:
    """Return the page without a result."""
    hidden = {name: gr.update(value=None, visible=False) for name in ("annotated", "srt", "vtt")}
    return {"status": "", "said": html.sentences((), text), "nbest": "", "timeline": "", "timings": "", **hidden}
