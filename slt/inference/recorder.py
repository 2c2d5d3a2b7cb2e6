"""Pictures to a film in H.264 that any player shows, at the pace at which they were taken."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

CODECS = ("libx264", "libopenh264")
# Ticks of a second: all common rates are whole numbers of them, and a camera's uneven times nearly so.
CLOCK = 90_000


class Recorder:
    """Writes an MP4 under a hidden name, which becomes the film when it is closed whole.

    Args:
        size: width and height, both even.
        fps: frames a second, on average.
        live: a camera's film: coded fast, and in fragments, so that what was written before a power cut can be played.
    """

    def __init__(self, path: Path, *, size: tuple[int, int], fps: float, live: bool) -> None:
        try:
            import av
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f'writing films needs PyAV: pip install "slt[media]" ({error})') from error
        if path.suffix.lower() != ".mp4":
            raise ValueError(f"{path}: films are written as .mp4; name it so")
        codec = next((name for name in CODECS if name in av.codecs_available), None)
        if codec is None:
            raise ValueError(f"{path}: this PyAV has none of {', '.join(CODECS)} and cannot write H.264; take a build "
                             "that has one, or write no film (draw=false, record=null)")  # fmt: skip
        assert size[0] % 2 == size[1] % 2 == 0
        self.path, self._live = path, live
        self._frame = av.VideoFrame
        self._work = path if live else path.with_name(f".{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = {"movflags": "+faststart"}
        if live:  # what is whole goes to the disk at once
            flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        self._container: Any = av.open(str(self._work), "w", format="mp4", options=flags)
        options = {"preset": "ultrafast" if live else "veryfast", "crf": "20"} if codec == "libx264" else {}
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = cast(Any, self._container.add_stream(codec, rate=rate, options=options))
        self._stream.width, self._stream.height, self._stream.pix_fmt = *size, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, CLOCK)
        self._ticks = max(1, round(CLOCK / fps))
        self._last = -1

    def write(self, seconds: float, picture: NDArray[np.uint8]) -> None:
        """Add an RGB picture (H, W, 3) that is shown from `seconds` on, counted from the film's beginning."""
        frame = self._frame.from_ndarray(picture, format="rgb24")
        self._last = max(self._last + 1, round(seconds * CLOCK))
        frame.pts, frame.time_base, frame.duration = self._last, Fraction(1, CLOCK), self._ticks
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = packet.duration or self._ticks
            self._container.mux(packet)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the film its name; of one that failed nothing is left, but for a camera's, which is kept up to here."""
        if kind is None or self._live:
            self._mux(None)
            self._container.close()
            self._work.replace(self.path)
            return
        try:
            self._container.close()  # writes what it still holds, which a full disk refuses once more
        finally:
            self._work.unlink(missing_ok=True)
