"""The files of a dataset's streams, clip by clip: all that is wrong with them, for `slt.corpora.checking`.

T frames, R crop side, K landmarks, F feature width.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from tqdm import tqdm

from slt.streams.arrays import open_features, pose_arrays, pose_faults, pose_shape
from slt.streams.packed import PackedCrops, decode_jpeg, frame_path, parse_frame_name
from slt.streams.pose import BODY, FOLLOWED, HAND, RIGHT_SHOULDER, range_fault, shoulders_seen
from slt.streams.seen import Share, seen_faults

TOLERANCE = 2  # frames by which the streams of a clip may differ, as dataset.length_tolerance has it
BLACK = 8  # brightest value of a black picture: what a lossy encoder may make of 0
STREAMS = ("face", "hand_l", "hand_r", "pose")  # folders that hold a stream even where they are empty
FORMS = {".safetensors": "packed", ".jpg": "frames", ".npz": "pose", ".npy": "features", ".pose": "viewer"}
NAMES = {
    "packed": "{}.safetensors",
    "frames": "{}_f000000.jpg ...",
    "pose": "{}.npz",
    "features": "{}.npy",
    "viewer": "{}.pose",  # for the viewers of others; nothing here reads it
}
Say = Callable[[str, str], None]  # (kind, fault)


@dataclass
class Stored:
    """One folder in one form: which clips it holds, and what is found out of each while it is read.

    Attributes:
        path: the folder.
        form: a value of `FORMS`.
        files: id -> number of its files.
        last: id -> its highest frame number, where a frame is a file.
        sides: id -> crop side R, landmarks K or features F.
        seen: id -> frames in which a model sees the stream, and frames.
    """

    path: Path
    form: str
    files: Counter[str] = field(default_factory=Counter)
    last: dict[str, int] = field(default_factory=dict)
    sides: dict[str, int] = field(default_factory=dict)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)


def list_folder(path: Path, say: Say) -> Stored | None:
    """Return what stream a folder holds, by the form of which there are the most clips; None = it holds none."""
    if not path.is_dir() or path.name.startswith(".") or path.name == "index":
        return None
    found: dict[str, Stored] = {}
    strange: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:  # one by one: a corpus of single frames has millions
            suffix = Path(entry.name).suffix.lower()
            form, frame = FORMS.get(suffix, ""), parse_frame_name(entry.name)
            if entry.name.startswith("."):
                if entry.name.endswith(".tmp"):
                    say("unfinished", f"{path / entry.name}: left by a write that was stopped; remove it")
                continue
            if not form or (form == "frames" and frame is None):
                strange.append(entry.name)
                continue
            stream = found.setdefault(form, Stored(path, form))
            name, t = frame if frame is not None else (entry.name.removesuffix(suffix), 0)
            stream.files[name] += 1
            stream.last[name] = max(stream.last.get(name, 0), t)
    if path.name in STREAMS and not found:
        say(
            "streams",
            f"{path}: holds no clip; expected " + " or ".join(NAMES[f].format("<id>") for f in FORMS.values()),
        )
    if found or path.name in STREAMS or any(name.lower().endswith((".jpg", ".jpeg")) for name in strange):
        for name in sorted(strange):
            say(f"{path.name}: names", f"{path / name}: not named like a file of a stream; rename or remove it")
    ranked = sorted(found.values(), key=lambda stream: -len(stream.files))
    for other in ranked[1:]:
        one, two = (f"{min(stream.files)!r} as {NAMES[stream.form].format('<id>')}" for stream in (ranked[0], other))
        say(
            "forms",
            f"{path}: two forms in one folder, {len(ranked[0].files)} clips like {one} and {len(other.files)} "
            f"like {two}; keep one",
        )
    return ranked[0] if ranked else None


def check_names(stream: Stored, rows: Mapping[str, Any], say: Say) -> None:
    """Compare the clips that a folder holds with those of the table."""
    if not rows:
        return
    for name in rows:
        if name not in stream.files:
            file = NAMES[stream.form].format(name)
            say(
                f"{stream.path.name}: missing",
                f"{stream.path / file}: no such file, but clip {name!r} has a row in "
                "subs.csv; extract it, or take the row out",
            )
    for name in sorted(stream.files.keys() - rows.keys()):
        file = NAMES[stream.form].format(name)
        say(
            f"{stream.path.name}: of no clip",
            f"{stream.path / file}: subs.csv has no clip {name!r}; add the row, or remove the file",
        )


# ---------------------------------------------------------------- clips


def check_clips(
    names: Iterable[str],
    streams: list[Stored],
    rows: Mapping[str, Any],
    made: Mapping[str, Any],
    say: Say,
    *,
    min_seen: float,
) -> None:
    """Read every file of every clip; several at a time, for decoding lets other threads work."""
    names = list(names)

    def check(name: str) -> list[tuple[str, str]]:
        return list(_clip_faults(name, streams, rows.get(name, {}), made.get(name, {})))

    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        with tqdm(pool.map(check, names), "check", len(names), unit="clip", disable=None) as bar:
            for found in bar:
                for kind, fault in found:
                    say(kind, fault)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for thousands of clips
    words = {"packed": "crop side", "frames": "crop side", "pose": "landmarks", "features": "features a frame"}
    for stream in streams:
        if len(sides := Counter(sorted(stream.sides.values()))) > 1:
            usual = sides.most_common(1)[0][0]
            for name, side in sorted(stream.sides.items()):
                if side != usual:
                    say(
                        f"{stream.path.name}: size",
                        f"{stream.path / NAMES[stream.form].format(name)}: "
                        f"{words[stream.form]} {side}, most clips have {usual}; extract it anew",
                    )
    shares = dict.fromkeys((stream.path.name for stream in streams), Share())
    for stream in streams:
        for counts in stream.seen.values():
            shares[stream.path.name] = shares[stream.path.name].add(*counts)
    for fault in seen_faults(shares, min_seen, key="min_seen"):
        say("seen", fault)


def _clip_faults(
    name: str, streams: list[Stored], row: Mapping[str, str], made: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield (kind, fault) of one clip; notes its lengths and sizes in the streams."""
    found: list[tuple[str, str]] = []
    marks: dict[str, NDArray[Any]] = {}
    lengths: dict[str, int] = {}
    for stream in sorted(streams, key=lambda stream: stream.form != "pose"):  # the pose holds marks of single frames
        if name not in stream.files or stream.form == "viewer":
            continue
        folder = stream.path.name

        def say(kind: str, fault: str, folder: str = folder) -> None:
            found.append((f"{folder}: {kind}", fault))

        read = {"packed": _read_packed, "frames": _read_frames, "pose": _read_pose, "features": _read_features}
        try:
            lengths[folder] = read[stream.form](stream, name, marks, made, say)
        except (ValueError, OSError) as error:
            say("unreadable", str(error))
    yield from found
    if lengths and max(lengths.values()) - min(lengths.values()) > TOLERANCE:
        said = ", ".join(f"{folder} {length}" for folder, length in sorted(lengths.items()))
        yield "lengths", f"clip {name!r}: streams of different length ({said} frames); extract it anew"
    shortest = min(lengths.values(), default=0)
    for where, stated in (
        ("subs.csv: frame_count", row.get("frame_count")),
        ("metadata.jsonl: frames", made.get("frames")),
    ):
        try:
            differs = bool(lengths) and bool(stated) and abs(float(stated or 0) - shortest) > TOLERANCE
        except (TypeError, ValueError):  # no number at all is a fault of the table
            continue
        if differs:
            yield where, f"{where} {stated} of clip {name!r}, but its streams have {shortest} frames; extract it anew"


def _read_packed(
    stream: Stored, name: str, marks: Mapping[str, NDArray[Any]], made: Mapping[str, Any], say: Say
) -> int:
    """Decode one packed clip and return its length T."""
    path = stream.path / f"{name}.safetensors"
    clip = PackedCrops(path)
    stream.sides[name] = clip.size
    stream.seen[name] = int(clip.seen.sum()), clip.length
    _check_marks(path, "seen", clip.marks, say)
    beside = marks.get(stream.path.name)
    if beside is not None and len(beside) == clip.length and (beside != clip.marks).any():
        t = int(np.flatnonzero(beside != clip.marks)[0])
        say("marks", f"{path}: `seen` says {clip.marks[t]} of frame {t}, pose/{name}.npz {beside[t]}; extract it anew")
    if clip.extractor and made.get("fingerprint") and clip.extractor != made["fingerprint"]:
        say(
            "extractor",
            f"{path}: made by extractor {clip.extractor}, metadata.jsonl says {made['fingerprint']}; extract it anew",
        )
    pictured: list[int] = []
    for t in range(clip.length):
        try:
            frame = clip.frames(np.array([t]))[0]
        except (ValueError, IndexError, SafetensorError) as error:
            text = str(error) if isinstance(error, ValueError) else f"{path} frame {t}: {error}; write it anew"
            say("unreadable", text)
            continue
        if not clip.seen[t] and frame.max() > BLACK:
            pictured.append(t)
    _check_black(path, pictured, say)
    return clip.length


def _read_frames(
    stream: Stored, name: str, marks: Mapping[str, NDArray[Any]], made: Mapping[str, Any], say: Say
) -> int:
    """Decode one clip of single JPEGs and return its length T."""
    first, length = frame_path(stream.path, name, 0), stream.last[name] + 1
    seen = marks.get(stream.path.name)
    if seen is not None and len(seen) < length:
        say("marks", f"{first}: {length} frames, but pose/{name}.npz has {len(seen)} marks; extract it anew")
        seen = None
    missing, pictured, nearly, lit = [], [], [], 0
    for t in range(length):
        path = frame_path(stream.path, name, t)
        if not path.exists():
            missing.append(t)
            continue
        try:
            frame = decode_jpeg(path.read_bytes(), str(path), None)
        except (ValueError, OSError) as error:
            say("unreadable", str(error))
            continue
        side = stream.sides.setdefault(name, len(frame))
        if len(frame) != side:
            say("size", f"{path}: crop side {len(frame)}, earlier frames of the clip have {side}; extract it anew")
        brightest = int(frame.max())
        lit += brightest > 0
        if seen is not None and not seen[t] and brightest > BLACK:
            pictured.append(t)
        if seen is None and 0 < brightest <= BLACK:
            nearly.append(t)
    stream.seen[name] = lit if seen is None else int(seen[:length].astype(bool).sum()), length
    if missing:
        say(
            "gaps",
            f"{frame_path(stream.path, name, missing[0])}: no such frame, but the clip goes on to frame "
            f"{length - 1} ({_some(missing)} missing); extract it anew, and write a crop that was not seen black",
        )
    if nearly:
        say(
            "nearly black",
            f"{first}: {_some(nearly)} nearly black, which counts as seen; write 0, or give "
            f"`seen_{stream.path.name}` in pose/{name}.npz",
        )
    _check_black(first, pictured, say)
    return length


def _read_pose(stream: Stored, name: str, marks: dict[str, NDArray[Any]], made: Mapping[str, Any], say: Say) -> int:
    """Read one pose and return its length T; the marks that it holds of crop folders go into `marks`."""
    path = stream.path / f"{name}.npz"
    arrays = pose_arrays(path)
    for fault in pose_faults(path, arrays):
        say("pose", fault)
    for key, values in arrays.items():
        if key.startswith("seen_") and np.ndim(values) == 1:
            _check_marks(path, key, values, say)
            marks[key.removeprefix("seen_")] = values
    length, landmarks = pose_shape(path)
    stream.sides[name] = landmarks
    if landmarks > RIGHT_SHOULDER:
        points = arrays["pose"].reshape(length, landmarks, 3)
        stream.seen[name] = int(shoulders_seen(points).sum()), length
        if fault := range_fault(points[..., :2], np.isfinite(points).all(-1) & (points[..., 2] > 0), (1, 1)):
            say("range", f"{path}: {fault}; expected shares of the picture: divide pixels by its width and height")
    if landmarks not in (BODY, BODY + 2 * HAND):
        say(
            "landmarks",
            f"{path}: {landmarks} landmarks; expected {BODY} (MediaPipe's body) or {BODY + 2 * HAND} (body, "
            "left hand, right hand): convert it",
        )
    return length


def _read_features(
    stream: Stored, name: str, marks: Mapping[str, NDArray[Any]], made: Mapping[str, Any], say: Say
) -> int:
    """Read one clip of features and return its length T."""
    path = stream.path / f"{name}.npy"
    features = open_features(path)
    stream.sides[name] = features.shape[1]
    finite = np.isfinite(features)
    stream.seen[name] = int(finite.any(1).sum()), len(features)
    if len(broken := np.flatnonzero(finite.any(1) & ~finite.all(1))):
        say(
            "NaN",
            f"{path}: NaN or infinity in part of {_some(broken.tolist())}; a frame that was not seen is NaN as a whole",
        )
    return len(features)


def _check_marks(path: Path, key: str, marks: NDArray[Any], say: Say) -> None:
    strange = [value for value in np.unique(marks).tolist() if value not in range(FOLLOWED + 1)]
    if strange:
        say("marks", f"{path}: `{key}` holds {strange[:5]}; expected 0 not seen, 1 detected, 2 followed: write it anew")


def _check_black(path: Path, pictured: list[int], say: Say) -> None:
    if pictured:
        say(
            "not black",
            f"{path}: marked as not seen, but there is a picture in {_some(pictured)}; expected black: are "
            "the marks the wrong way round?",
        )


def _some(frames: list[int]) -> str:
    """Say which frames, in few words."""
    more = f" and {len(frames) - 5} more" if len(frames) > 5 else ""
    return f"frame{'s' if len(frames) > 1 else ''} {', '.join(map(str, frames[:5]))}{more}"
