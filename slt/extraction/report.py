"""An extracted corpus -> `report.html`, the page to look at before training: what was seen, and the worst clips."""

from __future__ import annotations

import base64
import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from slt.drawing.charts import draw_histogram
from slt.drawing.page import templates
from slt.extraction.contact_sheet import Moment, draw_sheet
from slt.extraction.footage import frames_at
from slt.extraction.geometry import Box, Picture
from slt.extraction.records import read_lines, record_of
from slt.extraction.source import Source
from slt.files import atomic
from slt.streams.arrays import pose_arrays, read_pose
from slt.streams.packed import PackedCrops, decode_jpeg, encode_jpeg, frame_path
from slt.streams.skeleton import file_skeleton
from slt.words import say

MOMENTS = 6  # frames on a contact sheet
QUALITY = 85  # of its JPEG
FEWEST_LEADING, MIRRORED_ABOVE = 5, 0.7  # clips, and the share of those the left hand leads in, that raise a question
ROWS = 200  # of a table of the page; the rest is counted, and stands in metadata.jsonl
# Of a reason: what stands in quotes or brackets, and every word with a digit.
_VARYING = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|\([^)]*\)|\S*\d\S*")
ORDER = ["face", "left_hand", "right_hand", "pose"]


class Fact:
    """What the page keeps of one line of metadata.jsonl. Streams are in `ORDER`."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        signer: Mapping[str, Any] = record.get("signer") or {}
        size, start, box = record.get("size") or (1, 1), record.get("start"), signer.get("box")
        self.video_id = str(record["video_id"])
        self.film = str(record.get("film") or "")
        self.start = None if start is None else float(start)
        self.failure = str(record.get("failure") or "")
        self.fps = float(record.get("fps") or 0)
        self.film_fps = float(record.get("film_fps") or self.fps)
        self.frames = int(record.get("frames") or 0)
        self.seconds = self.frames / self.fps if self.fps else 0.0
        self.size = int(size[0]), int(size[1])
        self.seen, self.followed, self.moved = (_by_stream(record, key) for key in ("seen", "followed", "moved"))
        self.box = _by_stream(record, "box")  # None of a stream that was never seen
        self.certainty = float(signer.get("certainty", 1.0))
        self.persons = int(signer.get("persons", 1))
        self.unsure = bool(signer.get("unsure", False))
        self.signer: Box | None = None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        self.mirrored = bool(record.get("mirrored", False))
        self.notes = [str(note) for note in record.get("notes") or ()]
        shares = list(self.seen.values()) or [0.0]
        self.badness = min(shares), sum(shares) / len(shares), self.video_id  # sorts the least seen first


def write_overview(out: Path, sources: Mapping[str, Source], folders: Mapping[str, str], *, worst: int) -> Path:
    """Write `report.html` into a corpus, with contact sheets of the `worst` clips by their sources and folders."""
    facts, extractors = _read_facts(out / "metadata.jsonl")
    clips = [fact for fact in facts if not fact.failure]
    failed = [fact for fact in facts if fact.failure]
    unsure = sorted((clip for clip in clips if clip.unsure), key=lambda clip: (clip.certainty, clip.video_id))
    chosen = choose_worst(clips, worst)
    page = (
        templates("slt.extraction")
        .get_template("overview.html")
        .render(
            title=say("{corpus}: what was extracted").format(corpus=out.resolve().name),
            clips=clips,
            length=_duration(sum(clip.seconds for clip in clips)),
            films={clip.film for clip in clips},
            lost={fact.film for fact in failed} - {clip.film for clip in clips},
            leading=_leading(clips),
            extractors=extractors,
            notes=Counter(note for clip in clips for note in clip.notes).most_common(),
            streams=_streams(clips),
            charts=[Markup(svg) for svg in _charts(clips) if svg],
            faults=_table_faults(out / "faults.csv"),
            failed=failed,
            unsure=unsure,
            most=ROWS,
            worst=(_sheet(out, folders, clip, sources.get(clip.video_id)) for clip in chosen),
            shown=len(chosen),
        )
    )
    with atomic(out / "report.html") as file:
        file.write(page.encode())
    return out / "report.html"


def choose_worst(clips: Sequence[Fact], count: int) -> list[Fact]:
    """Return the clips of which least is seen, and up to half of them those of unsure signers.

    A stranger who is followed is seen as well as the signer would be.
    """
    unsure = sorted((clip for clip in clips if clip.unsure), key=lambda clip: (clip.certainty, clip.badness))
    first = unsure[: math.ceil(count / 2)]
    named = {clip.video_id for clip in first}
    rest = sorted((clip for clip in clips if clip.video_id not in named), key=lambda clip: clip.badness)
    return first + rest[: count - len(first)]


def _read_facts(path: Path) -> tuple[list[Fact], list[str]]:
    facts, extractors = [], Counter[str]()
    for number, record in enumerate(read_lines(path), 1):
        with record_of(f"{path} line {number}"):
            facts.append(Fact(record))
        if "failure" not in record:
            name = f"{record.get('extractor', 'not named')}, version {record.get('version', '?')}"
            extractors[f"{name}, fingerprint {record.get('fingerprint', '?')}"] += 1
    return facts, [name if len(extractors) == 1 else f"{name}: {n} clips" for name, n in sorted(extractors.items())]


def _by_stream(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    numbers = dict(record.get(key) or {})
    return {name: None if numbers[name] is None else float(numbers[name]) for name in sorted(numbers, key=_order)}


def _order(stream: str) -> tuple[int, str]:
    return (ORDER.index(stream) if stream in ORDER else len(ORDER)), stream


def _leading(clips: Sequence[Fact]) -> str:
    """Return in which share of the clips the left hand moves more, and what that may mean: most people sign right."""
    moving = [clip.moved for clip in clips if any(clip.moved.values())]
    if not moving:
        return say("not known")
    left = sum(moved["left_hand"] > moved["right_hand"] for moved in moving)
    said = f"{left:,} of {len(moving):,} clips in which a hand moves ({100 * left / len(moving):.0f} %)"
    turned = sum(clip.mirrored for clip in clips)
    if turned:
        said += f"; {turned:,} clips were turned over (mirrored)"
    if len(moving) >= FEWEST_LEADING and left > MIRRORED_ABOVE * len(moving):
        todo = "take mirrored=false" if turned > len(clips) / 2 else "set mirrored=true"
        said += (
            f". Are these selfie films, or is the signer left-handed? Look at writing in a picture: if mirrored, {todo}"
        )
    return said


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _streams(clips: Sequence[Fact]) -> list[dict[str, Any]]:
    """Return a row for each stream: shares of all frames, not of clips, for long clips train longer."""
    rows = []
    for stream in sorted({name for clip in clips for name in clip.seen}, key=_order):
        having = [clip for clip in clips if stream in clip.seen]
        frames = sum(clip.frames for clip in having) or 1
        seen = sum(clip.seen[stream] * clip.frames for clip in having) / frames
        followed = sum(clip.followed.get(stream, 0.0) * clip.frames for clip in having) / frames
        sides = [side for clip in having if (side := clip.box.get(stream)) is not None]
        rows.append(
            {
                "name": stream,
                "side": float(np.median(sides)) if sides else None,
                "seen": seen,
                "followed": followed,
                "detected": seen - followed,
                "never": sum(clip.seen[stream] == 0 for clip in having),
                "half": sum(clip.seen[stream] < 0.5 for clip in having),
            }
        )
    return rows


def _charts(clips: Sequence[Fact]) -> Iterator[str]:
    how: dict[str, Any] = {"counted": say("clips"), "limits": None, "bins": 30}
    yield draw_histogram(say("length"), [clip.seconds for clip in clips], axis=say("seconds"), **how)
    yield draw_histogram(
        say("frame rate"), [clip.fps for clip in clips], axis=say("frames a second, as extracted"), **how
    )
    for stream in sorted({name for clip in clips for name in clip.seen}, key=_order):
        shares = [100 * clip.seen[stream] for clip in clips if stream in clip.seen]
        title = say("{stream}: share seen").format(stream=say(stream.replace("_", " ")))
        yield draw_histogram(
            title, shares, axis=say("% of the clip's frames"), counted=say("clips"), limits=(0, 100), bins=20
        )
    for stream in sorted({name for clip in clips for name in clip.box}, key=_order):
        sides = [side for clip in clips if (side := clip.box.get(stream)) is not None]
        axis = say("pixels of the film, median of a clip")
        yield draw_histogram(
            say("{stream}: side of the box").format(stream=say(stream.replace("_", " "))), sides, axis=axis, **how
        )


def _table_faults(path: Path) -> list[dict[str, Any]]:
    """Return the faults of the tables by reason, the most frequent first; what differs from row to row is left out."""
    if not path.is_file():
        return []
    kinds: dict[tuple[str, bool], dict[str, Any]] = {}
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                reason, dropped = row.get("reason") or "", (row.get("dropped") or "").lower() == "true"
                first = {"dropped": dropped, "count": 0, "example": f"{row.get('where')}: {reason}"}
                kinds.setdefault((_VARYING.sub("…", reason), dropped), first)["count"] += 1
    except csv.Error as error:
        raise ValueError(f"{path}: not a table that can be read ({error}); delete it, or extract anew") from error
    return sorted(kinds.values(), key=lambda row: (-row["count"], row["example"]))


def _sheet(out: Path, folders: Mapping[str, str], clip: Fact, source: Source | None) -> dict[str, Any]:
    text = "" if source is None else source.text
    shown: dict[str, Any] = {"clip": clip, "text": text, "picture": None, "size": (0, 0)}
    try:
        moments, lacks = _moments(out, folders, clip, source)
    except (ValueError, OSError) as error:
        return shown | {"lacks": f"No sheet: {error}"}
    sheet = draw_sheet(moments, size=clip.size, signer=clip.signer)
    picture = f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(sheet, QUALITY)).decode()}"
    return shown | {"picture": picture, "size": (sheet.shape[1], sheet.shape[0]), "lacks": lacks}


def _moments(out: Path, folders: Mapping[str, str], clip: Fact, source: Source | None) -> tuple[list[Moment], str]:
    """Read the evenly spaced frames of a clip; returns them, and what is not there, in words."""
    path = out / folders["pose"] / f"{clip.video_id}.npz"
    arrays = pose_arrays(path)
    pose = read_pose(path)
    points, skeleton = pose.points, file_skeleton(pose.skeleton, pose.points.shape[1], str(path))
    frames = len(points)
    index = np.unique(((np.arange(MOMENTS) + 0.5) * frames / MOMENTS).astype(np.int64))
    crops = {
        stream: _read_crops(out / folder, clip.video_id, index, arrays.get(f"seen_{folder}"))
        for stream, folder in folders.items()
        if stream != "pose" and _has_crops(out / folder, clip.video_id)
    }
    boxes = {stream: arrays.get(f"box_{folders[stream]}", np.zeros((frames, 3))) for stream in crops}
    pictures: list[Picture | None] = [None] * len(index)
    lacks = ""
    if crops:  # else it is made of key points: there never was a film
        try:
            pictures = _film_pictures(clip, source, index)
        except (ValueError, OSError) as error:
            lacks = f"The film is not read again ({error}): crops and landmarks only."
    moments = [
        Moment(
            title=f"{t / clip.fps:.2f} s, frame {t}",
            film=pictures[place],
            points=points[t],
            skeleton=skeleton,
            crops={stream: read[place] for stream, (read, _) in crops.items()},
            marks={stream: int(marks[place]) for stream, (_, marks) in crops.items()},
            boxes={stream: [float(value) for value in rows[t]] for stream, rows in boxes.items()},
        )
        for place, t in enumerate(index.tolist())
    ]
    return moments, lacks


def _has_crops(folder: Path, video_id: str) -> bool:
    return (folder / f"{video_id}.safetensors").is_file() or frame_path(folder, video_id, 0).is_file()


def _read_crops(
    folder: Path, video_id: str, index: NDArray[np.int64], marks: NDArray[Any] | None
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return the crops (n, R, R, 3) and marks (n,) of the frames of `index` (n,), from either form."""
    packed = folder / f"{video_id}.safetensors"
    if packed.is_file():
        clip = PackedCrops(packed)
        return clip.frames(index), clip.marks[index]
    paths = [frame_path(folder, video_id, t) for t in index.tolist()]
    frames = np.stack([decode_jpeg(path.read_bytes(), str(path), None) for path in paths])
    return frames, np.asarray(frames.any((1, 2, 3)) if marks is None else marks[index], np.uint8)


def _film_pictures(clip: Fact, source: Source | None, index: NDArray[np.int64]) -> list[Picture | None]:
    """Return the film's picture of each frame of `index` (n,), None for those that it does not give."""
    if source is None or not source.path.exists():
        raise FileNotFoundError(f"{clip.film} is not there any more")
    found = [picture for _, picture in frames_at(source, (index / clip.fps).tolist())]
    return [*found, *[None] * len(index)][: len(index)]
