"""The demo as a page in the browser: a film goes up, its sentence, n-best and streams come down; nothing is kept."""

from __future__ import annotations

import asyncio
import logging
import os
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
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'ui=web needs Gradio: pip install "slt[web]" ({error})') from error

from slt.extraction.regions import Extractor
from slt.inference.live import Live
from slt.inference.onnx import SentenceTranslator
from slt.inference.page import html
from slt.inference.page.html import LANGUAGES, TEXTS
from slt.inference.page.live import SENT_FPS
from slt.inference.page.visitors import Visitors
from slt.inference.session import Reading

# Out of Gradio's own files. Of this family regular and bold have ñ á ¿, and semibold, its default, has no letters.
FONTS = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Gradio's name for the folder of what browsers send; and it asks its own server whether it is there, which no proxy is.
CACHE, NO_PROXY = "GRADIO_TEMP_DIR", "no_proxy"
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
    """Serve the page until Ctrl+C or SIGTERM; see `Visitors`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C
    visitors = Visitors(translator, extractor, settings, live, web.max_seconds)
    with suppress(KeyboardInterrupt), open_page(visitors, web) as blocks:
        print(f"open {blocks.local_url} in a browser; Ctrl+C ends", flush=True)
        if web.host not in LOOPBACK:
            print(f"web.host={web.host}: whoever reaches this address can use the page, and nothing is encrypted")
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
    blocks = _blocks(visitors, words)
    blocks.launch(
        server_name=f"[{web.host}]" if ":" in web.host else web.host, server_port=port, prevent_thread_lock=True,
        quiet=True, share=False, inbrowser=False, inline=False, max_file_size=web.max_mb * 2**20, show_error=True,
        footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
        css=html.CSS, theme=gr.themes.Default(primary_hue="blue", font=FONTS), i18n=words,
        app_kwargs={"middleware": [own] if web.host in LOOPBACK else [], "openapi_url": None},
    )  # fmt: skip
    return blocks


def _film_tab(text: gr.I18n) -> tuple[dict[str, Any], gr.Button]:
    """Return the parts of a film's tab by name, and the button that starts."""
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
        with gr.Tab(text("film_tab"), id="film"), gr.Row():
            part, start = _film_tab(text)
        with gr.Tab(text("camera_tab"), id="live") as camera_tab, gr.Row():
            camera, shown = _camera_tab(text)
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
