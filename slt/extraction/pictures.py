"""A decoded picture becomes what a player shows of it: without combs, in its colours, with square pixels, upright."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import Picture

BT709, UNSPECIFIED, RESERVED, BT601 = 1, 2, 3, 6  # matrices (and, of these, transfers and primaries) as in H.273
STUDIO_RANGE = 1
# FFmpeg's filter for interlaced pictures: one picture for two fields, at its own time; others pass as they are.
DEINTERLACER = ("bwdif", "mode=send_frame:deint=interlaced")
# Raised with every change of this file or of video.py that changes what comes out of them.
READING = {"version": 2, "deinterlacer": ":".join(DEINTERLACER)}
_STUDIO_TO_FULL = ((np.arange(256) - 16) * 255 / 219).round().clip(0, 255).astype(np.uint8)
_SINE_OF_A_DEGREE = 0.0175


def versions() -> dict[str, str]:
    """Return the major versions of the libraries that decide about pixels, for an extractor's fingerprint.

    Pictures were alike to the bit over PyAV 17.0 to 18.1 and OpenCV 4.10 to 5.1; PyAV 16 gives other colours.
    """
    try:
        import av
    except ModuleNotFoundError:  # crops can be made of other pictures, too: a camera's
        return {"opencv": cv2.__version__.split(".")[0]}
    major = {name: str(av.library_versions[name][0]) for name in ("libavcodec", "libavfilter", "libswscale")}
    return major | {"opencv": cv2.__version__.split(".")[0]}


def progressive(frames: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Yield (frame, whether it went through the deinterlacer): all frames do from the first interlaced one on.

    The filter looks at the frames before and after; an interlaced first frame comes out otherwise than later ones.
    """
    import av

    graph: Any = None
    kind = before = None

    def filtered(*pushed: Any) -> Iterator[tuple[Any, bool]]:
        for one in pushed:
            graph.push(one)
        while True:
            try:
                yield graph.pull(), True
            except (av.error.BlockingIOError, av.error.EOFError):  # it waits for the frame after, or has no more
                return

    for frame in frames:
        came = (frame.format.name, frame.width, frame.height)
        if came != kind:  # a graph is made for frames of one kind
            if graph is not None:
                yield from filtered(None)
            graph, before, kind = None, None, came
        if graph is not None:
            yield from filtered(frame)
        elif not frame.interlaced_frame:
            before = frame
            yield frame, False
        else:
            graph = av.filter.Graph()
            source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name,
                                      time_base=frame.time_base)  # fmt: skip
            graph.link_nodes(source, graph.add(*DEINTERLACER), graph.add("buffersink")).configure()
            out = filtered(frame) if before is None else filtered(before, frame)
            if before is not None:
                next(out)  # `before` itself, given already
            yield from out
    if graph is not None:
        yield from filtered(None)


class Shown(NamedTuple):
    """A decoded picture of a film."""

    path: Path
    frame: Any  # as PyAV has it
    duration: float  # seconds, as the file says
    pixel_shape: Fraction | None  # width of a pixel over its height
    fielded: bool  # it went through the deinterlacer
    size: tuple[int, int] = (0, 0)  # width and height of the film's first picture, upright

    def upright(self) -> Picture:
        """Return it as an RGB picture (H, W, 3), as a player shows it."""
        picture = self._rgb()
        if self.pixel_shape and self.pixel_shape != 1:
            width = max(round(picture.shape[1] * float(self.pixel_shape)), 1)
            size = (width, picture.shape[0])
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = self.frame.side_data.get("DISPLAYMATRIX")
        return picture if matrix is None else turn(picture, np.frombuffer(matrix, np.int32))

    def _rgb(self) -> Picture:
        frame, name = self.frame, self.frame.format.name
        if name.startswith("yuv") and frame.colorspace in (UNSPECIFIED, RESERVED):
            # What players take it for (this is mpv's rule): films of high definition are in BT.709, smaller in BT.601.
            frame.colorspace = BT709 if frame.width >= 1280 or frame.height > 576 else BT601
        # Nothing is done by them, but before PyAV 18 values that FFmpeg's scaler does not know are refused.
        frame.color_trc = frame.color_primaries = UNSPECIFIED
        try:
            # One thread: as many processes as cores read films already.
            picture: Picture = frame.to_ndarray(format="rgb24", threads=1)
        except OSError as error:
            raise ValueError(
                f"{self.path}: its colours cannot be read (matrix {frame.colorspace}, {name}: {error.strerror}); "
                "export it anew"
            ) from error
        if name.startswith(("gray", "ya")) and frame.color_range == STUDIO_RANGE:  # FFmpeg's scaler takes grey as full
            picture = np.asarray(cv2.LUT(picture, _STUDIO_TO_FULL), np.uint8)
        return picture

    def finished(self, notes: list[str]) -> Picture:
        """Return it upright in the size of the film's first; say in `notes`, once each, what was done to it."""
        picture = self.upright()
        done = ["interlaced: two fields are made one picture by FFmpeg's bwdif"] if self.fielded else []
        if (came := picture.shape[1::-1]) != self.size:
            sizes = f"{came[0]}x{came[1]}", f"{self.size[0]}x{self.size[1]}"
            done.append(f"the picture's size changes: those of {sizes[0]} are scaled to the film's first, {sizes[1]}")
        notes.extend(note for note in done if note not in notes)
        return fit(picture, self.size)


def turn(picture: Picture, matrix: NDArray[np.int32]) -> Picture:
    """Turn and mirror a picture (H, W, 3) as its display matrix (9,) says; what a tilt leaves empty is black.

    The matrix shows (x, y) at (a x + c y, b x + d y), y downwards; FFmpeg has made its scale the shape of the pixels.
    """
    axes = matrix[[0, 1, 3, 4]].reshape(2, 2) / 65536  # where a step to the right, and one down, leads
    lengths = np.hypot(*axes.T)[:, None]
    if not lengths.all():
        return picture
    axes = axes / lengths
    axes = np.where(np.abs(axes) < _SINE_OF_A_DEGREE, 0, np.where(np.abs(axes) > 0.9998, np.sign(axes), axes))
    if (axes == np.eye(2)).all():
        return picture
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ axes
    # Pixels are squares around their middles.
    shift = np.array([0.5, 0.5]) @ axes - 0.5 - corners.min(0)
    size = np.ptp(corners, axis=0).round().astype(int)
    return np.asarray(cv2.warpAffine(picture, np.column_stack([axes.T, shift]), tuple(map(int, size))), np.uint8)


def fit(picture: Picture, size: tuple[int, int]) -> Picture:
    """Scale a picture into `size` (width, height), whole and not stretched: the rest is black, as players have it."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    scale = min(size[0] / width, size[1] / height)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    out = np.zeros((size[1], size[0], 3), np.uint8)
    x, y = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    out[y : y + inner[1], x : x + inner[0]] = cv2.resize(picture, inner, interpolation=method)
    return out
