"""Crops on disk: a clip in one safetensors file of JPEGs, or a JPEG a frame; T frames, R crop side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from slt.files import atomic, existing

_FRAME_NAME = re.compile(r"(.+)_f(\d{6}|[1-9]\d{6,})\.jpg")


def write_packed(
    path: Path | str,
    frames: NDArray[np.uint8],
    seen: NDArray[np.bool_] | NDArray[np.uint8],
    *,
    encoding: str,
    quality: int,
    extractor: str,
) -> None:
    """Write RGB squares (T, R, R, 3) as `<id>.safetensors`, black where not seen.

    Args:
        frames, seen: of one stream of one clip; seen marks (T,) are 0 = not seen, 1 = detected, 2 = followed.
        encoding: "raw" (fast, for small crops) or "jpeg" (small files, of this `quality` from 1 to 100).
        extractor: fingerprint of what made the crops.
    """
    side = frames.shape[1]
    assert frames.shape == (len(seen), side, side, 3), frames.shape
    marks = np.asarray(seen).astype(np.uint8)
    frames = np.where(marks[:, None, None, None] > 0, frames, np.uint8(0))
    blocks: Iterable[Any] = [np.ascontiguousarray(frames).data.cast("B")]
    offsets = None
    if encoding == "jpeg":
        blocks = [encode_jpeg(frame, quality) for frame in frames]
        offsets = np.cumsum([0, *map(len, blocks)], dtype=np.int64)
    with atomic(path) as file:
        write_packed_blocks(file, blocks, marks, offsets=offsets, size=side, extractor=extractor)


def write_packed_blocks(
    file: IO[bytes],
    blocks: Iterable[Any],
    marks: NDArray[np.uint8],
    *,
    offsets: NDArray[np.int64] | None,
    size: int,
    extractor: str,
) -> None:
    """Write packed crops of side R whose pixels or JPEGs come as blocks of bytes: a long clip is never in memory.

    The format is that of huggingface/safetensors with its header in a fixed order: the library's own writer orders the
    metadata by a hash that changes from process to process, so that the same seed would not give the same file.
    `offsets` are of the T JPEGs, int64 (T + 1,); None = raw pixels.
    """
    tensors: list[tuple[str, str, list[int], int, Iterable[Any]]] = []  # wide types first: all stay aligned
    if offsets is None:
        tensors.append(("frames", "U8", [len(marks), size, size, 3], len(marks) * size * size * 3, blocks))
    else:
        tensors.append(("offsets", "I64", [len(offsets)], offsets.nbytes, [offsets.data.cast("B")]))
        tensors.append(("jpeg", "U8", [int(offsets[-1])], int(offsets[-1]), blocks))
    tensors.append(("seen", "U8", [len(marks)], len(marks), [marks.data.cast("B")]))
    encoding = "raw" if offsets is None else "jpeg"
    header: dict[str, Any] = {"__metadata__": {"encoding": encoding, "size": str(size), "extractor": extractor}}
    begin = 0
    for name, dtype, shape, length, _ in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + length]}
        begin += length
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name, _, _, length, pieces in tensors:
        written = sum(file.write(piece) for piece in pieces)
        assert written == length, (name, written, length)


class PackedCrops:
    """One packed stream of one clip: random access to its frames without reading the others.

    `marks` are as stored, uint8 (T,): 0 not seen, 1 detected, 2 followed; `extractor` is "" where the file names none.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = existing(path, "the packed crops of a clip")
        try:
            self._file: Any = safe_open(str(self.path), framework="np")
            metadata = self._file.metadata() or {}
            self.marks: NDArray[np.uint8] = self._file.get_tensor("seen")
            self.seen: NDArray[np.bool_] = self.marks.astype(bool)
            self.encoding = metadata.get("encoding", "")
            self.size = int(metadata.get("size", 0))
            self.extractor = metadata.get("extractor", "")
            stored = self._file.get_slice("frames" if self.encoding == "raw" else "offsets")
            found = (stored.get_dtype(), *stored.get_shape())
            if self.encoding != "raw":
                self._file.get_slice("jpeg")  # raises where it is not there
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(
                f"{self.path}: not a readable clip of packed crops ({str(error)[:300]}); expected safetensors with "
                "`seen` and `frames`, or `jpeg` and `offsets`; write it anew"
            ) from error
        self.length = len(self.seen)
        raw = self.encoding == "raw"
        expected = ("U8", self.length, self.size, self.size, 3) if raw else ("I64", self.length + 1)
        if found != expected or self.length == 0 or self.size == 0:
            raise ValueError(
                f"{self.path}: {self.length} seen marks, size {self.size} and encoding {self.encoding!r} do not fit "
                f"what is stored, {found}; expected {expected} and at least one frame; write it anew"
            )

    def frames(self, index: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Return the frames of `index` (n,), in its order and with its repeats, as RGB uint8 (n, R, R, 3)."""
        if len(index) == 0:
            return np.zeros((0, self.size, self.size, 3), np.uint8)
        low, high = int(index.min()), int(index.max()) + 1
        if self.encoding == "raw":
            block: NDArray[np.uint8] = self._file.get_slice("frames")[low:high]
            return np.asarray(block[index - low])
        offsets = self._file.get_slice("offsets")[low : high + 1]
        try:
            data = self._file.get_slice("jpeg")[int(offsets[0]) : int(offsets[-1])]
        except (SafetensorError, OverflowError, IndexError) as error:
            fault = f"`offsets` do not fit the JPEGs ({error}); write it anew"
            raise ValueError(f"{self.path} frame {low}: {fault}") from error
        offsets = offsets - offsets[0]
        out = np.zeros((len(index), self.size, self.size, 3), np.uint8)
        for place, t in enumerate(index - low):
            out[place] = decode_jpeg(data[offsets[t] : offsets[t + 1]], f"{self.path} frame {t + low}", self.size)
        return out


def encode_jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Encode one RGB picture (R, R, 3)."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def decode_jpeg(data: NDArray[np.uint8] | bytes, where: str, size: int | None) -> NDArray[np.uint8]:
    """Decode one JPEG to an RGB square (R, R, 3), R = `size` where that is given; errors name `where`."""
    raw = bytes(data)
    # OpenCV fills a cut picture up with grey and only prints a warning, so both ends are looked at here.
    if raw[:2] != b"\xff\xd8":
        raise ValueError(f"{where}: not a JPEG (it starts with {raw[:8]!r}); write this picture anew")
    if raw.rstrip(b"\0")[-2:] != b"\xff\xd9":
        raise ValueError(f"{where}: a truncated JPEG ({len(raw)} bytes and no end mark); write this picture anew")
    try:
        picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than any picture has, see slt/__init__.py
        picture = None
    if picture is None:
        raise ValueError(f"{where}: a JPEG that cannot be decoded; write this picture anew")
    height, width = picture.shape[:2]
    if height != width or (size is not None and size != width):
        side = f"{size} x {size}" if size is not None else "square"
        raise ValueError(f"{where}: a crop must be {side}, came {width} x {height}; crop it anew")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def frame_path(folder: Path | str, video_id: str, t: int) -> Path:
    return Path(folder) / f"{video_id}_f{t:06d}.jpg"


def parse_frame_name(name: str) -> tuple[str, int] | None:
    """Split `<id>_f000012.jpg` into (id, 12); None for any other file name."""
    match = _FRAME_NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def write_frames(folder: Path | str, video_id: str, frames: NDArray[np.uint8], *, quality: int) -> None:
    """Write RGB crops uint8 (T, R, R, 3) in the one-JPEG-per-frame form."""
    for t, frame in enumerate(frames):
        with atomic(frame_path(folder, video_id, t)) as file:
            file.write(encode_jpeg(frame, quality))
