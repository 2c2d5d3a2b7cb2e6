"""What an extraction starts from: films, or poses without films, brought together with the captions that cut them."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slt.corpora import layout, lsa_t, tables
from slt.extraction.captions import Captions, check_id
from slt.extraction.footage import FILMS, POSES, find_footage, folders_below
from slt.extraction.openpose import clip_facts, find_clips
from slt.extraction.source import Box, Fault, Source
from slt.files import existing
from slt.text import plain_name

log = logging.getLogger(__name__)

MIRRORED = {"true": True, "yes": True, "sí": True, "1": True, "false": False, "no": False, "0": False}
ENDINGS = {".srt": "srt", ".vtt": "vtt", ".eaf": "elan"}  # of files beside films
BOX_COLUMNS = ("video_id", "x", "y", "width", "height")
# What a table is called in a folder, by its format.
TABLES = {"subs": "subs.csv", "cuts": "subs.csv", "lsa_t": "meta.csv", "subtitles": "subtitles.json"}


@dataclass(frozen=True)
class Footage:
    """What a source folder holds and how it was filmed: keys of conf/extract.yaml of the same names."""

    kind: str
    boxes: Path | str | None = None
    mirrored: bool = False
    pictures_fps: float = 25.0
    openpose: Mapping[str, Any] | None = None

    def as_filmed(self, clip: Source) -> Source:
        """Say whether a clip is mirrored, its own column before the key for all, and the rate of pictures."""
        said = clip.columns.get("mirrored", "").strip().lower()
        if said and said not in MIRRORED:
            known = ", ".join(MIRRORED)
            raise ValueError(f"{clip.where}: mirrored {said!r}; expected one of {known}, or nothing")
        mirrored = MIRRORED[said] if said else self.mirrored
        if mirrored and self.kind != "films":
            raise ValueError(f"{clip.where}: mirrored: only pictures are turned over, kind={self.kind} holds none")
        pictures = self.kind == "films" and clip.path.is_dir()
        return replace(clip, mirrored=mirrored, fps=self.pictures_fps if pictures else clip.fps)


def find_sources(source: Path | str, footage: Footage, captions: Captions) -> tuple[list[Source], list[Fault]]:
    """Find what there is to extract, in the order of the table of captions, and all that is not as it should be.

    `source` is LSA-T's keypoints.h5 or a folder; films are known by their `plain_name` without ending.
    """
    source = Path(source)
    captions = _located(captions, source, footage.kind)
    table = Path(captions.path or source)
    if footage.kind == "keypoints":
        clips, faults = captions.read()
        clips = [replace(clip, path=source) for clip in clips]
        known = {clip.video_id for clip in clips} | {fault.video_id for fault in faults}
        left = [name for name in lsa_t.clip_names(source) if plain_name(name) not in known]
        faults += [Fault(source.name, name, f"no row for this clip in {table.name}", dropped=True) for name in left]
    else:
        clips, faults = _with_films(source, footage, captions)
    if not clips:
        reasons = "; ".join(f"{fault.where}: {fault.reason}" for fault in faults[:3])
        raise ValueError(f"{table}: no clip is left to extract ({reasons or 'no rows'}); mend the table")
    clips = [footage.as_filmed(clip) for clip in clips]
    if folders := len({clip.path for clip in clips if footage.kind == "films" and clip.path.is_dir()}):
        rate = footage.pictures_fps
        log.info("%d folders of pictures, taken at pictures_fps=%g frames/s, which they do not say", folders, rate)
    if footage.boxes is not None:
        clips, unused = boxed(clips, Path(footage.boxes))
        faults += unused
    return clips, faults


def _with_films(source: Path, footage: Footage, captions: Captions) -> tuple[list[Source], list[Fault]]:
    openpose = find_clips(source) if footage.kind == "poses" else {}
    size, fps = clip_facts(source, **(footage.openpose or {})) if openpose else (None, None)
    films = {plain_name(name): path for name, path in openpose.items()} or find_footage(source, footage.kind)
    faults: list[Fault] = []
    if captions.format == "none":
        for name, film in films.items():
            check_id(name, str(film))
        clips = [Source(name, film, where=film.name) for name, film in films.items()]
    else:
        clips, faults = captions.read(films)
        clips = [replace(clip, path=_film_of(clip, films, source)) for clip in clips]
    used = {clip.path for clip in clips}
    reason = f"no clip of this film is left in {Path(captions.path or source).name}"
    faults += [Fault(film.name, "", reason, dropped=True) for film in films.values() if film not in used]
    return [replace(clip, size=size, fps=fps) for clip in clips], faults


def _film_of(clip: Source, films: Mapping[str, Path], folder: Path) -> Path:
    """Return the film of a clip, or the path that it should have had."""
    name = clip.video or clip.video_id
    if any(sign in "/\\" for sign in name):
        raise ValueError(f"{clip.where}: video {name!r} must be a film's name in the source, not a path")
    if name in films:
        return films[name]
    given = Path(name)  # the name may stand there with its ending
    film = films.get(given.stem)
    if film is not None and (given.suffix.lower() in (*FILMS, *POSES) or plain_name(film.name) == name):
        return film
    return folder / name


def _located(captions: Captions, source: Path, kind: str) -> Captions:
    """Return the captions with their format, where that is "auto", and with the table or folder that holds them."""
    given = None if captions.path is None else Path(captions.path)
    if kind == "keypoints":
        existing(source, "LSA-T's keypoints.h5, which kind=keypoints reads")
    elif source.is_file():
        raise ValueError(f"source={source}: a file; kind={kind} expects the folder that holds it")
    elif not source.is_dir():
        raise FileNotFoundError(f"source={source}: no such folder; expected one with {kind}")
    format = captions.format
    if format == "auto":
        format = "lsa_t" if kind == "keypoints" else choose_captions(given or source, captions.unquoted)
        if format == "none" and given is not None:
            raise FileNotFoundError(
                f"captions.path={given}: no captions in this folder; expected subs.csv, srt files, ..."
            )
    if kind == "keypoints" and format != "lsa_t":
        raise ValueError(f"kind=keypoints reads LSA-T's own table, captions.format=lsa_t; came {format}")
    if format == "none" and given is not None:
        raise ValueError(f"captions.format=none reads no table; came captions.path={given}")
    path = given or (source.parent if kind == "keypoints" else source)
    inside = format in TABLES and (given is None or given.is_dir())
    return replace(captions, format=format, path=path / TABLES[format] if inside else path)


def choose_captions(place: Path, unquoted: bool) -> str:
    """Return the format of the captions in a source's folder, or of what `captions.path` names.

    subs.csv comes first, whatever stands beside it; else what there is; else "none".
    """
    if not place.is_dir():
        format = "subtitles" if place.suffix.lower() == ".json" else _format_of(place, unquoted)
    else:
        there = captions_below(place, unquoted)
        if len(there) > 1:
            there.pop("elan", None)  # annotations are often kept beside subtitles that were made of them
        if len(there) > 1:
            raise ValueError(
                f"{place}: captions in {len(there)} formats ({', '.join(names[0] for names in there.values())}); "
                f"choose one, as in captions.format={next(iter(there))}"
            )
        format = next(iter(there), "none")
    no = ": there are no captions, so each film is a clip without a sentence" if format == "none" else ""
    log.info("%s: captions.format=%s%s", place, format, no)
    return format


def captions_below(place: Path, unquoted: bool) -> dict[str, list[str]]:
    """Return the formats of the captions in a folder and those below it, each with its files; subs.csv is all."""
    if (place / "subs.csv").is_file():
        return {_format_of(place / "subs.csv", unquoted): ["subs.csv"]}
    there = {format: [name] for format, name in TABLES.items() if (place / name).is_file()}
    for here, names in folders_below(place):
        for name in names:
            if format := ENDINGS.get(Path(name).suffix.lower()):
                there.setdefault(format, []).append(str((here / name).relative_to(place)))
    return there


def _format_of(table: Path, unquoted: bool) -> str:
    """Tell by a table's columns, and by whether times stand in them, how it is to be read."""
    if unquoted or not table.is_file():
        return "subs"
    lines = tables.read_text(table)[0].splitlines()
    header = next((line for line in lines if not line.lower().startswith("sep=")), "").lower()
    columns = {re.sub(r'[\s"]', "", name) for name in re.split(r"[;,|\t]", header)}
    if {"id", "video", "start", "end"} <= columns:
        return "lsa_t"
    cut = (
        (row.get("start", "") + row.get("end", "")).strip() or row.get("video", "").strip() not in ("", row["video_id"])
        for _, row, _ in layout.table_rows(table)
        if row
    )
    return "cuts" if any(cut) else "subs"


def boxed(clips: Iterable[Source], table: Path) -> tuple[list[Source], list[Fault]]:
    """Give each clip its box, or else its film's, and list the rows that are nobody's."""
    boxes = read_boxes(table)
    out, without = [], []
    used: set[str] = set()
    for clip in clips:
        used |= {clip.video_id, clip.film}
        if name := next((name for name in (clip.video_id, clip.film) if name in boxes), None):
            out.append(replace(clip, box=boxes[name][1]))
        else:
            without.append(repr(clip.video_id))
    if without:
        some = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        raise ValueError(f"signer=box: no box for {some}; give each a row in boxes={table}")
    reason = "a box for a clip or film that is not extracted"
    return out, [Fault(boxes[name][0], name, reason, dropped=True) for name in boxes if name not in used]


def read_boxes(path: Path | str) -> dict[str, tuple[str, Box]]:
    """Read the table `video_id;x;y;width;height` to clip or film -> (line, box x0, y0, x1, y1), in pixels."""
    path = existing(path, f"the table boxes=, `{';'.join(BOX_COLUMNS)}`")
    table = tables.read_table(path, BOX_COLUMNS, known=BOX_COLUMNS, numbers=BOX_COLUMNS[1:])
    if tuple(table.columns) != BOX_COLUMNS:
        raise ValueError(f"{path} line 1: `{';'.join(BOX_COLUMNS)}` expected, came {table.columns}")
    boxes: dict[str, tuple[str, Box]] = {}
    for number, fields, fault in table.rows:
        where = f"{path} line {number}"
        if fault:
            raise ValueError(f"{where}: {fault}")
        name = plain_name(fields[0])
        try:
            x, y, width, height = map(float, fields[1:])
        except ValueError as error:
            raise ValueError(f"{where}: a name and four numbers of pixels expected, came {fields}") from error
        if name in boxes:
            raise ValueError(f"{where}: {name!r} stands already in {boxes[name][0]}; give one box")
        if not name or not all(map(math.isfinite, (x, y, width, height))) or min(width, height) <= 0:
            raise ValueError(f"{where}: a name, x, y, and width and height above 0 expected, came {fields}")
        boxes[name] = f"{path.name} line {number}", (x, y, x + width, y + height)
    return boxes
