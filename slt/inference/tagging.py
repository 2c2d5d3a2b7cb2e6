"""A learned segmenter at work: `Segmenter`'s other form, whose sentences a small network finds, in numpy alone.

T frames, F features, D width, n frames in a segment.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from slt.extraction.regions import Regions
from slt.files import existing
from slt.inference.segments import Cutter, Motion, Segment, Segmentation
from slt.streams.phrases import BEGINNING, OUTSIDE, WIDTH, Floats, features

FORM = "slt.segmenter 1"


@dataclass(frozen=True)
class Tagging:
    """A segmenter's weights, and at which pace it reads and from which probability it believes.

    Attributes:
        weights: of `slt.models.tagger.Tagger`, by name.
        dilations: of its layers.
        fps: frames a second that it was trained on.
        begin, end: least probability of no `OUTSIDE` for a sentence to begin, and of `OUTSIDE` for it to end.
        split: least probability of `BEGINNING` for another sentence to begin where one runs.
    """

    weights: Mapping[str, NDArray[np.float32]]
    dilations: tuple[int, ...]
    fps: float
    begin: float
    end: float
    split: float

    @property
    def reach(self) -> int:
        """Frames that a tag needs to be known of after its own, and before it."""
        return sum(self.dilations)

    def probabilities(self, x: Floats) -> Floats:
        """Return the probabilities (T, 3) of the tags of features (T, F); beyond both ends there are zeros."""
        weights = self.weights
        x = np.maximum(x @ weights["enter.weight"].T + weights["enter.bias"], 0)
        for n, dilation in enumerate(self.dilations):
            kernel, padded = weights[f"layers.{n}.weight"], np.pad(x, ((dilation, dilation), (0, 0)))
            seen = [padded[place * dilation :][: len(x)] @ kernel[..., place].T for place in range(3)]
            x = x + np.maximum(sum(seen) + weights[f"layers.{n}.bias"], 0)
        x = x @ weights["leave.weight"].T + weights["leave.bias"]
        x = np.exp(x - x.max(1, keepdims=True))
        return np.asarray(x / x.sum(1, keepdims=True), np.float32)


def read_tagging(path: Path) -> Tagging:
    """Read what `python -m slt.segment` writes; ValueError where a file is something else, or damaged."""
    existing(path, "a segmenter, as `python -m slt.segment` writes it")
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get("slt", "{}"))
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no dictionary
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path}: no segmenter that can be read ({error}); train one by `python -m slt.segment`"
        ) from (error)
    shape = weights["enter.weight"].shape[1] if "enter.weight" in weights else None
    if about.get("form") != FORM or shape != WIDTH:
        raise ValueError(f"{path}: a segmenter of {WIDTH} features expected ({FORM}), came {about} of {shape}; train "
                         "it anew by `python -m slt.segment`")  # fmt: skip
    thresholds = {key: float(about[key]) for key in ("fps", "begin", "end", "split")}
    return Tagging(weights, tuple(about["dilations"]), **thresholds)


class LearnedSegmenter(Cutter):
    """Cuts where a small network says; a frame is judged `Tagging.reach` frames later.

    A sentence that grows longer than `max_seconds` is cut at its stillest moment; what is shorter than `min_seconds`
    is none. Those are the settings that count here.
    """

    def __init__(self, tagging: Tagging, settings: Segmentation, *, fps: float) -> None:
        super().__init__(settings, fps=fps)
        self.tagging = tagging
        self.step = max(1, round(fps / tagging.fps))  # frames of the stream for one of the network's
        self._ahead: deque[tuple[Regions, float]] = deque()  # not judged yet, as `_frames` are that were
        self._features: deque[Floats] = deque(maxlen=2 * tagging.reach + 1)
        self._count = self._known = 0  # frames of the shot that came, and that were read
        self._before: Floats | None = None
        self._was_inside = False

    def _take(self, frame: Regions, motion: Motion) -> Segment | None:
        segment = self.close() if frame.cut or motion.other else None
        self._ahead.append((frame, float(motion.speeds.max())))
        if self._count % self.step == 0:
            self._before = features(frame.points[None], frame.size, self._before)[0]
            self._features.append(self._before)
            self._known += 1
            if self._known > self.tagging.reach:
                segment = self._judge(self._known - 1 - self.tagging.reach) or segment
        self._count += 1
        return segment

    def close(self) -> Segment | None:
        """End the segment that runs, as a cut does too; of two that end then return the longer."""
        found = None
        first = max(0, self._known - self.tagging.reach)
        for late in range(first, self._known):
            found = self._judge(late) or found
        last = self._emit(len(self._frames)) if self.signing else None
        self._frames.clear()
        self._ahead.clear()
        self._features.clear()
        self._count = self._known = 0
        self.signing, self._was_inside, self._before = False, False, None
        return max((each for each in (last, found) if each), key=lambda each: len(each.frames), default=None)

    def _judge(self, place: int) -> Segment | None:
        """Judge the read frame `place` of the shot, and all up to the next one; return what it ends."""
        window = np.stack(self._features)
        tags = self.tagging.probabilities(window)[place - (self._known - len(window))]
        due = [self._ahead.popleft() for _ in range(min(self.step, len(self._ahead)))]
        segment = None
        outside = float(tags[OUTSIDE])
        if self.signing and (
            outside >= self.tagging.end or (self._was_inside and tags[BEGINNING] >= self.tagging.split)
        ):
            segment, self.signing = self._emit(len(self._frames)), False
        if not self.signing and 1 - outside >= self.tagging.begin:
            self.signing, self._was_inside = True, False
        self._was_inside = self.signing and (self._was_inside or tags[BEGINNING] < self.tagging.split)
        if self.signing:
            self._frames.extend(due)
            length = len(self._frames) / self.fps
            if segment is None and length >= self.settings.max_seconds - 0.5 / self.fps:
                segment = self._cut_long()
        return segment

    def _cut_long(self) -> Segment | None:
        """Cut what has grown too long at the stillest moment of its second half; the rest goes on."""
        half = range(len(self._frames) // 2, len(self._frames))
        return self._emit(min(half, key=lambda n: (self._frames[n][1], -n)) + 1)

    def _emit(self, count: int) -> Segment | None:
        """Take the first `count` frames out; return them as a segment where they are long enough to be one."""
        frames = [self._frames.popleft()[0] for _ in range(count)]
        self.number += 1
        if not frames or math.ceil(self.settings.min_seconds * self.fps - 1e-6) > len(frames):
            return None
        end = frames[-1].seconds + 1 / self.fps
        return Segment(tuple(frames), frames[0].seconds, end, end, self.number - 1)


def describe_tagging(tagging: Any) -> dict[str, Any]:
    """Return what stands beside the weights in a segmenter's file."""
    keys = ("dilations", "fps", "begin", "end", "split")
    return {"form": FORM} | {key: getattr(tagging, key) for key in keys}
