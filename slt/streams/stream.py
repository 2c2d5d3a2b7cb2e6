"""What a dataset asks of a stream, and what lies in a stream's folder: T frames of a clip, n of them chosen.

A new kind of stream is one more class with these methods, and its name in YAML.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from slt.streams.packed import frame_path, parse_frame_name
from slt.streams.sample import Array, Seen, StreamSpec

STREAMS = ("face", "hand_l", "hand_r", "pose")  # folders that hold a stream even where they are empty
PICTURES = {".jpg", ".jpeg", ".png"}
FORMS = {".safetensors": "packed", ".jpg": "frames", ".npz": "pose", ".npy": "features", ".pose": "pose_format"}
NAMES = {
    "packed": "{}.safetensors",
    "frames": "{}_f000000.jpg ...",
    "pose": "{}.npz",
    "features": "{}.npy",
    "pose_format": "{}.pose",  # of other tools
}

Say = Callable[[str, str], None]  # (kind, fault)
Marks = dict[str, NDArray[Any]]  # crop folder -> marks (T,) that a clip's pose file holds


class Found(NamedTuple):
    """A clip's stream, read whole."""

    length: int  # frames T
    seen: int  # frames in which it is seen
    side: int  # R, landmarks K or features F


class Stream(Protocol):
    """A reader of a folder, which holds no clips: one serves every split."""

    @property
    def folder(self) -> str:
        """Under the root of a corpus."""

    @property
    def mirror(self) -> str | None:
        """The stream that this one becomes in a mirrored signer; None = itself."""

    def spec(self, name: str, shape: Sequence[int]) -> StreamSpec:
        """Return what a model reads, with frames of `shape`."""

    def lengths(self, root: Path, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the frames of each clip, int64 (N,), by one listing and headers; raise the first fault."""

    def read(self, root: Path, video_id: str, index: NDArray[np.int64]) -> Seen:
        """Return the frames of `index` (n,) in its order; raise the first fault in them."""

    def read_seen(self, root: Path, video_id: str, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return in which of these frames the stream is seen, (n,), without decoding pictures where marks say it."""

    def from_regions(self, name: str, regions: Sequence[Any], index: NDArray[np.int64]) -> Seen:
        """Return of a camera's or film's frames what `read` gives of the same frames in files."""

    def flip(self, array: Array) -> Array:
        """Return (n, ...) as a signer of the other handedness would have it."""

    def augment(self, array: Array, rng: np.random.Generator) -> Array:
        """Return (n, ...) changed at random, one draw for the whole clip."""

    def finish(self, array: Array, seen: NDArray[np.bool_]) -> Array:
        """Return (n, ...) as it stands in a `Sample`, zero where `seen` (n,) is False, so that it cannot matter."""

    def examine(self, stored: Stored, video_id: str, marks: Marks, fingerprint: str, say: Say) -> Found:
        """Read a clip whole and say every fault in it."""


@dataclass
class Stored:
    """The clips in a folder that are there in one form."""

    path: Path
    form: str
    files: Counter[str] = field(default_factory=Counter)  # id -> number of files
    last: dict[str, int] = field(default_factory=dict)  # id -> last frame, 0 where a clip is one file

    def file(self, name: str) -> Path:
        """Return the file, or first file, of a clip."""
        return self.path / NAMES[self.form].format(name)

    def absent(self, ids: Iterable[str]) -> Iterator[str]:
        """Yield a fault for each clip without a file."""
        for name in ids:
            if name not in self.files:
                said = f"no such file, but clip {name!r} has a row in subs.csv; extract it, or take the row out"
                yield f"{self.file(name)}: {said}"

    def gap(self, name: str) -> str:
        """Return the fault of a clip whose frames are not consecutive from zero, "" where they are."""
        last = self.last[name]
        if self.form != "frames" or last + 1 == self.files[name]:
            return ""
        missing = [t for t in range(last) if not frame_path(self.path, name, t).exists()]
        return (
            f"{frame_path(self.path, name, missing[0])}: no such frame, but the clip goes on to frame {last} "
            f"({some(missing)} missing); extract it anew, and write a crop that was not seen black"
        )


def list_forms(path: Path, say: Say, forms: Iterable[str] = tuple(FORMS.values())) -> list[Stored]:
    """Return what a folder holds, one entry a form, that of the most clips first, and say what is wrong with names."""
    found: dict[str, Stored] = {}
    strange: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:  # one by one: a corpus of single frames has millions
            suffix = Path(entry.name).suffix
            form, frame = FORMS.get(suffix.lower(), ""), parse_frame_name(entry.name)
            if entry.name.startswith("."):
                if entry.name.endswith(".tmp"):
                    say("unfinished", f"{path / entry.name}: left by a write that was stopped; remove it")
            elif form not in forms or (form == "frames" and frame is None):
                strange.append(entry.name)
            else:
                stream = found.setdefault(form, Stored(path, form))
                name, t = frame or (entry.name.removesuffix(suffix), 0)
                stream.files[name] += 1
                stream.last[name] = max(stream.last.get(name, 0), t)
    if found or path.name in STREAMS or any(name.lower().endswith((".jpg", ".jpeg")) for name in strange):
        for name in sorted(strange):
            say(f"{path.name}: names", f"{path / name}: not named like a file of a stream; rename or remove it")
    ranked = sorted(found.values(), key=lambda stream: -len(stream.files))
    for other in ranked[1:]:
        one, two = (f"{min(stream.files)!r} as {NAMES[stream.form].format('<id>')}" for stream in (ranked[0], other))
        say(
            "forms",
            f"{path}: two forms in one folder, {len(ranked[0].files)} clips like {one} and {len(other.files)} like "
            f"{two}; keep one form in a folder",
        )
    return ranked


def stored_files(root: Path, folder: str) -> Iterator[str]:
    """Yield what the clips of a stream are called, in whatever form they are there; nothing where there is no folder.

    A name has the folders below the stream's before it; of a folder of pictures it is the folder's.
    """
    top = root / folder
    for path, _, names in os.walk(top):
        place = Path(path).relative_to(top)
        kinds = {Path(name).suffix.lower() for name in names}
        if kinds & PICTURES and not any(parse_frame_name(name) for name in names[:1]):
            yield str(place)
            continue
        for name in names:
            frame = parse_frame_name(name)
            yield str(place / (frame[0] if frame else Path(name).stem))


def list_clips(root: Path, folder: str, ids: Sequence[str], forms: Sequence[str]) -> Stored:
    """Return a stream's folder, which holds these clips, whole, in one of the forms; a name may have folders in it."""
    top = root / folder
    if not top.is_dir():
        there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        raise FileNotFoundError(f"{top}: no such folder of a stream; {root} holds the folders {there}")
    said: list[tuple[str, str]] = []
    stored = Stored(top, forms[0])
    for below in sorted({name.rpartition("/")[0] for name in ids}):
        if not (top / below).is_dir():
            continue
        for found in list_forms(top / below, lambda *fault: said.append(fault), forms)[:1]:
            stored.form = found.form
            place = f"{below}/" if below else ""
            stored.files.update({f"{place}{name}": count for name, count in found.files.items()})
            stored.last.update({f"{place}{name}": last for name, last in found.last.items()})
    if faults := [fault for kind, fault in said if kind == "forms"]:
        raise ValueError(faults[0])
    if absent := [*stored.absent(ids)]:
        raise FileNotFoundError(f"{absent[0]} ({len(absent)} of the {len(ids)} clips of the split have no file here)")
    for name in ids:
        if fault := stored.gap(name):
            raise ValueError(fault)
    return stored


def not_pictured(name: str, kind: str, regions: Sequence[Any]) -> ValueError:
    """Return the error for a stream that a camera or film does not give."""
    there = f"of a film or camera there are the crops {', '.join(regions[0].crops)} and a pose"
    return ValueError(f"stream {name!r} ({kind}): not made from pictures; {there}")


def some(frames: Sequence[int]) -> str:
    """Say which frames, in few words."""
    more = f" and {len(frames) - 5} more" if len(frames) > 5 else ""
    return f"frame{'s' if len(frames) > 1 else ''} {', '.join(map(str, frames[:5]))}{more}"
