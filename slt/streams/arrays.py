"""Poses and features on disk: numpy files of arrays alone; T frames, K landmarks, F feature width."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slt.files import atomic, existing


class PoseClip(NamedTuple):
    """The pose of a clip."""

    points: NDArray[np.float32]  # (T, K, 3): x, y in [0, 1] of the picture's width and height, confidence in [0, 1]
    size: tuple[int, int]  # width and height in pixels; (1, 1), a square, where the file does not say
    seen: dict[str, NDArray[np.bool_]]  # crop folder -> marks (T,), where the file holds them
    skeleton: str = ""  # its name, as the file states it; "" = it does not: MediaPipe's 75 points or the first 33


class PoseShape(NamedTuple):
    """What the header of a pose file says."""

    frames: int
    landmarks: int
    skeleton: str  # as of `PoseClip`


def write_pose(
    path: Path,
    pose: NDArray[np.floating[Any]],
    *,
    size: tuple[int, int] | None,
    seen: Mapping[str, NDArray[np.bool_] | NDArray[np.uint8]] | None,
    boxes: Mapping[str, NDArray[np.floating[Any]]] | None = None,
    skeleton: str = "",
) -> None:
    """Write `pose/<id>.npz`, whose values are as in `PoseClip`: confidence 0 = not detected, size None = square."""
    rows = np.ascontiguousarray(pose, np.float32).reshape(len(pose), -1)
    for fault in pose_faults(path, {"pose": rows}):
        raise ValueError(fault)
    assert all(len(marks) == len(pose) for marks in (seen or {}).values())
    with atomic(path) as file:
        write_pose_blocks(
            file, [rows.data.cast("B")], rows.shape, size=size, seen=seen or {}, boxes=boxes or {}, skeleton=skeleton
        )


def write_pose_blocks(
    file: IO[bytes],
    blocks: Iterable[Any],
    shape: tuple[int, ...],
    *,
    size: tuple[int, int] | None,
    seen: Mapping[str, NDArray[Any]],
    boxes: Mapping[str, NDArray[Any]],
    skeleton: str,
) -> None:
    """Write a pose file, as `np.savez` does, whose float32 rows come as blocks of bytes; `shape` is (T, 3K).

    `boxes` are, by crop folder, centre x, y and side (T, 3) in pixels of the picture, 0 where not seen.
    """
    arrays: dict[str, NDArray[Any]] = {"size": np.asarray(size, np.int32)} if size is not None else {}
    arrays |= {"skeleton": np.array(skeleton)} if skeleton else {}
    arrays |= {f"seen_{folder}": np.asarray(marks, np.uint8) for folder, marks in seen.items()}
    arrays |= {f"box_{folder}": np.asarray(box, np.float32) for folder, box in boxes.items()}
    with zipfile.ZipFile(file, "w") as archive:
        # A file past 2 GiB is allowed by force_zip64 alone: its length is not known when its entry is begun.
        with archive.open("pose.npy", "w", force_zip64=True) as part:
            stated = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(part, stated)
            written = sum(part.write(block) for block in blocks)
            assert written == 4 * shape[0] * shape[1], (written, shape)
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, np.asarray(value, order="C"), allow_pickle=False)


def read_pose(path: Path | str) -> PoseClip:
    """Read `pose/<id>.npz`; raise the first of `pose_faults`."""
    arrays = pose_arrays(path)
    for fault in pose_faults(path, arrays):
        raise ValueError(fault)
    pose, size = arrays["pose"].astype(np.float32, copy=False), arrays.get("size", np.ones(2, int))
    seen = {key[5:]: value.astype(bool) for key, value in arrays.items() if key.startswith("seen_")}
    return PoseClip(pose.reshape(len(pose), -1, 3), (int(size[0]), int(size[1])), seen, str(arrays.get("skeleton", "")))


def pose_arrays(path: Path | str) -> dict[str, NDArray[Any]]:
    """Return all arrays of `pose/<id>.npz` as they are stored; pickled content is refused."""
    with _npz(path) as file:
        return {key: file[key] for key in file.files}


def pose_faults(path: Path | str, arrays: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """Yield all that is wrong with the arrays of a pose file; nothing = it can be read."""
    if "pose" not in arrays:
        yield f"{path}: no key 'pose'; expected `pose` of (T, 3 x landmarks), came the keys {sorted(arrays)}"
        return
    for key, values in arrays.items():
        kind = getattr(values, "dtype", np.dtype(object)).kind
        if key == "skeleton":
            if kind != "U" or values.ndim:
                yield f"{path}: `skeleton` must be the name of the points' skeleton, a text; write it anew"
                return
        elif kind not in "biuf":  # bytes, where a name does not end in .npy
            yield f"{path}: `{key}` holds no numbers; write it anew with plain arrays"
            return
    pose = arrays["pose"]
    if fault := _shape_fault(path, pose.shape, pose.dtype):
        yield fault
        return
    bad = np.flatnonzero(~np.isfinite(pose).all(1))
    if len(bad):
        yield (
            f"{path}: key `pose` holds NaN or infinity in frame {bad[0]} ({len(bad)} frames in all); "
            "a point that was not detected has confidence 0 and any finite x, y"
        )
    confidence = pose[:, 2::3][np.isfinite(pose[:, 2::3])]
    if confidence.size and (confidence.min() < 0 or confidence.max() > 1.0001):  # room for float16 and averaging
        yield (
            f"{path}: key `pose` holds confidences from {confidence.min():.4g} to {confidence.max():.4g} (every third "
            "column); expected [0, 1]"
        )
    size = arrays.get("size", np.ones(2, int))
    if size.shape != (2,) or not (size > 0).all():
        yield f"{path}: `size` must be the picture's (width, height) in pixels, came {size.tolist()}"
    for key, marks in arrays.items():
        if key.startswith("seen_") and marks.shape != (len(pose),):
            yield f"{path}: `{key}` must be ({len(pose)},) like the pose, came {marks.shape}"
        if key.startswith("box_") and (marks.shape != (len(pose), 3) or not np.isfinite(marks).all()):
            yield f"{path}: `{key}` must be ({len(pose)}, 3) of finite numbers, x, y and side; came {marks.shape}"


def _shape_fault(path: Path | str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    if len(shape) == 2 and shape[1] % 3 == 0 and 0 not in shape and dtype.kind == "f":
        return ""
    return f"{path}: key `pose` must be float32 (T, 3 x landmarks) with at least one frame, came {dtype} {shape}"


def check_marks(path: Path, key: str, marks: NDArray[Any], say: Callable[[str, str], None]) -> None:
    """Say what else a clip's seen marks (T,) hold than 0, 1 and 2."""
    if strange := [value for value in np.unique(marks).tolist() if value not in (0, 1, 2)]:
        say("marks", f"{path}: `{key}` holds {strange[:5]}; expected 0 not seen, 1 detected, 2 followed: write it anew")


def read_marks(path: Path, folder: str) -> NDArray[np.bool_] | None:
    """Return the seen marks (T,) that a pose file holds for a crop folder; None where it holds none, or is absent."""
    if not path.exists():
        return None
    with _npz(path) as file:
        marks = np.asarray(file[f"seen_{folder}"], bool) if f"seen_{folder}" in file.files else None
    if marks is not None and marks.ndim != 1:
        raise ValueError(f"{path}: `seen_{folder}` must be (T,), came {marks.shape}; extract it anew")
    return marks


def pose_shape(path: Path | str) -> PoseShape:
    """Return the frames T, landmarks K and skeleton of `pose/<id>.npz` without reading its points."""
    with _npz(path) as archive, archive.zip.open("pose.npy") as file:
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = reader(file)
        skeleton = str(archive["skeleton"]) if "skeleton" in archive.files else ""
    if fault := _shape_fault(path, shape, dtype):
        raise ValueError(fault)
    return PoseShape(int(shape[0]), int(shape[1]) // 3, skeleton)


def write_features(path: Path | str, features: NDArray[np.floating[Any]]) -> None:
    """Write `<folder>/<id>.npy` from float32 or float16 (T, F); a row of NaN = not seen."""
    with atomic(path) as file:
        np.save(file, features, allow_pickle=False)


def open_features(path: Path | str) -> NDArray[np.floating[Any]]:
    """Map `<folder>/<id>.npy` of (T, F) into memory without copying it; a row of NaN = not seen."""
    path = existing(path, "the features of a clip")
    with _readable_array(path):
        features: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)  # "c": torch warns at "r"
        shape, dtype = features.shape, features.dtype
    if len(shape) != 2 or 0 in shape or dtype not in (np.float32, np.float16):
        raise ValueError(f"{path}: features must be float32 or float16 (T, F) with T, F > 0, came {dtype} {shape}")
    return features


@contextmanager
def _readable_array(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # numpy and zipfile meet damaged bytes with any error there is, tokenize's among them
        reason = "pickled content, which is never loaded" if "allow_pickle" in str(error) else str(error)
        raise ValueError(f"{path}: not a readable numpy file ({reason}); write it anew with plain arrays") from error


@contextmanager
def _npz(path: Path | str) -> Iterator[Any]:
    """Open a file of arrays; refuse what is no zip, and a zip that would unpack to far more than arrays of clips do."""
    path = existing(path, "the pose of a clip")
    with _readable_array(path), zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as file:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > max(2**28, 20 * path.stat().st_size):  # 256 MB are the poses of three hours
            raise ValueError(f"it unpacks to {size} bytes, over 20 times its own size")
        yield file
