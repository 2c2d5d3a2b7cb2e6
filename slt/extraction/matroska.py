"""Matroska and WebM: whether a file ends where one of its elements ends. FFmpeg reads half a block's file as whole."""

from __future__ import annotations

from pathlib import Path

_HEADER, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


def ends_within(path: Path) -> bool:
    """Tell whether a Matroska file ends within an element, as a copy or a recording that broke off does.

    Elements are an id, a size and content. Recordings do not know the size of the two that hold all others.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != _HEADER:
            return False
        file.seek(at := 0)
        while head := file.read(12):
            id_bytes = 9 - head[0].bit_length()
            size_bytes = 9 - head[id_bytes].bit_length() if len(head) > id_bytes else 9
            if id_bytes > 4 or (size_bytes > 8 and len(head) > id_bytes):
                return False  # something else was put behind the film
            start = id_bytes + size_bytes
            if len(head) < start:
                return True
            length = int.from_bytes(head[id_bytes:start]) & (1 << 7 * size_bytes) - 1
            unknown = length == (1 << 7 * size_bytes) - 1
            name = head[:id_bytes]
            holds = name in (_SEGMENT, _CLUSTER)
            if not (unknown and holds) and at + start + length > size:
                return True
            at += start + (0 if holds else length)
            file.seek(at)
    return False
