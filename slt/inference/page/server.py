"""The demo as a page in the browser: a film goes up, its sentence, n-best and streams come down; nothing is kept."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# Read by Gradio when it is imported: it tells its makers nothing about this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
try:
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'ui=web needs Gradio: pip install "slt[web]" ({error})') from error

from slt.extraction.regions import Extractor
from slt.inference.films import Reading
from slt.inference.live import Live
from slt.inference.onnx import SentenceTranslator
from slt.inference.page import html
from slt.inference.page.html import LANGUAGES, TEXTS
from slt.inference.page.live import SENT_FPS
from slt.inference.page.visitors import Visitors

# Out of Gradio's own files. Of this family regular and bold have ñ á ¿, and semibold, its default, has no letters.
FONTS = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Gradio's name for the folder of what browsers send.
CACHE = "GRADIO_TEMP_DIR"
# Visitors who wait for the extractor at the same time; more are told by Gradio to come back.
WAITING = 8


@dataclass(frozen=True, kw_only=True)
class Web:
    """Where the page is served, and what it takes."""

    host: str  # only 127.0.0.1 and ::1 are this machine's own
    port: int  # 0 = any that is free
    max_mb: int  # largest upload, in MiB, as Gradio's message counts them
    max_seconds: float  # longest film


def serve(translator: SentenceTranslator, extractor: Extractor, settings: Reading, live: Live, web: Web) -> None:
    """Serve the page until Ctrl+C or SIGTERM; see `Visitors`.

    Raises:
        OSError: the address or the port is not to be had.
    """
    served = Page(Visitors(translator, extractor, settings, live, web.max_seconds), web)
    with served:
        print(f"open {served.url} in a browser; Ctrl+C ends", flush=True)
        if web.host not in LOOPBACK:
            print(f"web.host={web.host}: whoever reaches this address can use the page, and nothing is encrypted")
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


class Page:
    """The page and its server, in a thread; `url` is where it is."""

    def __init__(self, visitors: Visitors, web: Web) -> None:
        self.visitors, self.web, self.url = visitors, web, ""
        limits = {"seconds": web.max_seconds, "mb": web.max_mb}
        # Translated in the browser: a page that asked the server for its first words would come up in two steps.
        self._words = gr.I18n(**{name: {**of, "limits": of["limits"].format(**limits)} for name, of in TEXTS.items()})
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            listening = stack.enter_context(_listen(self.web.host, self.web.port))
            address = listening.getsockname()
            name = f"[{address[0]}]" if ":" in address[0] else address[0]
            self.url = f"http://{name}:{address[1]}/"
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slt-web-"))).resolve()
            self.visitors.folder = folder
            stack.enter_context(_environment(CACHE, str(folder)))
            stack.callback(self.visitors.stop_all)
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

    async def _app(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        if self.web.host in LOOPBACK:
            # Another site's name that is made to lead to this machine (DNS rebinding) is not answered.
            # Of `[::1]:7860` some versions of Starlette read no more than the bracket, which no name begins with.
            app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "["])
        blocks = self._blocks()
        gr.mount_gradio_app(
            app, blocks, path="/", server_name=self.web.host, max_file_size=self.web.max_mb * 2**20, show_error=True,
            footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
            css=html.CSS, theme=gr.themes.Default(primary_hue="blue", font=FONTS), i18n=self._words,
        )  # fmt: skip
        # Until then Gradio takes any path of this machine that a browser names as if it had been uploaded.
        blocks.has_launched = True
        return app

    def _film_tab(self) -> tuple[dict[str, Any], gr.Button]:
        """Return the parts of a film's tab by name, and the button that starts."""
        text = self._words
        part: dict[str, Any] = {}
        with gr.Column(scale=5):
            film = part["film"] = gr.Video(
                label=text("film"), sources=["upload", "webcam"], include_audio=False, height=260, elem_id="film"
            )
            # Gradio would take the sound out by a program that need not be here; it is never decoded anyway.
            film.preprocess = lambda payload: None if payload is None else payload.path
            start = gr.Button(text("translate"), variant="primary", elem_id="translate")
            part["hint"] = gr.Markdown(text("limits"))
            part["status"] = gr.HTML(elem_id="status")
            part["annotated"] = gr.Video(
                label=text("annotated"), interactive=False, visible=False, elem_id="annotated", buttons=["download"]
            )
            with gr.Row():
                for kind in ("srt", "vtt"):
                    part[kind] = gr.DownloadButton(kind, visible=False, size="sm", elem_id=kind)
        with gr.Column(scale=7):
            for name in ("said", "nbest", "timeline", "timings"):
                part[name] = gr.HTML(elem_id=name)
        return part, start

    def _camera_tab(self) -> tuple[gr.Image, list[gr.HTML]]:
        """Return the camera, and where its captions and its drawn pictures stand."""
        with gr.Column(scale=5):
            camera = gr.Image(
                label=self._words("camera"), sources=["webcam"], streaming=True, type="numpy", elem_id="camera",
                webcam_options=gr.WebcamOptions(mirror=False),  # a left hand is a left hand
            )  # fmt: skip
            gr.Markdown(self._words("live_about"))
        with gr.Column(scale=7):
            return camera, [gr.HTML(elem_id=name) for name in ("live-said", "live-picture")]

    def _blocks(self) -> gr.Blocks:
        text, visitors = self._words, self.visitors
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Blocks(title=TEXTS[LANGUAGES[0]]["title"], analytics_enabled=False) as blocks:
            gr.Markdown(text("about"), elem_id="about")
            with gr.Tab(text("film_tab"), id="film"), gr.Row():
                part, start = self._film_tab()
            with gr.Tab(text("camera_tab"), id="live") as camera_tab, gr.Row():
                camera, shown = self._camera_tab()
            # What is said after the camera was stopped is asked for; pictures bring their own answers.
            asking = gr.Timer(0.5, active=False)

            def translate(path: str | None, request: gr.Request) -> Iterator[dict[Any, Any]]:
                for changes in visitors.translate(path, request.session_hash or "", _language(request)):
                    yield {part[name]: value for name, value in changes.items()}

            def look(picture: Any, request: gr.Request) -> tuple[str, str]:
                return visitors.look(picture, request.session_hash or "", _language(request))

            def ask(request: gr.Request) -> Any:
                seen = visitors.seen(request.session_hash or "", _language(request))
                return (gr.skip(), gr.skip()) if seen is None else seen

            def leave(request: gr.Request) -> None:
                visitors.forget(request.session_hash or "")
                visitors.switch_off(request.session_hash or "")

            start.click(translate, [part["film"]], list(part.values()), concurrency_limit=WAITING, **quiet)
            camera.stream(look, [camera], shown, stream_every=1 / SENT_FPS, concurrency_limit=WAITING, **quiet)
            asking.tick(ask, None, shown, **quiet)
            camera_tab.select(lambda: gr.Timer(active=True), None, asking, api_visibility="private")
            blocks.unload(leave)
        blocks.queue(max_size=2 * WAITING)
        return blocks


def _language(request: gr.Request) -> str:
    return html.language(request.headers.get("accept-language"))


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
