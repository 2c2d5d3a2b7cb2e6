"""Where signing begins and ends in a stream of frames: by hands that are raised, that move, that come to rest.

A cut of the film, and somebody else in the place of whoever signed, end a sentence too. A translator reads one
sentence's frames; a camera and a long film go on. n frames in a segment.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import HIPS, SHOULDERS, WRISTS
from slt.extraction.regions import Regions
from slt.inference.settings import Segmentation
from slt.models.signature import StreamSpec
from slt.streams.crops import resize_crops

Item = TypeVar("Item")

# Where the hips are when they are out of the picture: so many shoulder widths below the shoulders (on the signers of
# six films a trunk is 0.7 to 1.8 long, and in the middle 1.4).
TRUNK_LENGTH = 1.4
# A point of the pose counts as seen from this confidence, as where the signer is chosen.
SEEN = 0.5
# The unit is the median width of the shoulders over so many seconds: leaning and turning change it for less.
UNIT_SECONDS = 1.0
# From one look to the next a hand's way is known for at most so long; machines that see less often are too slow anyway.
LONGEST_STEP = 1.0
# Nobody's shoulders move so far (in shoulder widths) or grow so much (a factor) from one frame to the next, no further
# apart than so many seconds: somebody else stands there. Signers of five films at 20 frames/s: at most 0.06 and 1.09.
OTHER_PLACE, OTHER_SIZE, OTHER_SECONDS = 0.5, 1.4, 0.15


@dataclass(frozen=True)
class Segment:
    """One stretch of signing; times are in seconds."""

    frames: tuple[Regions, ...]  # (n,), in the order of time
    start: float  # of the first
    end: float  # when the last one is over
    moved: float  # of the last frame in which a hand moved
    number: int  # which motion of the stream it is; those that were too short have one too
    signer: int | None = None  # who signs, see `slt.inference.diarization`


class Motion(NamedTuple):
    """What both hands do in a frame: heights above the hips and speeds, (2,) each; an unseen hand is at -inf, 0."""

    heights: NDArray[np.float64]
    speeds: NDArray[np.float64]
    other: bool = False  # somebody else is there than in the frame before

    def signs(self, height: float, speed: float) -> bool:
        """Tell whether a hand is at least so high and so fast."""
        return bool(((self.heights >= height) & (self.speeds >= speed)).any())


class Hands:
    """Measures how high and how fast the hands are, frame by frame; a speed over `window` seconds."""

    def __init__(self, window: float) -> None:
        self.window = window
        self._places: deque[tuple[float, NDArray[np.float64]]] = deque()
        self._widths: deque[tuple[float, float]] = deque()
        self._body: tuple[float, NDArray[np.float64], float] | None = None

    def forget(self) -> None:
        """Begin anew, as with another film."""
        self._places.clear()
        self._widths.clear()
        self._body = None

    def look(self, frame: Regions) -> Motion:
        """Take the next frame of a stream."""
        body = frame.points.astype(float) * (*frame.size, 1)
        shoulders, wrists = body[SHOULDERS], body[WRISTS]
        width = float(np.linalg.norm(shoulders[0, :2] - shoulders[1, :2]))
        if (shoulders[:, 2] <= 0).any() or width < 1:
            self._places.clear()  # nobody there: whoever comes back has not moved from where somebody was
            return Motion(np.full(2, -np.inf), np.zeros(2))
        middle = shoulders[:, :2].mean(0)
        other = self._is_other(frame.seconds, middle, width)
        if other:
            self.forget()
        self._body = frame.seconds, middle, width
        _keep(self._widths, frame.seconds, width, UNIT_SECONDS)
        unit = float(np.median([value for _, value in self._widths]))
        hips = body[HIPS]
        floor = hips[:, 1].mean() if (hips[:, 2] >= SEEN).all() else middle[1] + TRUNK_LENGTH * unit
        there = wrists[:, 2] >= SEEN
        # From the middle of the shoulders: neither walking nor a moving camera is signing.
        places = np.where(there[:, None], (wrists[:, :2] - middle) / unit, np.nan)
        heights = np.where(there, (floor - wrists[:, 1]) / unit, -np.inf)
        _keep(self._places, frame.seconds, places, self.window)
        then, before = self._places[0]
        if not self.window / 2 <= frame.seconds - then <= LONGEST_STEP:
            return Motion(heights, np.zeros(2), other)
        speeds = np.linalg.norm(places - before, axis=1) / (frame.seconds - then)
        return Motion(heights, np.nan_to_num(speeds, nan=0.0), other)

    def _is_other(self, seconds: float, middle: NDArray[np.float64], width: float) -> bool:
        """Tell whether the shoulders cannot be those of the frame before, whatever these did meanwhile."""
        if self._body is None or seconds - self._body[0] > OTHER_SECONDS:
            return False
        _, place, before = self._body
        far = float(np.linalg.norm(middle - place)) > OTHER_PLACE * max(width, before)
        return far or max(width, before) > OTHER_SIZE * min(width, before)


def _keep(items: deque[tuple[float, Item]], seconds: float, item: Item, length: float) -> None:
    """Add an item and drop those that are longer ago than `length`, but for the last of them."""
    items.append((seconds, item))
    while len(items) > 1 and items[1][0] <= seconds - length:
        items.popleft()


class Cutter(ABC):
    """Frames in, segments of signing out, with at most `max_seconds` of frames in memory: by rules, or learned."""

    def __init__(self, settings: Segmentation, *, fps: float) -> None:
        self.settings, self.fps = settings, fps
        self.signing = False
        self.number = 0  # of the segment that runs, or comes next
        self._hands = Hands(settings.window)
        self._frames: deque[tuple[Regions, float]] = deque()  # with the speed of the faster hand

    @property
    def running(self) -> list[Regions]:
        """The frames so far (n,) of the segment that runs; none where nobody signs."""
        return [frame for frame, _ in self._frames] if self.signing else []

    def add(self, frame: Regions) -> Segment | None:
        """Take the next frame; return the segment that it ends."""
        if frame.cut:
            self._hands.forget()
        return self._take(frame, self._hands.look(frame))

    @abstractmethod
    def _take(self, frame: Regions, motion: Motion) -> Segment | None:
        """Take the next frame with what the hands do in it; return the segment that it ends."""

    @abstractmethod
    def close(self) -> Segment | None:
        """End the segment that runs, as the stream's end does; return it."""


class Segmenter(Cutter):
    """Cuts by rules on height and speed of the hands.

    `whole` takes all for signing, from the first frame to the last, cut only where it is longer than `max_seconds`.
    """

    def __init__(self, settings: Segmentation, *, fps: float, whole: bool) -> None:
        super().__init__(settings, fps=fps)
        self.signing = self.whole = whole
        self._began: float | None = None
        self._moved = self._raised = 0.0
        self._paused = -math.inf

    def _take(self, frame: Regions, motion: Motion) -> Segment | None:
        if self.whole:
            self._keep(frame, motion)
            self._moved = frame.seconds
            return self._cut_long(frame.seconds)
        if frame.cut or motion.other:
            segment = self.close()
            self._frames.clear()
            self._began = None
        elif self.signing:
            self._keep(frame, motion)
            return self._go_on(frame.seconds, motion)
        else:
            segment = None
        self._keep(frame, motion)
        self._wait(frame.seconds, motion)
        return segment

    def _keep(self, frame: Regions, motion: Motion) -> None:
        self._frames.append((frame, float(motion.speeds.max())))

    def close(self) -> Segment | None:
        if not self.signing or not self._frames:
            return None
        end = math.inf if self.whole else self._moved + self.settings.margin
        segment = self._emit(sum(frame.seconds <= end + 1e-6 for frame, _ in self._frames))
        self.signing, self._began = False, None
        return segment

    def _wait(self, seconds: float, motion: Motion) -> None:
        """Look whether signing begins; keep the frames before it that would be its margin."""
        settings = self.settings
        if motion.signs(settings.raised, settings.moving):
            self._began = seconds if self._began is None else self._began
            self._paused = seconds
        elif seconds - self._paused > settings.window:
            self._began = None
        self.signing = self._began is not None and seconds - self._began >= settings.start_seconds
        if self.signing:
            self._moved = self._raised = seconds
        since = (seconds if self._began is None else self._began) - settings.margin
        while self._frames and self._frames[0][0].seconds < since - 1e-6:
            self._frames.popleft()

    def _go_on(self, seconds: float, motion: Motion) -> Segment | None:
        settings = self.settings
        height, speed = settings.raised * settings.staying, settings.moving * settings.staying
        if motion.signs(height, speed):
            self._moved = seconds
        if motion.signs(height, 0.0):
            self._raised = seconds
        if seconds - self._moved < settings.still_seconds and seconds - self._raised < settings.lowered_seconds:
            return self._cut_long(seconds)
        return self.close()

    def _cut_long(self, seconds: float) -> Segment | None:
        """Cut what has grown too long at the stillest moment of its second half; the rest goes on."""
        begin = self._frames[0][0].seconds
        if seconds - begin < self.settings.max_seconds - 0.5 / self.fps:
            return None
        middle = begin + self.settings.max_seconds / 2
        half = [n for n, (frame, _) in enumerate(self._frames) if frame.seconds >= middle]
        stillest = min(half, key=lambda n: (self._frames[n][1], -n))
        moved, cut = self._moved, self._frames[stillest][0].seconds
        self._moved = min(moved, cut)
        segment = self._emit(stillest + 1)
        self._moved, self._began = moved, cut
        return segment

    def _emit(self, count: int) -> Segment | None:
        """Take the first `count` frames out; return them as a segment where they are long enough to be one."""
        frames = [self._frames.popleft()[0] for _ in range(count)]
        self.number += 1
        if not frames:  # hands have rested since a long segment was cut
            return None
        began = frames[0].seconds if self._began is None else max(self._began, frames[0].seconds)
        if not self.whole and self._moved - began < self.settings.min_seconds - 1e-6:
            return None
        end = frames[-1].seconds + 1 / self.fps
        return Segment(tuple(frames), frames[0].seconds, end, self._moved, self.number - 1)


def keep_model_crops(frame: Regions, streams: Sequence[StreamSpec]) -> Regions:
    """Return a frame with only the crops that a model reads, at its size: 20 s of 224-pixel crops are 270 MB.

    They are the very pixels that `slt.inference.inputs` would make of them later.
    """
    sizes = {stream.name: stream.size for stream in streams if stream.kind == "crops"}
    kept = {name: crop for name, crop in frame.crops.items() if name in sizes}
    crops = {name: resize_crops(crop[None], sizes[name] or len(crop))[0] for name, crop in kept.items()}
    return replace(frame, crops=crops)
