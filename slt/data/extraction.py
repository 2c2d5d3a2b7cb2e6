"""A folder of films and its table of captions become a corpus in the LSA-T layout, clip by clip (T frames).

What is finished is on disk and stays: each clip leaves a record when all its files are written, a second start goes on
after the last record, and `corpus.json` comes when all is there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slt.data import layout
from slt.data.films import Source, split_ids
from slt.data.rois import STREAMS, Clip, Extractor
from slt.data.video import probe, read_frames, target_rate

log = logging.getLogger(__name__)

RECORDS = ".records"  # one JSON a finished clip; gathered into metadata.jsonl at the end


@dataclass(frozen=True)
class ClipWriter:
    """Writes a clip's streams in the LSA-T layout.

    Attributes:
        out: the corpus folder.
        folders: stream -> its folder.
        packed: one file a clip and stream; else one JPEG a frame.
        encoding: of packed streams, "jpeg" or "raw".
        quality: of JPEG, 1..100.

    Raises:
        ValueError: a value outside these, said before the first film is opened.
    """

    out: Path
    folders: Mapping[str, str]
    packed: bool
    encoding: str
    quality: int

    def __post_init__(self) -> None:
        streams = {*STREAMS, "pose"}
        if set(self.folders) != streams or len(set(self.folders.values())) != len(streams):
            raise ValueError(f"folders: one folder for each of {sorted(streams)} expected, came {dict(self.folders)}")
        if self.packed not in (True, False) or self.encoding not in ("jpeg", "raw") or not 1 <= self.quality <= 100:
            raise ValueError(
                "packed must be true or false, encoding jpeg or raw and quality 1 to 100; came "
                f"packed={self.packed}, encoding={self.encoding}, quality={self.quality}"
            )

    def write(self, video_id: str, clip: Clip, fingerprint: str) -> None:
        """Write crops and pose; each file appears whole."""
        for stream, frames in clip.crops.items():
            folder = self.out / self.folders[stream]
            if self.packed:
                path = folder / f"{video_id}.safetensors"
                layout.write_packed(
                    path, frames, clip.seen[stream], encoding=self.encoding, quality=self.quality, extractor=fingerprint
                )
            else:
                layout.write_frames(folder, video_id, frames, quality=self.quality)
        seen = {self.folders[stream]: marks for stream, marks in clip.seen.items()}
        layout.write_pose(self.out / self.folders["pose"] / f"{video_id}.npz", clip.points, size=clip.size, seen=seen)

    def holds(self, video_id: str) -> bool:
        """Tell whether the files of a clip are there."""
        name = f"{video_id}.safetensors" if self.packed else layout.frame_path("", video_id, 0).name
        crops = [folder for stream, folder in self.folders.items() if stream != "pose"]
        pose = self.out / self.folders["pose"] / f"{video_id}.npz"
        return pose.is_file() and all((self.out / folder / name).is_file() for folder in crops)


def claim_folder(out: Path, recipe: Mapping[str, Any]) -> None:
    """Make the output folder this extraction's own, or go on in it.

    Raises:
        ValueError: it holds something else, or an extraction with another recipe.
    """
    marker = out / "extraction.json"
    if marker.is_file():
        came = json.loads(marker.read_text(encoding="utf-8"))
        if differ := sorted(key for key in {*came, *recipe} if came.get(key) != recipe.get(key)):
            pairs = [f"{key}: {came.get(key)} there, {recipe.get(key)} now" for key in differ if key != "parameters"]
            raise ValueError(
                f"out={out}: holds an extraction of other making ({', '.join(pairs)}); give another folder or delete it"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(f"out={out}: holds files that are not of an extraction; give a new or empty folder")
    else:
        layout.write_json(marker, recipe)


def finished_clips(writer: ClipWriter) -> dict[str, dict[str, Any]]:
    """Return the records of the clips that need no second look, by id."""
    metadata = writer.out / "metadata.jsonl"
    lines = metadata.read_text(encoding="utf-8").splitlines() if metadata.is_file() else []
    lines += [path.read_text(encoding="utf-8") for path in sorted((writer.out / RECORDS).glob("*.json"))]
    records = {record["video_id"]: record for record in map(json.loads, lines)}
    return {name: record for name, record in records.items() if "failure" not in record and writer.holds(name)}


def extract_films(
    sources: list[Source],
    extractor: Extractor,
    writer: ClipWriter,
    *,
    fps: float | None,
    max_fps: float,
    split: Mapping[str, Any],
    max_failures: int,
) -> dict[str, str]:
    """Extract all films that are not yet, write the tables and return what failed: id -> reason.

    Args:
        sources: the films.
        extractor: pictures to streams.
        writer: streams to files.
        fps: target rate; None = each film's own up to `max_fps`.
        max_fps: see `fps`.
        split: keyword arguments of `split_ids`.
        max_failures: films that may fail before all stops.

    Raises:
        ValueError: more films failed, or the folder holds another extraction.
    """
    split_ids([source.video_id for source in sources], **split)
    recipe = {"extractor": extractor.name, "version": extractor.version, "fingerprint": extractor.fingerprint}
    recipe |= {"fps": fps, "max_fps": max_fps} | {key: value for key, value in asdict(writer).items() if key != "out"}
    claim_folder(writer.out, recipe | {"parameters": extractor.parameters})
    done = finished_clips(writer)
    todo = [source for source in sources if source.video_id not in done]
    if todo:
        (writer.out / "corpus.json").unlink(missing_ok=True)
    failures: dict[str, str] = {}
    with tqdm(todo, unit="clip", initial=len(sources) - len(todo), total=len(sources)) as bar:
        for source in bar:
            try:
                record = extract_film(source, extractor, writer, fps=fps, max_fps=max_fps)
            except (ValueError, FileNotFoundError) as error:
                failures[source.video_id] = str(error)
                log.warning("%s failed: %s", source.video_id, error)
                if len(failures) > max_failures:
                    text = f"{error}. That makes {len(failures)} failed, max_failures={max_failures}"
                    raise ValueError(text) from error
                continue
            layout.write_json(writer.out / RECORDS / f"{source.video_id}.json", record)
            done[source.video_id] = record
    write_corpus(sources, done, failures, recipe, split, writer.out)
    return failures


def extract_film(
    source: Source, extractor: Extractor, writer: ClipWriter, *, fps: float | None, max_fps: float
) -> dict[str, Any]:
    """Extract one film, write its streams and return its line of metadata.jsonl."""
    start = time.perf_counter()
    rate = target_rate(probe(source.path), fps, max_fps)
    clip = extractor.clip(read_frames(source.path, fps=rate), fps=rate)
    writer.write(source.video_id, clip, extractor.fingerprint)
    return {
        "video_id": source.video_id,
        "film": source.path.name,
        "fps": round(rate, 6),
        "frames": len(clip.points),
        "size": list(clip.size),
        "seen": {stream: round(float(marks.mean()), 4) for stream, marks in clip.seen.items()},
        "extractor": extractor.name,
        "version": extractor.version,
        "fingerprint": extractor.fingerprint,
        "parameters": extractor.parameters,
        "seconds": round(time.perf_counter() - start, 3),
    }


def write_corpus(
    sources: list[Source],
    done: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    recipe: Mapping[str, Any],
    split: Mapping[str, Any],
    out: Path,
) -> None:
    """Write the tables over finished clips, `corpus.json` last, and put the records away."""
    kept = [source for source in sources if source.video_id in done]
    rows: list[dict[str, Any]] = []
    for source in kept:
        record = done[source.video_id]
        measured = {"film": record["film"], "fps": record["fps"], "frame_count": record["frames"]}
        rows.append({**source.row, **measured, "duration": round(record["frames"] / record["fps"], 3)})
    layout.write_table(out / "subs.csv", rows)
    splits = split_ids([source.video_id for source in kept], **split)
    for name in layout.SPLITS:
        if name in splits:
            layout.write_index(out / "index" / f"{name}.csv", splits[name])
        else:
            (out / "index" / f"{name}.csv").unlink(missing_ok=True)
    failed = [{"video_id": name, "failure": reason} for name, reason in failures.items()]
    layout.write_metadata(out / "metadata.jsonl", [*(done[source.video_id] for source in kept), *failed])
    text = json.dumps([recipe, [dict(row) for row in rows], splits], sort_keys=True)
    corpus = {"name": out.name, "maker": "slt.extract", "clips": len(kept), "failed": len(failed), "parameters": recipe}
    layout.write_json(out / "corpus.json", corpus | {"fingerprint": hashlib.sha256(text.encode()).hexdigest()})
    for path in (out / RECORDS).glob("*.json"):
        path.unlink()
    if (out / RECORDS).is_dir():
        (out / RECORDS).rmdir()
