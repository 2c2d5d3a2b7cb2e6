"""What an extraction starts from: films, or poses without films, brought together with the captions that cut them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slt.data import tables
from slt.data.captions import FORMATS, Caption, Fault, check_id, plain_name, read_captions

FILMS = (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".gif")
POSES = (".pose",)
KINDS = ("films", "keypoints", "poses")
SIGNERS = ("auto", "largest", "box")
BOX_COLUMNS = ("video_id", "x", "y", "width", "height")

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Source:
    """One clip to extract.

    Attributes:
        video_id: the clip.
        path: film, keypoints.h5 or .pose file; it may not be there: then the extraction fails this film by name.
        start: seconds in the film; None = its beginning.
        end: seconds in the film; None = its end.
        row: video_id, texto and further columns of subs.csv.
        box: where the signer is, x0, y0, x1, y1 in pixels of the upright picture; None = nobody said.
        person: whose key points are the signer's, where a file holds those of several people.
    """

    video_id: str
    path: Path
    start: float | None
    end: float | None
    row: Mapping[str, str]
    box: Box | None = None
    person: int = 0


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
    language: str | None = None,
    strip: Mapping[str, str | None] | None = None,
) -> tuple[list[Source], list[Fault]]:
    """Find what there is to extract, in the order of the table of captions, and all that is not as it should be.

    Films are known by their name without ending, compared as `plain_name` has it: films downloaded by title come with
    invisible characters and with accents in two spellings.

    Args:
        source: folder of films or of .pose files, or LSA-T's keypoints.h5.
        kind: films, poses or keypoints.
        path: the table; None = subs.csv, meta.csv or subtitles.json in the source's folder, as `format` has it, and
            for srt and vtt the source's folder itself.
        format: of the table, one of `captions.FORMATS`.
        unquoted: see `read_captions`.
        min_seconds: see `read_captions`.
        signer: how the signer is found; "box" needs a box for every clip.
        boxes: table `video_id;x;y;width;height` in pixels; video_id is a clip's or a film's, and a clip's comes first.
        language: see `read_captions`.
        strip: see `read_captions`.

    Raises:
        FileNotFoundError: no such folder, no film in it, or no such table.
        ValueError: a key's value, a folder that cannot be listed, two films of one name, a fault of a whole table, a
            clip without a box, or nothing left to extract.
    """
    for key, value, known in (("kind", kind, KINDS), ("captions.format", format, FORMATS), ("signer", signer, SIGNERS)):
        if value not in known:
            raise ValueError(f"{key}={value}: expected one of {', '.join(known)}")
    source = Path(source)
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
        endings = FILMS if kind == "films" else POSES
        films = _films(source, endings)
        if format == "none":
            captions, faults = [_whole(name, film) for name, film in films.items()], []
        else:
            captions, faults = read(table, films=films)
        cut = format not in ("subs", "none")
        found = [_source(caption, _film_of(caption, films, source, endings), cut=cut) for caption in captions]
        used = {clip.path for clip in found}
        reason = f"no clip of this film is left in {table.name}"
        faults += [Fault(film.name, "", reason, dropped=True) for film in films.values() if film not in used]
    if not found:
        reasons = "; ".join(f"{fault.where}: {fault.reason}" for fault in faults[:3])
        raise ValueError(f"{table}: no clip is left to extract ({reasons or 'no rows'}); mend the table")
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
    if path is not None:
        if format == "none":
            raise ValueError(f"captions.format=none reads no table; came captions.path={path}")
        return Path(path)
    folder = source.parent if kind == "keypoints" else source
    names = {"subs": "subs.csv", "cuts": "subs.csv", "lsa_t": "meta.csv", "subtitles": "subtitles.json"}
    return folder / names[format] if format in names else folder


def _films(folder: Path, endings: Sequence[str]) -> dict[str, Path]:
    """Return the films of a folder by their plain names, sorted."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    except OSError as error:
        text = f"source={folder}: cannot be listed ({error.strerror}); mend the folder's rights"
        raise ValueError(text) from error
    films: dict[str, Path] = {}
    for path in paths:
        name = plain_name(path.stem)
        if name in films:
            raise ValueError(
                f"{path}: {films[name].name} has the same name but for its ending, and films are known by it; "
                "rename one"
            )
        films[name] = path
    if not films:
        raise FileNotFoundError(f"source={folder}: no film in this folder; expected {', '.join(endings)}")
    return films


def _whole(name: str, film: Path) -> Caption:
    check_id(name, str(film))
    return Caption(film.name, name, name, None, None, "")


def _film_of(caption: Caption, films: Mapping[str, Path], folder: Path, endings: Sequence[str]) -> Path:
    """Return the film of a caption, or the path that it should have had."""
    if any(sign in "/\\" for sign in caption.video):
        raise ValueError(f"{caption.where}: video {caption.video!r} must be a film's name in the source, not a path")
    if caption.video in films:
        return films[caption.video]
    given = Path(caption.video)  # the name may stand there with its ending
    if given.suffix.lower() in endings:
        return films.get(given.stem, folder / caption.video)
    return folder / f"{caption.video}{endings[0]}"


def _source(caption: Caption, path: Path, *, cut: bool) -> Source:
    row = {"video_id": caption.video_id, "texto": caption.text, **caption.columns}
    if cut:
        times = {"start": caption.start, "end": caption.end}
        row |= {"video": caption.video} | {key: "" if time is None else repr(time) for key, time in times.items()}
    return Source(caption.video_id, path, caption.start, caption.end, row, person=caption.person)


def _clips_without_row(path: Path, ids: Iterable[str], faults: Iterable[Fault], table: Path) -> list[Fault]:
    from slt.data.keypoints import clip_names

    known = {*ids, *(fault.video_id for fault in faults)}
    reason = f"no row for this clip in {table.name}"
    return [Fault(path.name, name, reason, dropped=True) for name in clip_names(path) if name not in known]


# ---------------------------------------------------------------- boxes


def _boxed(found: Iterable[Source], table: Path) -> tuple[list[Source], list[Fault]]:
    """Give each clip its box, or else its film's, and list the rows that are nobody's."""
    boxes = read_boxes(table)
    used: set[str] = set()
    out = []
    for clip in found:
        name = next((name for name in (clip.video_id, plain_name(clip.path.stem)) if name in boxes), None)
        used |= {clip.video_id, plain_name(clip.path.stem)}
        out.append(clip if name is None else Source(**{**vars(clip), "box": boxes[name][1]}))
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
