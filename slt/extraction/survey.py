"""Before the first film: which clips are of films that changed, are not there, or end before the clip does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from slt.extraction.footage import known_by, probe, read_frames
from slt.extraction.source import Fault, Source
from slt.extraction.video import Cut, end_room
from slt.text import plain_name

AT_ONCE = 16  # films: opening one is waiting for the disk or the net
LISTED = 10  # clips that a message names; the rest is counted

Prints = Mapping[Path, Mapping[str, Any] | None]


def read_prints(sources: Iterable[Source]) -> Prints:
    """Return by what each file that clips come from is known (`footage.known_by`); None where it is not there."""
    paths = [*dict.fromkeys(source.path for source in sources)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(paths, pool.map(known_by, paths), strict=True))


def same_film(source: Source, record: Mapping[str, Any], prints: Prints) -> bool:
    """Tell whether a record is of the film that is there now; one without its content is taken at its word."""
    now, then = prints.get(source.path), record.get("source")
    if now and then and now != then:
        return False
    film, name = plain_name(record["film"]), plain_name(source.path.name)
    return film == name or (now is None and Path(film).stem in (name, source.film))


def foresee(todo: Sequence[Source], *, kind: str) -> list[Fault]:
    """Return the clips that cannot be extracted: of films by their ends, of others by being there."""
    films: dict[Path, list[Source]] = {}
    for source in todo:
        films.setdefault(source.path, []).append(source)

    def look(path: Path) -> dict[str, str]:
        try:
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such film in the source or below it")
            return _too_late(films[path]) if kind == "films" else {}
        except (ValueError, OSError) as error:
            return {clip.video_id: str(error) for clip in films[path]}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        reasons = {name: reason for found in pool.map(look, films) for name, reason in found.items()}
    return [
        Fault(source.where or source.path.name, source.video_id, reasons[source.video_id], dropped=True)
        for source in todo
        if source.video_id in reasons
    ]


def _too_late(clips: Sequence[Source]) -> dict[str, str]:
    """Return the cuts that end after their film, of which the first is read to be sure: stated lengths are rounded."""
    film = probe(clips[0])
    length = film.end or film.duration
    if length is None:
        return {}
    room = end_room(film.fps)
    late = [clip for clip in clips if max(clip.start or 0.0, (clip.end or 0.0) - room) >= length]
    if not late:
        return {}
    first = min(late, key=lambda clip: clip.end or clip.start or 0.0)
    with suppress(ValueError):
        for _ in read_frames(replace(first, start=max(first.start or 0.0, length - 2.0)), fps=film.fps):
            pass
        return {}
    ends = f"goes past the end of the film at {length:.2f} s; mend its times or take the right film"
    return {clip.video_id: f"{Cut(clip.path, film.fps, clip.start or 0.0, clip.end)} {ends}" for clip in late}


def some(faults: Sequence[Fault]) -> str:
    lines = [f"{fault.where}, clip {fault.video_id!r}: {fault.reason}" for fault in faults[:LISTED]]
    more = [f"and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
    return "\n  ".join([*lines, *more])
