"""The embedded corpus as films that one can look at, and the landmarker that reads in them what was drawn.

Each picture bears, in black and white cells along its lower edge, the number of its film and of its frame; what a
detector would find there stands in a file beside the film. So the films go through all that other films go through:
decoding, cuts, segments, translation. R is the side of the crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import HIPS, SHOULDERS, Box, Picture, Points
from slt.extraction.landmarks import LANDMARKS, Landmarks
from slt.extraction.regions import Extractor, Regions
from slt.files import existing, needing, read_json
from slt.streams.skeleton import BODY, HAND, MEDIAPIPE
from slt.synthetic import drawing, motion
from slt.synthetic.filming import Recipe

FOLDERS = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r"}  # of the corpus, by stream
CELL, FILM_BITS, FRAME_BITS = 16, 8, 24  # pixels, and cells
_ARMS = ((11, 13, 15), (12, 14, 16))
_HAND_IN_PICTURE, _HEAD_IN_PICTURE = 0.75, 0.95  # sides of the pasted crops in shoulder widths


def record(size: int) -> np.dtype[Any]:
    """Return what is found in a frame, as the file beside a film holds it."""
    crops = [(name, "u1", (size, size, 3)) for name in FOLDERS]
    return np.dtype([("points", "f4", (LANDMARKS, 3)), ("seen", "u1", len(FOLDERS)), *crops])


class FilmWriter:
    """Writes a film `number` of a folder, and what is found in it."""

    def __init__(self, path: Path, recipe: Recipe, number: int) -> None:
        with needing("drawing films needs PyAV", extra="media"):
            import av
        path.parent.mkdir(parents=True, exist_ok=True)
        self._picture, self._av, self.number, self.frames = np.zeros(0), av, number, 0
        self._container: Any = av.open(str(path), "w")
        self._stream: Any = self._container.add_stream("mpeg4", rate=Fraction(recipe.fps).limit_denominator(1001))
        self._stream.width, self._stream.height, self._stream.pix_fmt = *motion.PICTURE, "yuv420p"
        self._stream.bit_rate = 2_000_000
        self._kind = record(recipe.crop_size)
        self._found = path.with_suffix(".found").open("wb")

    def add(
        self,
        film: motion.Film,
        crops: Mapping[str, NDArray[np.uint8]],
        points: NDArray[np.float32],
        seen: Mapping[str, NDArray[np.bool_]],
        look: drawing.Look,
    ) -> None:
        """Add the frames of a turn: what is true of it, its crops by folder, and what is found in it."""
        rows = np.zeros(len(points), self._kind)
        rows["points"] = points
        for column, (name, folder) in enumerate(FOLDERS.items()):
            rows["seen"][:, column] = seen[folder]
            rows[name] = crops[folder] * seen[folder][:, None, None, None]
        self._found.write(rows.tobytes())
        for t in range(len(points)):
            picture = draw_picture(film.pose[t], {name: crops[folder][t] for name, folder in FOLDERS.items()}, look)
            write_number(picture, self.number, self.frames)
            frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
            self._container.mux(self._stream.encode(frame))
            self.frames += 1

    def close(self) -> None:
        """End both files."""
        self._container.mux(self._stream.encode())
        self._container.close()
        self._found.close()


def draw_picture(pose: NDArray[np.float64], crops: Mapping[str, Picture], look: drawing.Look) -> Picture:
    """Draw a signer with landmarks (75, 2), in shares of the picture, before their wall; RGB (H, W, 3)."""
    width, height = motion.PICTURE
    places = pose * motion.PICTURE
    out = np.full((height, width, 3), np.round(look.wall), np.uint8)
    unit = float(np.linalg.norm(places[SHOULDERS[0]] - places[SHOULDERS[1]]))
    trunk = np.round(places[[*SHOULDERS, *HIPS[::-1]]]).astype(np.int32)
    cv2.fillPoly(out, [trunk], look.clothes, cv2.LINE_AA)
    for arm in _ARMS:
        line = np.round(places[list(arm)]).astype(np.int32)
        cv2.polylines(out, [line], False, look.clothes, max(2, round(0.22 * unit)), cv2.LINE_AA)
    head = places[:11].mean(0)
    _paste(out, crops["face"], head, _HEAD_IN_PICTURE * unit)
    for name, first in (("left_hand", BODY), ("right_hand", BODY + HAND)):
        _paste(out, crops[name], places[first : first + HAND].mean(0), _HAND_IN_PICTURE * unit)
    return out


def _paste(out: Picture, crop: Picture, middle: NDArray[np.float64], side: float) -> None:
    """Paste a crop, round, into a picture, as far as it lies in it."""
    size = max(2, round(side))
    x, y = (round(float(value) - size / 2) for value in middle)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + size, out.shape[1]), min(y + size, out.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    mask = cv2.circle(np.zeros((size, size), np.uint8), (size // 2, size // 2), size // 2, 1, -1)
    part = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
    there = mask[part].astype(bool)
    out[y0:y1, x0:x1][there] = cv2.resize(crop, (size, size))[part][there]


def write_number(picture: Picture, film: int, frame: int) -> None:
    """Write the numbers of film and frame along the lower edge of a picture (H, W, 3)."""
    bits = f"{film:0{FILM_BITS}b}{frame:0{FRAME_BITS}b}"
    for place, bit in enumerate(bits):
        picture[-CELL:, place * CELL : (place + 1) * CELL] = 255 * int(bit)


def read_number(picture: Picture) -> tuple[int, int]:
    """Return the numbers of film and frame that a picture bears, however it was coded meanwhile."""
    half = CELL // 2
    row = picture[-half - 2 : -half + 2, : CELL * (FILM_BITS + FRAME_BITS)].mean(axis=(0, 2))
    if len(row) == CELL * (FILM_BITS + FRAME_BITS):
        light = row.reshape(-1, CELL)[:, half - 2 : half + 2].mean(1)
        if ((light < 64) | (light > 192)).all():
            bits = "".join("1" if value > 128 else "0" for value in light)
            return int(bits[:FILM_BITS], 2), int(bits[FILM_BITS:], 2)
    raise ValueError("no picture of a film of the embedded corpus: it bears no number; with extractor=drawn only such "
                     "films can be read, which `python -m slt.segment` makes")  # fmt: skip


@dataclass(kw_only=True, eq=False)
class DrawnLandmarker:
    """Reads the landmarks that were drawn: in MediaPipe's place, for the films of `films_folder`.

    Args:
        films: that folder.
    """

    name: ClassVar[str] = "drawn"
    skeleton: ClassVar[str] = MEDIAPIPE.name
    films: str

    def __post_init__(self) -> None:
        about = read_json(existing(Path(self.films) / "corpus.json", "a folder of films, as slt.segment makes it"))
        self.fingerprint, corpus = str(about["fingerprint"]), about["parameters"]["corpus"]
        self.parameters: dict[str, Any] = {"landmarker": "drawn"}
        self._kind = record(corpus["crop_size"])
        self._files: dict[int, IO[bytes]] = {}
        counts = about["parameters"]["films"]["count"]
        names = [f"{split}_{n:02d}" for split, count in counts.items() for n in range(count)]
        self._paths = [Path(self.films) / "films" / f"{name}.found" for name in names]

    def row(self, picture: Picture) -> Any:
        """Return the `record` of a picture."""
        film, frame = read_number(picture)
        if film not in self._files:
            self._files[film] = self._paths[film].open("rb")
        self._files[film].seek(frame * self._kind.itemsize)
        return np.frombuffer(self._files[film].read(self._kind.itemsize), self._kind)[0]

    def start(self, box: Box | None) -> None: ...

    def find(self, seconds: float, picture: Picture) -> Landmarks:
        row = self.row(picture)
        return Landmarks(np.array(row["points"]), bool(row["seen"][0]))

    def people(self, picture: Picture) -> list[Points]:
        body = np.array(self.row(picture)["points"][:BODY], float)
        return [body] if (body[:, 2] > 0).any() else []

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()


@dataclass(kw_only=True, eq=False)
class DrawnExtractor(Extractor):
    """An extractor whose crops are those that the corpus draws, to the pixel as in its clips."""

    landmarker: DrawnLandmarker = field(kw_only=False)

    @property
    def fingerprint(self) -> str:
        """That of the corpus's clips."""
        return self.landmarker.fingerprint

    def _cut(self, seconds: float, picture: Picture, *found: Any) -> Regions:
        row = self.landmarker.row(picture)
        marks = {name: int(mark) for name, mark in zip(FOLDERS, row["seen"], strict=True)}
        crops = {name: np.array(row[name]) for name in FOLDERS}
        return replace(super()._cut(seconds, picture, *found), crops=crops, marks=marks)
