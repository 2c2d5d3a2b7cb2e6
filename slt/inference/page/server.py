"""The demo as a page in the browser: a film goes up, its sentences, player and streams come down.

Nothing is kept but corrections of those who agree.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read by Gradio when it is imported: it tells its makers nothing about this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
try:
    import gradio as gr
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'ui=web needs Gradio: pip install "slt[web]" ({error})') from error

from slt.extraction.regions import Extractor
from slt.inference.live import Live
from slt.inference.onnx import SentenceTranslator
from slt.inference.page import html
from slt.inference.page.corrections import Consent, Corrections
from slt.inference.page.html import LANGUAGES, TEXTS
from slt.inference.page.live import SENT_FPS
from slt.inference.page.uploads import RoomFirst
from slt.inference.page.visitors import WAITING, Visitors
from slt.inference.session import Reading

# Out of Gradio's own files. Of this family regular and bold have ñ á ¿, and semibold, its default, has no letters.
FONTS = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Gradio's name for the folder of what browsers send; and it asks its own server whether it is there, which no proxy is.
CACHE, NO_PROXY = "GRADIO_TEMP_DIR", "no_proxy"
# Bytes of a correction that a browser sends; more is none.
MOST_WORDS = 2**20


@dataclass(frozen=True, kw_only=True)
class Web:
    """Where the page is served, and what it takes."""

    host: str  # only 127.0.0.1 and ::1 are this machine's own
    port: int  # 0 = any that is free
    max_mb: int  # largest upload, in MiB, as Gradio's message counts them
    max_total_mb: int  # of all that visitors sent and got, in MiB; the oldest goes
    max_seconds: float  # longest film
    corrections: str | None  # folder for corrected captions of those who agree; None = none are kept

    def __post_init__(self) -> None:
        if self.max_total_mb < self.max_mb:
            raise ValueError(
                f"web.max_total_mb={self.max_total_mb}: one upload may have web.max_mb={self.max_mb}, and all of them "
                "have no less; set it higher"
            )

    def visitors(self, translator: SentenceTranslator, extractor: Extractor, settings: Reading, live: Live) -> Visitors:
        """Return who comes to this page."""
        kept = None if self.corrections is None else Corrections(Path(self.corrections))
        return Visitors(
            translator, extractor, settings, live, max_seconds=self.max_seconds, max_total=self.max_total_mb * 2**20,
            corrections=kept,
        )  # fmt: skip


def serve(translator: SentenceTranslator, extractor: Extractor, settings: Reading, live: Live, web: Web) -> None:
    """Serve the page until Ctrl+C or SIGTERM; see `Visitors`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C
    visitors = web.visitors(translator, extractor, settings, live)
    with suppress(KeyboardInterrupt), open_page(visitors, web) as blocks:
        print(f"open {blocks.local_url} in a browser; Ctrl+C ends", flush=True)
        if web.host not in LOOPBACK:
            print(f"web.host={web.host}: whoever reaches this address can use the page, and nothing is encrypted")
        if web.corrections is not None:
            print(
                f"web.corrections={web.corrections}: corrected captions, and films, of those who agree are kept there"
            )
        while blocks.server.thread.is_alive():
            time.sleep(0.5)
        raise RuntimeError("the page's server ended by itself")


@contextmanager
def open_page(visitors: Visitors, web: Web) -> Iterator[gr.Blocks]:
    """Serve the page while the body of the `with` runs; its address is the `local_url` of what comes."""
    port = _free_port(web.host, web.port)
    with tempfile.TemporaryDirectory(prefix="slt-web-") as folder, _environment({CACHE: folder, NO_PROXY: "*"}):
        visitors.folder = Path(folder).resolve()
        # In an event loop that ends: without one Gradio opens several for its locks and never closes them.
        blocks = asyncio.run(_launch(visitors, web, port))
        try:
            yield blocks
        finally:
            # An open page keeps a connection; that it is cut is no error.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            blocks.server.config.timeout_graceful_shutdown = 1
            blocks.close(verbose=False)
            visitors.stop_all()


async def _launch(visitors: Visitors, web: Web, port: int) -> gr.Blocks:
    # Translated in the browser: a page that asked the server for its first words would come up in two steps.
    limits = {"seconds": web.max_seconds, "mb": web.max_mb}
    words = gr.I18n(**{name: {**of, "limits": of["limits"].format(**limits)} for name, of in TEXTS.items()})
    # Another site's name that is made to lead to this machine (DNS rebinding) is not answered.
    # Of `[::1]:7860` some versions of Starlette read no more than the bracket, which no name begins with.
    own = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "["])
    room = Middleware(RoomFirst, make_room=visitors.make_room, largest=web.max_mb * 2**20)
    blocks = _blocks(visitors, words)
    blocks.launch(
        server_name=f"[{web.host}]" if ":" in web.host else web.host, server_port=port, prevent_thread_lock=True,
        quiet=True, share=False, inbrowser=False, inline=False, max_file_size=web.max_mb * 2**20, show_error=True,
        footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
        css=html.CSS, theme=gr.themes.Default(primary_hue="blue", font=FONTS, text_size="lg"), i18n=words,
        js=html.script(),
        app_kwargs={"middleware": [*[own] * (web.host in LOOPBACK), room], "openapi_url": None},
    )  # fmt: skip
    # Before Gradio's own routes, of which the last takes every path.
    blocks.app.router.routes[:0] = _routes(visitors)
    return blocks


def _routes(visitors: Visitors) -> list[Route]:
    """Return what the page's script asks beside Gradio: whether this server is there still, and to take corrections."""
    started = secrets.token_hex(8)

    async def there(_: Request) -> JSONResponse:
        return JSONResponse({"started": started})

    async def correct(request: Request) -> JSONResponse:
        if int(request.headers.get("content-length", MOST_WORDS + 1)) > MOST_WORDS:
            return JSONResponse({}, 413)
        language = html.language(request.headers.get("accept-language"))
        try:
            asked = json.loads(await request.body())
            consent = Consent(bool(asked["consent"]), bool(asked["film"]) and bool(asked["consent"]))
            change = await run_in_threadpool(visitors.correct, str(asked["key"]), asked["words"], consent, language)
        except (KeyError, TypeError, ValueError):
            return JSONResponse({}, 400)
        gone = html.part("message", html.TEXTS[language]["result_gone"])
        return JSONResponse({"message": gone}, 404) if change is None else JSONResponse(change)

    return [Route("/slt/there", there), Route("/slt/correct", correct, methods=["POST"])]


def _film_tab(text: gr.I18n) -> tuple[dict[str, Any], gr.Button, gr.Button]:
    """Return the parts of a film's tab by name, what one sees first first; and the buttons to start and begin anew."""
    part: dict[str, Any] = {}
    with gr.Column(elem_id="ask"):
        part["film"] = gr.Video(
            label=text("film"), sources=["upload", "webcam"], include_audio=False, height=260, elem_id="film"
        )
        start = gr.Button(text("translate"), variant="primary", elem_id="translate")
        gr.Markdown(text("limits"))
    part["status"] = gr.HTML(elem_id="status")
    part["said"] = gr.HTML(elem_id="said")
    with gr.Row(elem_id="details"):
        for scale, names in ((5, ("player", "correct")), (7, ("nbest", "timeline", "timings"))):
            with gr.Column(scale=scale):
                for name in names:
                    part[name] = gr.HTML(elem_id=name)
    another = gr.Button(text("another"), elem_id="another")
    return part, start, another


def _camera_tab(text: gr.I18n) -> tuple[gr.Image, list[gr.HTML]]:
    """Return the camera, and where its captions and its drawn pictures stand."""
    with gr.Column(scale=5):
        camera = gr.Image(
            label=text("camera"), sources=["webcam"], streaming=True, type="numpy", elem_id="camera",
            webcam_options=gr.WebcamOptions(mirror=False),  # a left hand is a left hand
        )  # fmt: skip
        gr.Markdown(text("live_about"))
    with gr.Column(scale=7):
        return camera, [gr.HTML(elem_id=name) for name in ("live-said", "live-picture")]


def _blocks(visitors: Visitors, text: gr.I18n) -> gr.Blocks:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    with gr.Blocks(title=TEXTS[LANGUAGES[0]]["title"], analytics_enabled=False) as blocks:
        gr.Markdown(text("about"), elem_id="about")
        with gr.Tab(text("film_tab"), id="film"):
            part, start, another = _film_tab(text)
        with gr.Tab(text("camera_tab"), id="live") as camera_tab, gr.Row():
            camera, shown = _camera_tab(text)
        # What is said after the camera was stopped is asked for; pictures bring their own answers.
        asking = gr.Timer(0.5, active=False)

        def translate(sent: Mapping[str, Any] | None, request: gr.Request) -> Iterator[dict[Any, Any]]:
            path = None if sent is None else str(sent["path"])
            for changes in visitors.translate(path, request.session_hash or "", _language(request)):
                yield {part[name]: value for name, value in changes.items()}

        def begin_anew(request: gr.Request) -> dict[Any, Any]:
            changes = visitors.begin_anew(request.session_hash or "", _language(request))
            return {part[name]: value for name, value in changes.items()}

        def look(picture: Any, request: gr.Request) -> tuple[str, str]:
            return visitors.look(picture, request.session_hash or "", _language(request))

        def ask(request: gr.Request) -> Any:
            seen = visitors.seen(request.session_hash or "", _language(request))
            return (gr.skip(), gr.skip()) if seen is None else seen

        def leave(request: gr.Request) -> None:
            visitors.forget(request.session_hash or "")
            visitors.switch_off(request.session_hash or "")

        # All stand in our line, where they see their place; Gradio's own shows none. As it came: Gradio would take the
        # sound out by a program that need not be here; it is never decoded anyway.
        start.click(translate, [part["film"]], list(part.values()), concurrency_limit=None, preprocess=False, **quiet)
        another.click(begin_anew, None, list(part.values()), concurrency_limit=None, **quiet)
        camera.stream(look, [camera], shown, stream_every=1 / SENT_FPS, concurrency_limit=None, **quiet)
        asking.tick(ask, None, shown, **quiet)
        camera_tab.select(lambda: gr.Timer(active=True), None, asking, api_visibility="private")
        blocks.unload(leave)
    blocks.queue(max_size=4 * WAITING)
    return blocks


def _language(request: gr.Request) -> str:
    return html.language(request.headers.get("accept-language"))


def _free_port(host: str, port: int) -> int:
    """Return the port, or any that is free for 0; Gradio has no message that says which of the two cannot be had."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
            return int(listening.getsockname()[1])
    except OSError as error:
        raise OSError(
            f"web.port={port}: cannot listen on web.host={host} ({error.strerror or error}); another program, or "
            f"another page like this, may have the port: set another, as in web.port={port % 65535 + 1}"
        ) from error


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
