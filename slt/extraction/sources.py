"""What an extraction starts from: films, or poses without films, brought together with the captions that cut them."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from slt.corpora import layout, tables
from slt.extraction.captions import FORMATS, Caption, check_id, read_captions
from slt.extraction.footage import FILMS, POSES, find_footage, folders_below
from slt.extraction.openpose import clip_facts, find_clips
from slt.extraction.poses import clip_names
from slt.extraction.source import Box, Fault, Source
from slt.text import plain_name

log = logging.getLogger(__name__)

KINDS = ("films", "keypoints", "poses")
SIGNERS = ("auto", "largest", "box")
MIRRORED = {"": None, "true": True, "yes": True, "sí": True, "1": True, "false": False, "no": False, "0": False}
BOX_COLUMNS = ("video_id", "x", "y", "width", "height")


def find_sources(
    source: Path | str,
    *,
    kind: str,
    path: Path | str | None,
    format: str,
    unquoted: bool,
    min_seconds: float,
    signer: str,
    boxes: Path | str | None,
    mirrored: bool = False,
    pictures_fps: float = 25.0,
    openpose: Mapping[str, Any] | None = None,
    language: str | None = None,
    strip: Mapping[str, str | None] | None = None,
) -> tuple[list[Source], list[Fault]]:
    """Find what there is to extract, in the order of the table of captions, and all that is not as it should be.

    Films are known by their name without ending, compared as `plain_name` has it: films downloaded by title come with
    invisible characters and with accents in two spellings.

    Args:
        source: folder of films, folders of pictures, of .pose files (see `find_footage`) or of OpenPose's .json files,
            or LSA-T's keypoints.h5.
        kind: films, poses or keypoints.
        path: the table; None = subs.csv, meta.csv or subtitles.json in the source's folder, as `format` has it, and
            for srt and vtt the source's folder itself.
        format: of the table, one of `captions.FORMATS`; "auto" = what is there (`choose_captions`).
        unquoted: see `read_captions`.
        min_seconds: see `read_captions`.
        signer: how the signer is found; "box" needs a box for every clip.
        boxes: table `video_id;x;y;width;height` in pixels; video_id is a clip's or a film's, and a clip's comes first.
        mirrored: all films are mirrored but those of which the column `mirrored` says otherwise.
        pictures_fps: frames/s of folders of pictures.
        openpose: `size` (width, height) and `fps` of the films behind OpenPose's files.
        language: see `read_captions`.
        strip: see `read_captions`.

    Raises:
        FileNotFoundError: no such folder, no film in it, or no such table.
        ValueError: a key's value, a folder that cannot be listed, two films of one name, a fault of a whole table, a
            clip without a box, or nothing left to extract.
    """
    formats = ("auto", *FORMATS)
    for key, value, known in (("kind", kind, KINDS), ("captions.format", format, formats), ("signer", signer, SIGNERS)):
        if value not in known:
            raise ValueError(f"{key}={value}: expected one of {', '.join(known)}")
    source = Path(source)
    if format == "auto":
        format = "lsa_t" if kind == "keypoints" else choose_captions(source if path is None else Path(path), unquoted)
        if format == "none" and path is not None:
            raise FileNotFoundError(
                f"captions.path={path}: no captions in this folder; expected subs.csv, srt files, ..."
            )
    table = _table(source, kind, path, format)
    read = partial(
        read_captions,
        format=format,
        unquoted=unquoted,
        min_seconds=min_seconds,
        language=language,
        strip=strip,
    )
    if kind == "keypoints":
        captions, faults = read(table)
        found = [_source(caption, source, cut=True) for caption in captions]
        faults += _clips_without_row(source, [clip.video_id for clip in found], faults, table)
    else:
        clips = find_clips(source) if kind == "poses" else {}
        facts = clip_facts(**(openpose or {}), source=source) if clips else (None, None)
        films = {plain_name(name): path for name, path in clips.items()} or find_footage(source, kind)
        if format == "none":
            captions, faults = [_whole(name, film) for name, film in films.items()], []
        else:
            captions, faults = read(table, films=films)
        cut = format not in ("subs", "none")
        found = [_source(caption, _film_of(caption, films, source), cut=cut) for caption in captions]
        found = [replace(clip, size=facts[0], fps=facts[1]) for clip in found] if clips else found
        used = {clip.path for clip in found}
        reason = f"no clip of this film is left in {table.name}"
        faults += [Fault(film.name, "", reason, dropped=True) for film in films.values() if film not in used]
    if not found:
        reasons = "; ".join(f"{fault.where}: {fault.reason}" for fault in faults[:3])
        raise ValueError(f"{table}: no clip is left to extract ({reasons or 'no rows'}); mend the table")
    found = [_as_shown(clip, mirrored, pictures_fps, kind) for clip in found]
    if folders := len({clip.path for clip in found if kind == "films" and clip.path.is_dir()}):
        log.info(
            "%d folders of pictures, taken at pictures_fps=%g frames/s, which they do not say", folders, pictures_fps
        )
    if boxes is not None:
        found, unused = _boxed(found, Path(boxes))
        faults += unused
    if signer == "box" and (without := [clip.video_id for clip in found if clip.box is None]):
        raise ValueError(f"signer=box: no box for {_some(without)}; give boxes=, a table `{';'.join(BOX_COLUMNS)}`")
    return found, faults


def _table(source: Path, kind: str, path: Path | str | None, format: str) -> Path:
    if kind == "keypoints":
        if format != "lsa_t":
            raise ValueError(f"kind=keypoints reads LSA-T's own table, captions.format=lsa_t; came {format}")
        if not source.is_file():
            raise FileNotFoundError(f"source={source}: no such file; kind=keypoints expects LSA-T's keypoints.h5")
    elif source.is_file():
        raise ValueError(f"source={source}: a file; kind={kind} expects the folder that holds it")
    elif not source.is_dir():
        raise FileNotFoundError(f"source={source}: no such folder; expected one with {kind}")
    folder = source.parent if kind == "keypoints" else source
    if path is not None:
        if format == "none":
            raise ValueError(f"captions.format=none reads no table; came captions.path={path}")
        folder = Path(path)
    names = {"subs": "subs.csv", "cuts": "subs.csv", "lsa_t": "meta.csv", "subtitles": "subtitles.json"}
    return folder / names[format] if format in names and (path is None or folder.is_dir()) else folder


def choose_captions(place: Path, unquoted: bool) -> str:
    """Return the format of the captions in a source's folder, or of the table or folder that `captions.path` names.

    In a folder it is subs.csv, where it stands, whatever stands beside it; else what there is of meta.csv,
    subtitles.json, srt and vtt files; else "none", which is said.

    Raises:
        ValueError: several of these.
    """
    known = {"subs.csv": "subs", "meta.csv": "lsa_t", "subtitles.json": "subtitles"}
    if not place.is_dir():
        format = "subtitles" if place.suffix.lower() == ".json" else _format_of(place, unquoted)
    elif (place / "subs.csv").is_file():
        format = _format_of(place / "subs.csv", unquoted)
    else:
        there = {known[name]: name for name in known if (place / name).is_file()}
        for here, names in folders_below(place):
            for name in names:
                if (format := Path(name).suffix.lower()[1:]) in ("srt", "vtt"):
                    there.setdefault(format, str((here / name).relative_to(place)))
        if len(there) > 1:
            raise ValueError(
                f"{place}: captions in {len(there)} formats ({', '.join(there.values())}); say which are meant, as in "
                f"captions.format={next(iter(there))}"
            )
        format = next(iter(there), "none")
    no = ": there are no captions, so each film is a clip without a sentence" if format == "none" else ""
    log.info("%s: captions.format=%s%s", place, format, no)
    return format


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


def _whole(name: str, film: Path) -> Caption:
    check_id(name, str(film))
    return Caption(film.name, name, name, None, None, "")


def _film_of(caption: Caption, films: Mapping[str, Path], folder: Path) -> Path:
    """Return the film of a caption, or the path that it should have had."""
    if any(sign in "/\\" for sign in caption.video):
        raise ValueError(f"{caption.where}: video {caption.video!r} must be a film's name in the source, not a path")
    if caption.video in films:
        return films[caption.video]
    given = Path(caption.video)  # the name may stand there with its ending
    film = films.get(given.stem)
    if film is not None and (given.suffix.lower() in (*FILMS, *POSES) or plain_name(film.name) == caption.video):
        return film
    return folder / caption.video


def _as_shown(clip: Source, mirrored: bool, rate: float, kind: str) -> Source:
    """Say of a clip whether its film is mirrored, its own column before the key for all, and of pictures their rate."""
    said = clip.row.get("mirrored", "").strip().lower()
    if said not in MIRRORED:
        known = ", ".join(filter(None, MIRRORED))
        raise ValueError(f"{clip.where}: mirrored {said!r}; expected one of {known}, or nothing where it is not known")
    turned = mirrored if MIRRORED[said] is None else bool(MIRRORED[said])
    if turned and kind != "films":
        raise ValueError(f"{clip.where}: mirrored: only pictures are turned over, kind={kind} holds none")
    pictures = kind == "films" and clip.path.is_dir()
    return replace(clip, mirrored=turned, fps=rate if pictures else clip.fps)


def _source(caption: Caption, path: Path, *, cut: bool) -> Source:
    row = {"video_id": caption.video_id, "texto": caption.text, **caption.columns}
    if cut:
        times = {"start": caption.start, "end": caption.end}
        row |= {"video": caption.video} | {key: "" if time is None else repr(time) for key, time in times.items()}
    return Source(caption.video_id, path, caption.start, caption.end, row, person=caption.person, where=caption.where)


def _clips_without_row(path: Path, ids: Iterable[str], faults: Iterable[Fault], table: Path) -> list[Fault]:

    known = {*ids, *(fault.video_id for fault in faults)}
    reason = f"no row for this clip in {table.name}"
    return [Fault(path.name, name, reason, dropped=True) for name in clip_names(path) if plain_name(name) not in known]


# ---------------------------------------------------------------- boxes


def _boxed(found: Iterable[Source], table: Path) -> tuple[list[Source], list[Fault]]:
    """Give each clip its box, or else its film's, and list the rows that are nobody's."""
    boxes = read_boxes(table)
    used: set[str] = set()
    out = []
    for clip in found:
        name = next((name for name in (clip.video_id, clip.film) if name in boxes), None)
        used |= {clip.video_id, clip.film}
        out.append(clip if name is None else replace(clip, box=boxes[name][1]))
    reason = "a box for a clip or film that is not extracted"
    return out, [Fault(boxes[name][0], name, reason, dropped=True) for name in boxes if name not in used]


def read_boxes(path: Path | str) -> dict[str, tuple[str, Box]]:
    """Read the table `video_id;x;y;width;height` to name -> (line, box x0, y0, x1, y1), in pixels.

    Raises:
        FileNotFoundError: no such table.
        ValueError: naming file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"boxes={path}: no such table; expected `{';'.join(BOX_COLUMNS)}`")
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
        if not name or name in boxes or not all(map(math.isfinite, (x, y, width, height))) or min(width, height) <= 0:
            fault = f"{name!r} stands already in {boxes[name][0]}" if name in boxes else f"came {fields}"
            raise ValueError(f"{where}: a name, x, y, and width and height above 0 expected once a clip; {fault}")
        boxes[name] = f"{path.name} line {number}", (x, y, x + width, y + height)
    return boxes


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
