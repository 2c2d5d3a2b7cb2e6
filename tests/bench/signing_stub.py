"""A landmarker whose signer lowers, raises and moves the hands by the clock, where MediaPipe is not what is tested.

Named in a configuration as `landmarker._target_=bench.signing_stub.SigningLandmarker`, with `tests/` on the path.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from slt.extraction.geometry import cut_box
from slt.extraction.landmarks import LANDMARKS, Landmarks
from slt.extraction.regions import Regions

SIZE = (100, 80)
SHOULDER_WIDTH = 0.2 * SIZE[0]  # pixels
BODY, HAND = 33, 21
# Where what moves lies in the picture; all else of the body is in its middle.
PLACES = {0: (0.5, 0.2), 11: (0.6, 0.4), 12: (0.4, 0.4), 23: (0.57, 0.75), 24: (0.43, 0.75)}
LOWERED, RAISED = 0.8, 0.5
TURNS = 1.5  # a second: the hand goes to and fro over one shoulder width


def signer(seconds: float, *, raised: bool, moving: bool, shift: float = 0.0) -> np.ndarray:
    """Return landmarks (75, 3) of somebody whose both hands are raised or lowered, and move or rest."""
    points = np.full((LANDMARKS, 3), 0.5, np.float32)
    points[:, 2] = 0.9
    for point, place in PLACES.items():
        points[point, :2] = place
    points[:11, 1] = 0.2 + 0.02 * np.arange(11)
    swing = 0.1 * math.sin(2 * math.pi * TURNS * seconds) if moving else 0.0
    for side, x in enumerate((0.6, 0.4)):
        hand = slice(BODY + side * HAND, BODY + (side + 1) * HAND)
        for part in (15 + side, 17 + side, 19 + side):
            points[part, :2] = x + swing, RAISED if raised else LOWERED
        points[hand, 0] = x + swing + 0.02 * (np.arange(HAND) % 4)
        points[hand, 1] = (RAISED if raised else LOWERED) - 0.01 * np.arange(HAND)
    points[:, 0] += shift
    return points


def regions(seconds: float, points: np.ndarray, crops: dict[str, np.ndarray] | None = None) -> Regions:
    """Return a frame with these landmarks."""
    names = ("face", "left_hand", "right_hand")
    return Regions(seconds, points, crops or {}, dict.fromkeys(names, 1), {name: np.zeros(3) for name in names}, SIZE)


def frames(seconds: float, signing: Callable[[float], tuple[bool, bool]], *, fps: float = 10) -> list[Regions]:
    """Return frames; `signing` says for each second whether the hands are raised and whether they move."""
    times = [n / fps for n in range(round(seconds * fps))]
    told = [(second, signing(second)) for second in times]
    return [regions(second, signer(second, raised=raised, moving=moving)) for second, (raised, moving) in told]


class SigningLandmarker:
    """Finds somebody who signs at some times and rests at all others; keys of other landmarkers are taken and unused.

    Args:
        signing: (begin, end) of each stretch of signing, seconds.
        pause: seconds that each picture takes.
    """

    name, skeleton = "signing stub", "mediapipe_75"

    def __init__(self, *, signing: Sequence[tuple[float, float]] = ((0.0, 1e9),), pause: float = 0.0, **keys) -> None:
        self.signing, self.pause = signing, pause
        self.parameters = {"landmarker": "signing stub"}
        self.closed = False
        self.box = None

    def start(self, box) -> None:
        self.box = box

    def find(self, seconds, picture) -> Landmarks:
        time.sleep(self.pause)
        if self.box is not None:
            cut_box(self.box, picture)  # refuses one beyond the picture, as MediaPipe's does
        moves = any(begin <= seconds < end for begin, end in self.signing)
        return Landmarks(signer(seconds, raised=moves, moving=moves), True)

    def people(self, picture) -> list[np.ndarray]:
        return [signer(0.0, raised=False, moving=False)[:BODY].astype(float)]

    def close(self) -> None:
        self.closed = True


class SlowLandmarker(SigningLandmarker):
    """The same, slow enough to be stopped amid a clip."""

    def __init__(self, **keys) -> None:
        super().__init__(**{**keys, "pause": 0.1})
