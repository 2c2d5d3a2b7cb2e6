"""What clips are read from, films or folders of numbered pictures: found in a folder, known again, and read."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from slt.extraction import video
from slt.extraction.geometry import Picture
from slt.extraction.source import Source
from slt.extraction.video import Film
from slt.text import plain_name

# Films by their endings, so that a broken one is told of and not passed over; of other endings a film decides.
FILMS = (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".gif", ".ts", ".mpg", ".mpeg", ".mts", ".m2ts", ".vob",
         ".wmv", ".flv", ".3gp", ".ogv", ".mxf")  # fmt: skip
POSES = (".pose",)
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
UNFINISHED = (".part", ".ytdl", ".crdownload", ".download", ".tmp")  # of downloads
CORPUS = {"extraction.json", "corpus.json"}  # a folder with one of these holds what was made, and no source
SAMPLE = 1 << 16  # bytes at the beginning, the middle and the end by which a file is known


def find_footage(folder: Path, kind: str) -> dict[str, Path]:
    """Return what a folder and those below it hold to extract, by plain name (`plain_name`), sorted by path.

    Kind "films" finds films, and folders of at least two pictures that differ by numbers alone; "poses" .pose files.
    """
    found: dict[str, Path] = {}
    for path in sorted(_walk(folder, kind)):
        name = plain_name(path.name if path.is_dir() else path.stem)
        if name in found:
            raise ValueError(
                f"{path}: {found[name].relative_to(folder)} has the same name, folder and ending aside; rename one"
            )
        found[name] = path
    if not found:
        if kind != "films":
            raise FileNotFoundError(f"source={folder}: no .pose file in this folder or below it")
        alone = _pictures_of(_names(folder))
        hint = "; its pictures are one clip: give the folder above it" if alone else ", nor a folder of pictures"
        raise FileNotFoundError(f"source={folder}: no film in this folder or below it{hint}")
    return found


def _walk(folder: Path, kind: str) -> Iterator[Path]:
    films: dict[str, bool] = dict.fromkeys(FILMS, True) | dict.fromkeys((*PICTURES, *UNFINISHED, *POSES), False)
    for here, names in folders_below(folder):
        paths = [here / name for name in names]
        if kind == "poses":
            yield from (path for path in paths if path.suffix.lower() in POSES)
            continue
        for path in paths:  # of an ending that was not met before, FFmpeg says whether it holds moving pictures
            ending = path.suffix.lower()
            films[ending] = films[ending] if ending in films else _opens(path)
        found = [path for path in paths if films[path.suffix.lower()]]
        if not found and here != folder and _pictures_of(names):
            yield here
        yield from found


def folders_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Give a folder and those below it, each once, and the files in it, without hidden names and corpora."""

    def stop(error: OSError) -> None:
        place = error.filename or folder
        raise ValueError(f"source={folder}: {place} cannot be listed ({error.strerror}); mend its rights") from error

    been: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        here = Path(root)
        place = here.stat()
        if (place.st_dev, place.st_ino) in been or (here != folder and CORPUS & {*names}):
            folders.clear()
            continue
        been.add((place.st_dev, place.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield here, sorted(name for name in names if not name.startswith("."))


def _opens(path: Path) -> bool:
    import av

    try:  # nothing that a playlist names is fetched
        with av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            others = re.search("_pipe|image2|tty|concat|hls|dash|sdp", container.format.name)
            return bool(video.moving(container)) and not others
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def _pictures_of(names: Sequence[str]) -> list[str]:
    """Return the pictures among names, by their numbers; none where they are not numbered alike."""
    names = [name for name in names if not name.startswith(".") and name.lower().endswith(PICTURES)]
    alike = {re.sub(r"\d+", "#", Path(name).stem) for name in names}
    if len(names) < 2 or len(alike) > 1 or not any("#" in name for name in alike):
        return []
    return sorted(names, key=lambda name: [int(part) for part in re.findall(r"\d+", Path(name).stem)])


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def known_by(path: Path) -> dict[str, int | str] | None:
    """Return a file's size and a digest of its beginning, middle and end; None where there is none.

    Of a folder the names and sizes of all files count, and the first, the middle and the last for their content.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            names = _pictures_of(_names(path)) or sorted(_names(path))
            sizes = [(path / name).stat().st_size for name in names]
            digest.update(repr([*zip(names, sizes, strict=True)]).encode())
            for place in {0, len(names) // 2, len(names) - 1} if names else ():
                _take(path / names[place], digest)
            size = sum(sizes)
        else:
            size = _take(path, digest)
    except OSError:
        return None
    return {"bytes": size, "sha256": digest.hexdigest()}


def _take(path: Path, digest: hashlib._Hash) -> int:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start in (0, (size - SAMPLE) // 2, size - SAMPLE):
            file.seek(max(start, 0))
            digest.update(file.read(SAMPLE))
    return size


def probe(source: Source) -> Film:
    """Return what a clip's film, or folder of pictures, is."""
    if not source.path.is_dir():
        try:
            source.path.open("rb").close()
        except FileNotFoundError:
            pass  # said there
        except OSError as error:
            raise ValueError(f"{source.path}: cannot be read ({error.strerror}); mend the rights") from error
        return video.probe(source.path)
    files, rate = _files(source)
    return Film(source.path, rate, len(files) / rate)


def read_frames(source: Source, *, fps: float, notes: list[str] | None = None) -> Iterator[tuple[float, Picture]]:
    """Stream a clip as `video.read_frames` does, also one of a folder of pictures."""
    if source.path.is_dir():
        read = _read_folder(source, fps)
    else:
        read = video.read_frames(source.path, fps=fps, start=source.start, end=source.end, notes=notes)
    for seconds, picture in read:
        yield seconds, _turned(picture, source)


def frames_at(source: Source, seconds: Sequence[float]) -> Iterator[tuple[float, Picture]]:
    """Give single pictures of a clip, as `video.frames_at` does."""
    if not source.path.is_dir():
        single = video.frames_at(source.path, seconds, start=source.start)
        yield from ((second, _turned(picture, source)) for second, picture in single)
        return
    files, rate = _files(source)
    for second in seconds:
        place = min(max(math.floor(((source.start or 0.0) + second) * rate + 1e-3), 0), len(files) - 1)
        yield second, _turned(_read(files[place]), source)


def _turned(picture: Picture, source: Source) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1]) if source.mirrored else picture


def _read_folder(source: Source, fps: float) -> Iterator[tuple[float, Picture]]:
    files, rate = _files(source)
    length, first = len(files) / rate, source.start or 0.0
    until = length if source.end is None else source.end
    if not 0 <= first < min(until, length) or until > length + video.end_room(rate):
        raise ValueError(
            f"{source.path}: a cut from {first:g} s to {until:g} s of {len(files)} pictures that end at {length:.2f} s"
            "; mend its times, or pictures_fps="
        )
    size = None
    for k in range(max(math.ceil((min(until, length) - first) * fps - 0.25), 1)):  # as `video.sample` counts
        file = files[min(math.floor((first + k / fps) * rate + 1e-3), len(files) - 1)]
        picture = _read(file)
        size = size or picture.shape
        if picture.shape != size:
            raise ValueError(
                f"{file}: {picture.shape[1]} x {picture.shape[0]} pixels after pictures of {size[1]} x {size[0]}"
            )
        yield k / fps, picture


def _files(source: Source) -> tuple[list[Path], float]:
    """Return the pictures of a folder, in order, and how many of them were taken a second."""
    assert source.fps is not None
    folder = source.path
    names = _pictures_of(_names(folder))
    if not names:
        raise ValueError(f"{folder}: no numbered pictures in this folder; expected 000001.jpg, 000002.jpg, ...")
    numbers = np.array([re.findall(r"\d+", Path(name).stem) for name in names], np.float64)
    steps = np.diff(numbers, axis=0)
    if (steps != steps[0]).any():
        place = int((steps != np.median(steps, axis=0)).any(1).argmax())
        raise ValueError(
            f"{folder}: {names[place + 1]} does not follow {names[place]} as the others do; add those that are missing"
            ", or number them anew"
        )
    return [folder / name for name in names], source.fps


def _read(file: Path) -> Picture:
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{file}: not a picture that can be read; copy it again")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
