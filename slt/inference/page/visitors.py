"""What visitors of the page have: films that are translated and deleted, and cameras; all in one folder."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import gradio as gr

from slt.extraction.regions import Extractor
from slt.extraction.video import Film, probe
from slt.inference.films import FilmResult, translate_film
from slt.inference.live import Live, translate_live
from slt.inference.onnx import SentenceTranslator
from slt.inference.page.html import TEXTS, part, progress, timeline
from slt.inference.page.live import SENT_FPS, BrowserCamera, LiveVisit
from slt.inference.session import Reading
from slt.inference.sources import film_length
from slt.words import told

log = logging.getLogger(__name__)

# What was left behind by a browser that never said goodbye goes after so long.
KEPT_SECONDS = 3600.0
# Rates that cameras in browsers have; a recording that says no length is measured in pictures a second of this.
RECORDED_FPS = 5.0

Change = dict[str, Any]  # part of the page -> what it shows now


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

    Films are always drawn, of at most `max_seconds`, and the n-best are as many as beams.
    """

    def __init__(
        self, translator: SentenceTranslator, extractor: Extractor, reading: Reading, live: Live, max_seconds: float
    ) -> None:
        search = reading.search if (reading.search.get("nbest") or 1) > 1 else {**reading.search, "nbest": None}
        self.translator, self.extractor = translator, extractor
        self.reading, self.live = replace(reading, draw=True, search=search), replace(live, panel=False, record=None)
        self.max_seconds = max_seconds
        self._translate_live = partial(
            translate_live, translator=translator, extractor=extractor, reading=self.reading, live=self.live
        )
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

    def translate(self, path: str | None, session: str, language: str) -> Iterator[Change]:
        """Translate what a visitor uploaded or recorded, and delete it; give what changes on the page."""
        text = TEXTS[language]
        self.forget(session)
        self._sweep()
        yield {**_nothing(text), "hint": gr.update(visible=False)}
        try:
            visit, film = self._take(path, session)
        except FileNotFoundError:
            yield {"status": part("message", text["no_film"] if path is None else text["gone"]), "film": None}
            return
        # In a thread of its own: whether and when Gradio asks for the next change is not what the extractor waits for.
        heard: SimpleQueue[Change | None] = SimpleQueue()
        thread = threading.Thread(target=self._work, args=(visit, film, text, heard), name="film", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        yield {"film": None}
        try:
            yield from iter(heard.get, None)
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
        """Take an RGB picture (H, W, 3) of a visitor's camera; return captions and the last drawn picture, as HTML."""
        live = self.cameras.get(session)
        if live is None or (live.state == "over" and live.error is None):
            camera = BrowserCamera(fps=min(SENT_FPS, self.reading.fps or SENT_FPS), queue=self.live.queue)
            live = self.cameras[session] = LiveVisit(camera, self._translate_live, self.turn)
        if picture is not None:
            live.camera.put(picture)
        return self.seen(session, language) or ("", "")

    def seen(self, session: str, language: str) -> tuple[str, str] | None:
        """Return what a visitor's live translation has come to, as `look` does; None where there is none."""
        live, text = self.cameras.get(session), TEXTS[language]
        if live is None:
            return None
        if live.error is not None:
            return part(
                "message", text["failed"].format(name=text["camera"], reason=told(str(live.error), text["language"]))
            ), ""
        if live.state in ("waiting", "looking"):
            return part("notice", text[f"live_{live.state}"]), ""
        return part("live_sentences", live.captions, live.partial, text), part("live_picture", live.drawn, text)

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

    def _work(self, visit: Visit, film: Path, text: Mapping[str, str], tell: SimpleQueue[Change | None]) -> None:
        """Translate until nobody waits any more; tell of each change, and at last None."""
        try:
            with closing(self._changes(film, visit.folder / "out", text)) as changes:
                for change in changes:
                    if visit.stop.is_set():
                        break
                    tell.put(change)
        except Exception as error:
            visit.stop.set()
            if not isinstance(error, ValueError | OSError | TooLong):
                log.exception("%s could not be translated", film.name)
            tell.put({**_nothing(text), "status": part("message", self._reason(error, film, text))})
        film.unlink(missing_ok=True)
        visit.busy = False
        if visit.stop.is_set():
            shutil.rmtree(visit.folder, ignore_errors=True)
        tell.put(None)

    def _changes(self, film: Path, out: Path, text: Mapping[str, str]) -> Generator[Change, None, None]:
        refuse_long(probe(film), self.max_seconds)
        while not self.turn.acquire(timeout=0.2):
            yield {"status": part("notice", text["waiting"])}
        try:
            yield {"status": part("notice", text["opening"])}
            with closing(
                translate_film(film, self.translator, self.extractor, settings=self.reading, out=out)
            ) as steps:
                for step in steps:
                    if isinstance(step, FilmResult):
                        yield _shown(step, film.name, text)
                        return
                    if step.seconds > self.max_seconds:  # whatever its header said
                        raise TooLong
                    said = part("sentences", step.segments, text)
                    yield {"status": progress(step, text, name=film.name), "said": said}
        finally:
            self.turn.release()

    def _reason(self, error: Exception, film: Path, text: Mapping[str, str]) -> str:
        """Return what went wrong in words for a visitor, who knows a film by its name and no folder here."""
        if isinstance(error, TooLong):
            return text["too_long"].format(name=film.name, limit=self.max_seconds)
        if not isinstance(error, ValueError | OSError):
            return text["ours"].format(name=film.name)
        reason = str(error).replace(f"{film}: ", "").replace(f"{film.parent}{os.sep}", "")
        said = "not_a_film" if "not a film that can be read" in reason else "failed"
        return text[said].format(name=film.name, reason=told(reason, text["language"]))

    def _sweep(self) -> None:
        """Delete what nobody came back for: uploads that were never translated, and results of lost visitors."""
        oldest = time.time() - KEPT_SECONDS
        busy = {visit.folder for visit in list(self._visits.values()) if visit.busy}
        for path in self.folder.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < oldest and path not in busy:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def refuse_long(film: Film, limit: float) -> None:
    """Refuse a film that is too long; one that does not say (a browser's recording) is read as far as the limit."""
    if film_length(film, RECORDED_FPS, limit) > limit:
        raise TooLong


def _shown(result: FilmResult, name: str, text: Mapping[str, str]) -> Change:
    """Return what the page shows of a result."""
    if not any(marks.any() for marks in result.seen.values()):
        return {**_nothing(text), "status": part("message", text["nobody"].format(name=name))}
    files = {"annotated": result.annotated, "srt": result.srt, "vtt": result.vtt}
    return {
        "status": "" if result.segments else part("message", text["no_signing"].format(name=name)),
        "said": part("sentences", result.segments, text),
        "nbest": part("nbest", result.segments, text),
        "timeline": timeline(result.seen, result.segments, result.duration, text),
        "timings": part("timings", "\n".join(result.latency.lines()[:-1]), text),
        **{kind: gr.update(value=str(path), label=text[kind], visible=True) for kind, path in files.items()},
    }


def _nothing(text: Mapping[str, str]) -> Change:
    """Return the page without a result."""
    hidden = {name: gr.update(value=None, visible=False) for name in ("annotated", "srt", "vtt")}
    return {"status": "", "said": part("sentences", (), text), "nbest": "", "timeline": "", "timings": "", **hidden}
