"""Who of a film signs: segments are told apart by the colours of the face that they show, and numbered (R crop side).

Signer diarization ("who signs when") within one source: nobody is recognised from another film, and nothing is kept.
"""

from __future__ import annotations

import itertools
import math
from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import Picture
from slt.extraction.regions import Regions
from slt.inference.segments import Segment

Colours = NDArray[np.float64]

# The colours of a face are a histogram in CIELAB of what lies in a circle of its crop: hair and skin, little wall.
SMALL, RADIUS = 32, 0.45  # side in pixels, and of the circle in sides
BINS = (8, 16, 16)
NEUTRAL, CHROMA = 128, 60  # OpenCV's zero of a* and b*, and how far from it the outer bins reach
_ACROSS = np.arange(SMALL) - (SMALL - 1) / 2
_CIRCLE = np.hypot(_ACROSS[:, None], _ACROSS) <= RADIUS * SMALL
_CORNERS = np.array([*itertools.product((0, 1), repeat=3)])[:, None]
# Hellinger distance from which two segments show two people. Pieces of some 1.5 s of one real film (four films) and the
# turns of one drawn person (78 of two) lie at most 0.18 apart, others at least 0.38; the same person nearer and
# with another exposure or tint (gamma 0.87 to 1.15, 20 % brighter) 0.40 in the middle, which counts as somebody else.
OTHER = 0.28
LOOK_SECONDS = 0.2  # from one look to the next
REMEMBERED = 600  # looks: two minutes, the longest segment
MOST = 32  # people of a source; who comes after them is the one of them who is most alike


class Diarizer:
    """Looks at the frames of a source in their order, and says of each segment who signs: 1 the first that did."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Colours]] = deque(maxlen=REMEMBERED)
        self._known: list[Colours] = []  # of each signer, the sum of all looks

    def look(self, frame: Regions) -> None:
        """Take the next frame, with its crops; one without a face says nothing."""
        if not frame.marks.get("face") or "face" not in frame.crops:
            return
        if not self._looks or frame.seconds - self._looks[-1][0] >= LOOK_SECONDS - 1e-6:
            self._looks.append((frame.seconds, colours(frame.crops["face"])))

    def who(self, segment: Segment) -> int | None:
        """Return the signer's number; None where the segment shows no face. Segments come in the order of time."""
        seen = [each for seconds, each in self._looks if segment.start - 1e-6 <= seconds < segment.end - 1e-6]
        if not seen:
            return None
        total = np.sum(seen, axis=0)
        apart = [hellinger(total, known) for known in self._known]
        nearest = int(np.argmin(apart)) if apart else 0
        if not apart or (apart[nearest] >= OTHER and len(apart) < MOST):
            self._known.append(total)
            return len(self._known)
        self._known[nearest] = self._known[nearest] + total
        return nearest + 1


def colours(face: Picture) -> Colours:
    """Return the share of each colour (8 * 16 * 16,) in the middle of an RGB uint8 crop (R, R, 3).

    A pixel counts in the bins around it, in the nearer ones more: noise carries none over a border.
    """
    small = cv2.resize(np.ascontiguousarray(face), (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[_CIRCLE].astype(np.float32)
    shares = np.column_stack([lab[:, 0] / 256, ((lab[:, 1:] - NEUTRAL) / CHROMA + 1) / 2])
    places = shares.clip(0, 1) * BINS - 0.5
    low = np.floor(places).astype(int)
    weights = np.abs(1 - _CORNERS - (places - low)).prod(2)  # (8, pixels)
    bins = np.ravel_multi_index(tuple((low + _CORNERS).reshape(-1, 3).T), BINS, mode="clip")
    return np.bincount(bins, weights.ravel(), math.prod(BINS)) / len(lab)


def hellinger(one: Colours, other: Colours) -> float:
    """Return the Hellinger distance of two histograms, whatever their sums, in [0, 1]."""
    alike = float(np.sqrt(one * other).sum()) / math.sqrt(float(one.sum() * other.sum()))
    return math.sqrt(max(0.0, 1 - alike))
