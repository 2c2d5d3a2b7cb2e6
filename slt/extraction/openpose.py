"""OpenPose's .json files, one a frame, as How2Sign publishes them: a clip's signer out of all its people.

A clip `ID` is the files `ID_000000000000_keypoints.json` ..., in a folder `ID` of its own or beside those of others.
"""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.extraction.footage import folders_below
from slt.streams.skeleton import BODY, HAND
from slt.streams.skeletons import ELSEWHERE, OPENPOSE_BODY, OPENPOSE_FACE, place_points, take_points

_NAME = re.compile(r"(.+)_(\d{12})_keypoints\.json")
_PARTS = {"pose_keypoints_2d": len(OPENPOSE_BODY), "face_keypoints_2d": OPENPOSE_FACE,
          "hand_left_keypoints_2d": HAND, "hand_right_keypoints_2d": HAND}  # fmt: skip
# A person is the one of the frame before that is nearest, in lengths of their body, and no farther than this.
SAME_REACH = 0.5


@lru_cache(maxsize=4)
def _listed(folder: Path, changed: int) -> dict[str, dict[int, str]]:
    clips: dict[str, dict[int, str]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if match := _NAME.fullmatch(entry.name):
                clips.setdefault(match[1], {})[int(match[2])] = entry.name
    return clips


def _frames(path: Path) -> dict[int, Path]:
    """Return the files of a clip by frame; none where `path` is not one of `find_clips`."""
    match = _NAME.fullmatch(path.name)
    folder, name = (path, path.name) if path.is_dir() else (path.parent, match[1] if match else None)
    if name is None or not folder.is_dir():
        return {}
    return {t: folder / file for t, file in _listed(folder, folder.stat().st_mtime_ns).get(name, {}).items()}


def is_clip(path: Path) -> bool:
    return bool(_frames(path))


def find_clips(source: Path) -> dict[str, Path]:
    """Return the clips of OpenPose's files in a folder and those below it, id -> its folder, or its first file."""
    found: dict[str, Path] = {}
    other = None
    for here, names in folders_below(source):
        other = next((here / name for name in names if name.lower().endswith(".pose")), other)
        for name, files in sorted(_listed(here, here.stat().st_mtime_ns).items()):
            path = here if here.name == name else here / files[min(files)]
            if name in found:
                raise ValueError(f"{path}: clip {name!r} is in {found[name]} too; keep one of the two")
            found[name] = path
    if found and other:
        raise ValueError(f"{other}: .pose files and OpenPose's .json files in one folder; give each its own")
    return found


def read_people(path: Path) -> tuple[NDArray[np.float64], int, NDArray[np.int64]]:
    """Read a clip and choose its signer, the largest and surest: (T, 75, 3), x, y in pixels, confidence, 0 = missing.

    Also returns the most people in a frame, and where each of the 75 points stands in these files, (75,), -1 = nowhere.
    """
    frames = _frames(path)
    first, last = min(frames), max(frames)
    if gap := next((t for t in range(first, last) if t not in frames), None):
        raise ValueError(f"{path}: no file of frame {gap}, but the clip goes on to frame {last}; copy it again")
    people = [_read_frame(frames[t]) for t in range(first, last + 1)]
    given = {part for found in people for part in _PARTS if any(part in person for person in found)}
    places = _places(given)
    followed = [[take_points(_joined(person), places, 0.0) for person in found] for found in people]
    return _signer(followed), max(map(len, people)), places


def _read_frame(path: Path) -> list[dict[str, NDArray[np.float64]]]:
    """Return the people of a frame, each with the parts that were looked for: part -> (points, 3)."""
    try:
        found = json.loads(path.read_bytes())["people"]
        for person in found:
            if not any(part in person for part in _PARTS):
                raise KeyError(f"a person of {sorted(person)}")
        return [
            {part: np.nan_to_num(np.array(person[part], float).reshape(count, 3), posinf=0, neginf=0)
             for part, count in _PARTS.items() if person.get(part)}
            for person in found
        ]  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        counts = ", ".join(f"{part} of 3 x {count}" for part, count in _PARTS.items())
        raise ValueError(f"{path}: expected OpenPose's `people` with {counts} (BODY_25); {error}") from error


def _places(given: set[str]) -> NDArray[np.int64]:
    body: dict[str, int] = {}
    start, hands = 0, {}
    for part, count in _PARTS.items():
        if part in given and part.startswith("pose"):
            body |= {name: start + n for n, name in enumerate(OPENPOSE_BODY)}
        elif part in given and part.startswith("face"):
            names = (name for names in ELSEWHERE.values() for name in names if re.fullmatch(r"F[A-Z]+_\d+", name))
            body |= {name: start + int(name.partition("_")[2]) for name in names}
        elif part in given:
            hands["LEFT" if "left" in part else "RIGHT"] = range(start, start + count)
        start += count
    return place_points(body, hands)


def _joined(person: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([person.get(part, np.zeros((count, 3))) for part, count in _PARTS.items()])


def _signer(people: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Follow everyone, whose order changes, and return the (T, 75, 3) of whom confidence times length is greatest."""
    alone = {t: found[0] for t, found in enumerate(people) if found}
    tracks: list[dict[int, NDArray[np.float64]]] = []
    if max(map(len, people)) > 1:
        for t, found in enumerate(people):
            last = [next(reversed(track.values())) for track in tracks]
            near = sorted((_apart(person, one), p, n) for p, person in enumerate(found) for n, one in enumerate(last))
            owner: dict[int, int] = {}
            for apart, p, n in near:
                if apart <= SAME_REACH and p not in owner and n not in owner.values():
                    owner[p] = n
            for p, person in enumerate(found):
                if p not in owner:
                    tracks.append({})
                tracks[owner.get(p, -1)][t] = person

    def weight(track: dict[int, NDArray[np.float64]]) -> float:
        return sum(float(person[:, 2].sum()) * _length(person) for person in track.values())

    chosen = max(tracks, key=weight, default=alone)
    return np.stack([chosen.get(t, np.zeros((BODY + 2 * HAND, 3))) for t in range(len(people))])


def _length(person: NDArray[np.float64]) -> float:
    """Return how far a person's body reaches in the picture, pixels."""
    body = person[:BODY][person[:BODY, 2] > 0, :2]
    return float(np.ptp(body, axis=0).max()) if len(body) else 0.0


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    both = (one[:BODY, 2] > 0) & (other[:BODY, 2] > 0)
    if not both.any():
        return float("inf")
    moved = np.linalg.norm(one[:BODY][both, :2] - other[:BODY][both, :2], axis=1)
    return float(np.median(moved)) / max(_length(other), 1.0)


def clip_facts(source: Path, size: Any = None, fps: float | None = None) -> tuple[tuple[int, int], float]:
    """Return the size and rate of the films behind OpenPose's files, which say neither, as a user has given them."""
    if size is None or fps is None or len(size) != 2 or min(size) < 1 or fps <= 0:
        raise ValueError(
            f"source={source}: OpenPose's .json files do not say the films' size and rate; give them, as in "
            f"openpose.size=[1280,720] openpose.fps=25; came openpose.size={size}, openpose.fps={fps}"
        )
    return (int(size[0]), int(size[1])), float(fps)
