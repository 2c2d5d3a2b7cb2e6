"""What visitors of the page have: films that are translated, played and corrected, and cameras; all in one folder."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from slt.extraction.regions import Extractor
from slt.extraction.video import Film, probe
from slt.inference.films import FilmResult, translate_film
from slt.inference.live import Live, translate_live
from slt.inference.onnx import SentenceTranslator
from slt.inference.page.corrections import Consent, Corrections
from slt.inference.page.html import TEXTS, part, progress
from slt.inference.page.line import Full, Line
from slt.inference.page.live import SENT_FPS, BrowserCamera, LiveVisit
from slt.inference.page.result import Change, corrected, nothing, shown, write_files
from slt.inference.page.uploads import delete_oldest
from slt.inference.session import Reading
from slt.inference.sources import film_length
from slt.inference.subtitles import Caption
from slt.words import told

log = logging.getLogger(__name__)

# What was left behind by a browser that never said goodbye goes after so long.
KEPT_SECONDS = 3600.0
# Rates that cameras in browsers have; a recording that says no length is measured in pictures a second of this.
RECORDED_FPS = 5.0
# Visitors who may wait for the extractor; who comes then is asked to come back.
WAITING = 16


class TooLong(Exception):
    """A film is longer than the page takes."""


@dataclass
class Visit:
    """What one visitor has on disk."""

    folder: Path  # of this translation: the film, and the result in `out`
    film: Path
    busy: bool = True  # it is being translated
    stop: threading.Event = field(default_factory=threading.Event)  # set when nobody waits any more
    # Known to this visitor's page alone: who corrects says it.
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    translated: Sequence[Caption] = ()  # as the model said them
    captions: Sequence[Caption] = ()  # as they were corrected


class Visitors:
    """Translates for visitors, who are known by their sessions; one at a time has the extractor.

    Films are always drawn, of at most `max_seconds`, and the n-best are as many as beams. What lies in `folder` is at
    most `max_total` bytes.
    """

    def __init__(
        self, translator: SentenceTranslator, extractor: Extractor, reading: Reading, live: Live, *,
        max_seconds: float, max_total: int, corrections: Corrections | None,
    ) -> None:  # fmt: skip
        search = reading.search if (reading.search.get("nbest") or 1) > 1 else {**reading.search, "nbest": None}
        self.translator, self.extractor = translator, extractor
        self.reading, self.live = replace(reading, draw=True, search=search), replace(live, panel=False, record=None)
        self.max_seconds, self.max_total, self.corrections = max_seconds, max_total, corrections
        self._translate_live = partial(
            translate_live, translator=translator, extractor=extractor, reading=self.reading, live=self.live
        )
        self.folder = Path()  # of all that visitors sent and got; gone when the page is closed
        self.line = Line(WAITING)  # the extractor keeps state from frame to frame: one film at a time
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
        """Translate what a visitor uploaded or recorded; give what changes on the page."""
        text = TEXTS[language]
        self.forget(session)
        self._sweep()
        yield nothing(text)
        try:
            visit = self._take(path, session)
        except FileNotFoundError:
            yield {"status": part("message", text["no_film"] if path is None else text["gone"]), "film": None}
            return
        # In a thread of its own: whether and when Gradio asks for the next change is not what the extractor waits for.
        heard: SimpleQueue[Change | None] = SimpleQueue()
        thread = threading.Thread(target=self._work, args=(visit, text, heard), name="film", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        yield {"film": None, "status": part("notice", text["opening"])}
        try:
            for change in iter(heard.get, None):
                if self._visits.get(session) is visit:  # or the visitor wants another film already
                    yield change
        except GeneratorExit:
            visit.stop.set()
            raise

    def begin_anew(self, session: str, language: str) -> Change:
        """Stop and forget what a visitor has, and ask for another film."""
        self.forget(session)
        return nothing(TEXTS[language])

    def forget(self, session: str) -> None:
        """Stop what a visitor waits for, and delete what they sent and got."""
        visit = self._visits.pop(session, None)
        if visit is not None:
            visit.stop.set()
            shutil.rmtree(visit.folder, ignore_errors=True)

    def correct(self, key: str, words: Sequence[str], consent: Consent, language: str) -> Change | None:
        """Put a visitor's words in place of the captions, and keep them where that is agreed to.

        Returns the `sentences` as HTML, the `cues` of the film and a `message`; None where the result is gone.
        ValueError for other than a text a caption.
        """
        text = TEXTS[language]
        visit = next((one for one in list(self._visits.values()) if secrets.compare_digest(one.key, key)), None)
        if visit is None or visit.busy or not visit.film.is_file():
            return None
        visit.captions = corrected(visit.translated, words)
        cues = [one.text for one in write_files(visit.captions, visit.film, text)]
        said = text["applied"]
        if self.corrections is not None:
            name = f"c{visit.key[:12]}"
            self.corrections.keep(name, visit.captions, visit.translated, visit.film, consent)
            said = text["kept"] if consent.captions else said
        return {"sentences": part("sentences", visit.captions, text, True), "cues": cues, "message": said}

    def look(self, picture: Any, session: str, language: str) -> tuple[str, str]:
        """Take an RGB picture (H, W, 3) of a visitor's camera; return captions and the last drawn picture, as HTML."""
        live = self.cameras.get(session)
        if live is None or (live.state == "over" and live.error is None):
            camera = BrowserCamera(fps=min(SENT_FPS, self.reading.fps or SENT_FPS), queue=self.live.queue)
            live = self.cameras[session] = LiveVisit(camera, self._translate_live, self.line)
        if picture is not None:
            live.camera.put(picture)
        return self.seen(session, language) or ("", "")

    def seen(self, session: str, language: str) -> tuple[str, str] | None:
        """Return what a visitor's live translation has come to, as `look` does; None where there is none."""
        live, text = self.cameras.get(session), TEXTS[language]
        if live is None:
            return None
        if live.error is not None:
            reason = text["full"] if isinstance(live.error, Full) else told(str(live.error), text["language"])
            return part("message", text["failed"].format(name=text["camera"], reason=reason)), ""
        if live.state == "waiting":
            return part("notice", _queue(*live.place, text)), ""
        if live.state == "looking":
            return part("notice", text["live_looking"]), ""
        return part("live_sentences", live.captions, live.partial, text), part("live_picture", live.drawn, text)

    def switch_off(self, session: str) -> None:
        """End a visitor's live translation."""
        live = self.cameras.pop(session, None)
        if live is not None:
            live.stop()

    def make_room(self, size: int) -> bool:
        """Delete the oldest that visitors left until so many bytes have room; return whether they have."""
        busy = {visit.folder for visit in list(self._visits.values()) if visit.busy}
        return delete_oldest(self.folder, self.max_total - size, busy)

    def _take(self, path: str | None, session: str) -> Visit:
        """Move a film into a folder of its own, where nobody else's translation of the same film deletes it."""
        if path is None or not Path(path).resolve().is_relative_to(self.folder) or not Path(path).is_file():
            raise FileNotFoundError(path)
        folder = Path(tempfile.mkdtemp(prefix="film-", dir=self.folder))
        visit = self._visits[session] = Visit(folder, folder / Path(path).name)
        Path(path).replace(visit.film)
        with suppress(OSError):
            Path(path).parent.rmdir()
        return visit

    def _work(self, visit: Visit, text: Mapping[str, str], tell: SimpleQueue[Change | None]) -> None:
        """Translate until nobody waits any more; tell of each change, and at last None."""
        film = visit.film
        try:
            with closing(self._changes(visit, text)) as changes:
                for change in changes:
                    if visit.stop.is_set():
                        break
                    tell.put(change)
        except Exception as error:
            visit.stop.set()
            if not isinstance(error, ValueError | OSError | TooLong | Full):
                log.exception("%s could not be translated", film.name)
            tell.put({**nothing(text), "status": part("message", self._reason(error, film, text))})
        visit.busy = False
        if visit.stop.is_set():
            shutil.rmtree(visit.folder, ignore_errors=True)
        tell.put(None)

    def _changes(self, visit: Visit, text: Mapping[str, str]) -> Generator[Change, None, None]:
        film, out = visit.film, visit.folder / "out"
        refuse_long(probe(film), self.max_seconds)
        with self.line.place() as place:
            while not place.wait(0.2):
                yield {"status": part("notice", _queue(place.ahead, place.waiting, text))}
            yield {"status": part("notice", text["opening"])}
            with closing(
                translate_film(film, self.translator, self.extractor, settings=self.reading, out=out)
            ) as steps:
                for step in steps:
                    if isinstance(step, FilmResult):
                        visit.captions = visit.translated = tuple(step.segments)
                        write_files(visit.captions, film, text)
                        yield shown(step, film, visit.key, text, keeps=self.corrections is not None)
                        return
                    if step.seconds > self.max_seconds:  # whatever its header said
                        raise TooLong
                    said = part("sentences", step.segments, text)
                    yield {"status": progress(step, text, name=film.name), "said": said}

    def _reason(self, error: Exception, film: Path, text: Mapping[str, str]) -> str:
        """Return what went wrong in words for a visitor, who knows a film by its name and no folder here."""
        if isinstance(error, TooLong):
            return text["too_long"].format(name=film.name, limit=self.max_seconds)
        if isinstance(error, Full):
            return text["full"]
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


def _queue(place: int, waiting: int, text: Mapping[str, str]) -> str:
    return text["queue"].format(place=max(place, 1), waiting=max(waiting, place, 1))
