"""The bound on what visitors' films and results occupy on disk: before an upload the oldest go until there is room."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# Gradio's route of what browsers send.
UPLOAD = "/gradio_api/upload"


class RoomFirst:
    """ASGI middleware: an upload is let in when `make_room(bytes)` has room for it, or is answered 507.

    Args:
        app: what answers.
        make_room: says whether so many bytes have room; called with 0 after an upload too, whose size may be untold.
        largest: bytes that one which tells no size may have.
    """

    def __init__(self, app: ASGIApp, make_room: Callable[[int], bool], largest: int) -> None:
        self.app, self.make_room, self.largest = app, make_room, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].rstrip("/").endswith(UPLOAD):
            await self.app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "")
        # What says that it is larger than one may be is refused by Gradio as it comes in, in its words.
        wanted = min(int(told), self.largest) if told.isdecimal() else self.largest
        if not self.make_room(wanted):
            await PlainTextResponse("The disk is full of films that are being translated.", 507)(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            self.make_room(0)


def delete_oldest(folder: Path, limit: int, busy: Collection[Path]) -> bool:
    """Delete what lies in a folder, the oldest first, until it occupies `limit` bytes at most; return whether it does.

    What is busy stays, and counts.
    """
    sizes, changed = {}, {}
    for path in folder.iterdir():
        with suppress(OSError):  # it may go meanwhile
            files = [path, *path.rglob("*")] if path.is_dir() else [path]
            sizes[path] = sum(file.stat().st_size for file in files if file.is_file())
            changed[path] = max(file.stat().st_mtime for file in files)
    whole = sum(sizes.values())
    for path in sorted(sizes, key=lambda each: changed.get(each, 0.0)):
        if whole <= limit:
            break
        if path not in busy:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            whole -= sizes[path]
    return whole <= limit
