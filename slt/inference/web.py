"""The demo as a page in the browser: a film goes up, its sentence, n-best and streams come down; nothing is kept."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from slt.extraction.regions import Extractor
from slt.extraction.video import Film, probe, read_frames
from slt.inference import page
from slt.inference.browser import SENT_FPS, LiveVisit
from slt.inference.films import FilmResult, FilmSettings, Update, translate_film
from slt.inference.onnx import SentenceTranslator
from slt.inference.page import LANGUAGES, TEXTS

# Read by Gradio when it is imported: it tells its makers nothing about this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
try:
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'ui=web needs Gradio: pip install "slt[web]" ({error})') from error

log = logging.getLogger(__name__)

# Out of Gradio's own files. Of this family regular and bold have ñ á ¿, and semibold, its default, has no letters.
FONTS = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Gradio's name for the folder of what browsers send.
CACHE = "GRADIO_TEMP_DIR"
# What was left behind by a browser that never said goodbye goes after so long.
KEPT_SECONDS = 3600.0
# Visitors who wait for the extractor at the same time; more are told by Gradio to come back.
WAITING = 8
# Rates that cameras in browsers have; a recording that says no length is measured in pictures a second of this.
RECORDED_FPS = 5.0


def serve(
    translator: SentenceTranslator,
    extractor: Extractor,
    settings: FilmSettings,
    *,
    host: str,
    port: int,
    max_mb: int,
    max_seconds: float,
) -> None:
    """Serve the page until Ctrl+C or SIGTERM.

    Args:
        translator: what turns frames into sentences.
        extractor: with the settings of the one behind the training clips.
        settings: how films are read and cut; they are always drawn, and the n-best are as many as beams.
        host: address to listen on; only 127.0.0.1 and ::1 are this machine's own.
        port: 0 = any that is free.
        max_mb: largest upload, in MiB, as Gradio's message counts them.
        max_seconds: longest film.

    Raises:
        OSError: the address or the port is not to be had.
    """
    served = Page(translator, extractor, settings, host=host, port=port, max_mb=max_mb, max_seconds=max_seconds)
    with served:
        print(f"open {served.url} in a browser; Ctrl+C ends", flush=True)
        if host not in LOOPBACK:
            print(f"web.host={host}: whoever reaches this address can use the page, and nothing is encrypted")
        _wait_for_end(served)


def _wait_for_end(served: Page) -> None:
    """Wait for a signal; where another thread than the main one serves, for the server's own end."""
    ended = threading.Event()
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in numbers}
    try:
        while not ended.wait(0.5):
            if not served.alive:
                raise RuntimeError("the page's server ended by itself")
    finally:
        for number, handler in before.items():  # a second Ctrl+C ends at once
            signal.signal(number, handler)


class Stopped(Exception):
    """The visitor, or the server, is gone."""


@dataclass
class Visit:
    """What one visitor has on disk.

    Attributes:
        folder: of this translation: the film until it is translated, then the result.
        busy: it is being translated.
        stop: set when nobody waits any more.
    """

    folder: Path
    busy: bool = True
    stop: threading.Event = field(default_factory=threading.Event)


class Page:
    """The page and its server, in a thread.

    Args:
        translator, extractor, settings, host, port, max_mb, max_seconds: see `serve`.

    Attributes:
        url: where it is.
        folder: of all that visitors sent and got; gone when the page is closed.
    """

    def __init__(
        self,
        translator: SentenceTranslator,
        extractor: Extractor,
        settings: FilmSettings,
        *,
        host: str,
        port: int,
        max_mb: int,
        max_seconds: float,
    ) -> None:
        self._translator, self._extractor = translator, extractor
        search = settings.search if (settings.search.get("nbest") or 1) > 1 else {**settings.search, "nbest": None}
        self._settings = replace(settings, draw=True, search=search)
        self._max_mb, self._max_seconds = max_mb, max_seconds
        self._host, self._port = host, port
        limits = {"seconds": max_seconds, "mb": max_mb}
        # Translated in the browser: a page that asked the server for its first words would come up in two steps.
        self._words = gr.I18n(**{name: {**of, "limits": of["limits"].format(**limits)} for name, of in TEXTS.items()})
        self._turn = threading.Lock()  # the extractor keeps state from frame to frame: one film at a time
        self._visits: dict[str, Visit] = {}
        self._live: dict[str, LiveVisit] = {}
        self._threads: list[threading.Thread] = []
        self._stack = ExitStack()
        self.url = ""
        self.folder = Path()

    # ------------------------------------------------------------ the server

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            listening = stack.enter_context(_listen(self._host, self._port))
            address = listening.getsockname()
            name = f"[{address[0]}]" if ":" in address[0] else address[0]
            self.url = f"http://{name}:{address[1]}/"
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slt-web-"))).resolve()
            stack.enter_context(_environment(CACHE, str(self.folder)))
            stack.callback(self._stop_all)
            # In an event loop that ends: without one Gradio opens several for its locks and never closes them.
            config = uvicorn.Config(
                asyncio.run(self._app()),
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=1,
            )
            self._server = uvicorn.Server(config)
            self._thread = threading.Thread(target=self._server.run, args=([listening],), name="page", daemon=True)
            self._thread.start()
            stack.callback(self._stop_server)
            while not self._server.started:
                if not self._thread.is_alive():
                    raise RuntimeError("the page's server did not start; the log says why")
                time.sleep(0.01)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def alive(self) -> bool:
        """Tell whether the server runs."""
        return self._thread.is_alive()

    def _stop_server(self) -> None:
        # An open page keeps a connection; that it is cut is no error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._server.should_exit = True
        self._thread.join(10.0)

    def _stop_all(self) -> None:
        for visit in list(self._visits.values()):
            visit.stop.set()
        threads = self._threads + [live.thread for live in self._live.values()]
        for session in list(self._live):
            self.switch_off(session)
        for thread in threads:
            thread.join(30.0)

    async def _app(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        if self._host in LOOPBACK:
            # Another site's name that is made to lead to this machine (DNS rebinding) is not answered.
            # Of `[::1]:7860` some versions of Starlette read no more than the bracket, which no name begins with.
            app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "["])
        blocks = self._blocks()
        gr.mount_gradio_app(
            app, blocks, path="/", server_name=self._host, max_file_size=self._max_mb * 2**20, show_error=True,
            footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
            css=page.CSS, theme=gr.themes.Default(primary_hue="blue", font=FONTS), i18n=self._words,
        )  # fmt: skip
        # Until then Gradio takes any path of this machine that a browser names as if it had been uploaded.
        blocks.has_launched = True
        return app

    # ------------------------------------------------------------ what is on it

    def _blocks(self) -> gr.Blocks:
        text = self._words
        with gr.Blocks(title=TEXTS[LANGUAGES[0]]["title"], analytics_enabled=False) as blocks:
            gr.Markdown(text("about"), elem_id="about")
            with gr.Tab(text("film_tab"), id="film"), gr.Row():
                with gr.Column(scale=5):
                    film = gr.Video(
                        label=text("film"), sources=["upload", "webcam"], include_audio=False, height=260,
                        elem_id="film",
                    )  # fmt: skip
                    # Gradio would take the sound out by a program that need not be here; it is never decoded anyway.
                    film.preprocess = lambda payload: None if payload is None else payload.path
                    start = gr.Button(text("translate"), variant="primary", elem_id="translate")
                    hint = gr.Markdown(text("limits"))
                    status = gr.HTML(elem_id="status")
                    annotated = gr.Video(
                        label=text("annotated"), interactive=False, visible=False, elem_id="annotated",
                        buttons=["download"],
                    )  # fmt: skip
                    with gr.Row():
                        files = [
                            gr.DownloadButton(kind, visible=False, size="sm", elem_id=kind) for kind in ("srt", "vtt")
                        ]
                with gr.Column(scale=7):
                    said = gr.HTML(elem_id="said")
                    nbest = gr.HTML(elem_id="nbest")
                    timeline = gr.HTML(elem_id="timeline")
                    timings = gr.HTML(elem_id="timings")
            with gr.Tab(text("camera_tab"), id="live") as camera_tab, gr.Row():
                with gr.Column(scale=5):
                    camera = gr.Image(
                        label=text("camera"), sources=["webcam"], streaming=True, type="numpy", elem_id="camera",
                        webcam_options=gr.WebcamOptions(mirror=False),  # a left hand is a left hand
                    )  # fmt: skip
                    gr.Markdown(text("live_about"))
                with gr.Column(scale=7):
                    live_said = gr.HTML(elem_id="live-said")
                    live_picture = gr.HTML(elem_id="live-picture")
            outputs = {
                "film": film, "hint": hint, "status": status, "annotated": annotated, "srt": files[0], "vtt": files[1],
                "said": said, "nbest": nbest, "timeline": timeline, "timings": timings,
            }  # fmt: skip

            def translate(path: str | None, request: gr.Request) -> Iterator[dict[Any, Any]]:
                for changes in self.translate(path, request.session_hash or "", _language(request)):
                    yield {outputs[name]: value for name, value in changes.items()}

            # What is said after the camera was stopped is asked for; pictures bring their own answers.
            asking = gr.Timer(0.5, active=False)

            def look(picture: Any, request: gr.Request) -> tuple[str, str]:
                return self.look(picture, request.session_hash or "", _language(request))

            def ask(request: gr.Request) -> Any:
                seen = self.seen(request.session_hash or "", _language(request))
                return (gr.skip(), gr.skip()) if seen is None else seen

            def leave(request: gr.Request) -> None:
                self.forget(request.session_hash or "")
                self.switch_off(request.session_hash or "")

            start.click(
                translate, [film], list(outputs.values()), show_progress="hidden", concurrency_limit=WAITING,
                api_visibility="private",
            )  # fmt: skip
            camera.stream(
                look, [camera], [live_said, live_picture], show_progress="hidden", stream_every=1 / SENT_FPS,
                concurrency_limit=WAITING, api_visibility="private",
            )  # fmt: skip
            asking.tick(ask, None, [live_said, live_picture], show_progress="hidden", api_visibility="private")
            camera_tab.select(lambda: gr.Timer(active=True), None, asking, api_visibility="private")
            blocks.unload(leave)
        blocks.queue(max_size=2 * WAITING)
        return blocks

    # ------------------------------------------------------------ what it does

    def translate(self, path: str | None, session: str, language: str) -> Iterator[dict[str, Any]]:
        """Translate what a visitor sent, and delete it.

        Args:
            path: the film as it was uploaded or recorded.
            session: whose it is.
            language: of the page.

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
            yield {"status": page.message(text["no_film"] if path is None else text["gone"]), "film": None}
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
                    yield {**_nothing(text), "status": page.message(self._reason(news, film, text))}
                    return
                if isinstance(news, str):
                    yield {"status": page.notice(text[news])}
                    continue
                yield {
                    "status": page.progress(news, text, name=film.name),
                    "said": page.sentences(news.segments, text),
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
            language: of the page.
        """
        live = self._live.get(session)
        if live is None or (live.state == "over" and live.error is None):
            live = self._live[session] = LiveVisit(self._translator, self._extractor, self._settings, self._turn)
        if picture is not None:
            live.put(picture)
        return self.seen(session, language) or ("", "")

    def seen(self, session: str, language: str) -> tuple[str, str] | None:
        """Return what a visitor's live translation has come to, as `look` does; None where there is none."""
        live, text = self._live.get(session), TEXTS[language]
        if live is None:
            return None
        if live.error is not None:
            return page.message(text["failed"].format(name=text["camera"], reason=live.error)), ""
        if live.state in ("waiting", "looking"):
            return page.notice(text[f"live_{live.state}"]), ""
        return page.live_sentences(live.captions, live.partial, text), page.live_picture(live.drawn, text)

    def switch_off(self, session: str) -> None:
        """End a visitor's live translation."""
        live = self._live.pop(session, None)
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
            if news.seconds > self._max_seconds:  # whatever its header said
                raise TooLong
            tell(news)

        try:
            refuse_long(probe(film), self._max_seconds)
            while not self._turn.acquire(timeout=0.2):
                tell("waiting")
                if visit.stop.is_set():
                    raise Stopped
            try:
                tell("opening")
                news: Any = translate_film(
                    film, self._translator, self._extractor, settings=self._settings, out=visit.folder / "out",
                    on_update=update,
                )  # fmt: skip
            finally:
                self._turn.release()
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
            return {**_nothing(text), "status": page.message(text["nobody"].format(name=name))}
        said = "" if result.segments else page.message(text["no_signing"].format(name=name))
        files = {
            kind: gr.update(value=str(path), label=text[kind], visible=True)
            for kind, path in (("annotated", result.annotated), ("srt", result.srt), ("vtt", result.vtt))
        }
        return {
            "status": said,
            "said": page.sentences(result.segments, text),
            "nbest": page.nbest(result.segments, text),
            "timeline": page.timeline(result.seen, result.segments, result.duration, text),
            "timings": page.timings(result, text),
            **files,
        }

    def _reason(self, error: BaseException, film: Path, text: Mapping[str, str]) -> str:
        """Return what went wrong in words for a visitor, who knows a film by its name and no folder here."""
        if isinstance(error, TooLong):
            return text["too_long"].format(name=film.name, limit=self._max_seconds)
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


class TooLong(Exception):
    """A film is longer than the page takes."""


def refuse_long(film: Film, limit: float) -> None:
    """Refuse a film that is too long; one that does not say (a browser's recording) is read as far as the limit.

    Raises:
        TooLong: it is longer.
        ValueError: it cannot be read.
    """
    length = film.duration
    if length is None:
        length = 0.0
        for seconds, _ in read_frames(film.path, fps=RECORDED_FPS):
            length = seconds
            if length > limit:
                break
    if length > limit:
        raise TooLong


def _nothing(text: Mapping[str, str]) -> dict[str, Any]:
    """Return the page without a result."""
    hidden = {name: gr.update(value=None, visible=False) for name in ("annotated", "srt", "vtt")}
    return {"status": "", "said": page.sentences((), text), "nbest": "", "timeline": "", "timings": "", **hidden}


def _language(request: gr.Request) -> str:
    return page.language(request.headers.get("accept-language"))


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address.

    Raises:
        OSError: it is no address of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(128)
        except OSError as error:
            raise OSError(
                f"web.port={port}: cannot listen on web.host={host} ({error.strerror or error}); another program, or "
                f"another page like this, may have the port: set another, as in web.port={port % 65535 + 1}"
            ) from error
        yield listening


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
