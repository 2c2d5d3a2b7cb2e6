"""The third stage: pictures and landmarks become square crops of face and hands, and the pose (R crop side)."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import HEAD, WRISTS, Box, Picture, cut_square, hand_places
from slt.extraction.landmarks import Landmarker, Landmarks
from slt.extraction.pictures import READING, versions
from slt.extraction.signers import MODES, Pictures, Signer, find_signer
from slt.streams.pose import DETECTED, FOLLOWED, NOT_SEEN
from slt.streams.skeleton import BODY, HAND

STREAMS = {
    "face": HEAD,
    "left_hand": slice(BODY, BODY + HAND),
    "right_hand": slice(BODY + HAND, BODY + 2 * HAND),
}
# The head's points run from eyes to mouth and from ear to ear; a head with its chin and brow is this much larger.
HEAD_FROM_EARS, HEAD_FROM_EYES_TO_MOUTH = 1.3, 3.2
# Smoothing moves a centre by at most this share of the box: jitter is smaller, and a fast hand stays in its crop.
LARGEST_SHIFT = 0.1
# Streams whose crop can follow the arm, with their row in WRISTS.
ARM_OF = {"left_hand": 0, "right_hand": 1}


@dataclass(frozen=True)
class Regions:
    """One frame, extracted; crops, marks and boxes are by stream."""

    seconds: float  # its time in the clip
    # (75, 3) of MediaPipe's body and hands: x, y in [0, 1] of the picture, confidence; 0 where not seen.
    points: NDArray[np.float32]
    crops: dict[str, Picture]  # RGB uint8 (R, R, 3), black where not seen
    # DETECTED (its part was found in this frame), FOLLOWED (the hand was missed, its crop goes on with the wrist) or
    # NOT_SEEN.
    marks: dict[str, int]
    boxes: dict[str, NDArray[np.float64]]  # centre x, centre y, side in pixels of the picture; NaN where not seen
    size: tuple[int, int]  # width and height of the picture
    took: dict[str, float] = field(default_factory=dict)  # seconds of work: landmarks, crops
    whole: NDArray[np.float32] | None = None  # (K, 3) of the landmarker's own skeleton, where it is another
    skeleton: str = ""  # the landmarker's; "" = that of `points`
    cut: bool = False  # another shot of the film begins with it, as whoever divides a film says

    @property
    def pose(self) -> NDArray[np.float32]:
        """The points that the pose stream holds, (K, 3)."""
        return self.points if self.whole is None else self.whole


@dataclass(kw_only=True, eq=False)
class Extractor:
    """Pictures in, crops and pose out, frame by frame; a clip's result depends on its own pictures alone.

    A hand that the hand model misses (blurred, or folded) is followed by its arm as long as the pose is sure to see the
    wrist, the hand's place lies in the picture and the hand was found not long ago. The wrist's visibility is 0.54 to
    0.90 for arms that hang out of the picture (two films), 0.97 to 1.00 for missed hands (three).

    A crop follows the smoothed box of its part, by a triangle that looks as far ahead as back: frames come late.
    """

    # Raised with every change of this file or of landmarks.py that changes what comes out.
    version: ClassVar[int] = 2

    landmarker: Landmarker = field(kw_only=False)
    crop_size: int  # side R of the crops in pixels
    face_margin: float  # side of the face's crop over the size of the head
    hand_margin: float  # side of a hand's crop over the extent of its points
    smooth_centre: float  # half-width of the smoothing of a box's centre, seconds
    smooth_size: float  # half-width of the smoothing of a box's side, seconds
    follow_visibility: float  # least visibility of a wrist for its hand to be followed, in [0, 1]
    follow_seconds: float  # no longer than this after the hand was last found; 0 follows none
    signer: str  # how the signer is chosen: "auto", "largest" or "box"; see `find_signer`
    min_certainty: float  # below it a signer is marked unsure, in [0, 1]

    def __post_init__(self) -> None:
        settings = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "landmarker"}
        said = ", ".join(f"{name}={value}" for name, value in settings.items())
        rules = {
            "crop_size must be at least 1": self.crop_size >= 1,
            "margins must be above 0": min(self.face_margin, self.hand_margin) > 0,
            "seconds must be at least 0": min(self.smooth_centre, self.smooth_size, self.follow_seconds) >= 0,
            "follow_visibility must lie in [0, 1]": 0 <= self.follow_visibility <= 1,
            "min_certainty must lie in [0, 1]": 0 <= self.min_certainty <= 1,
            f"signer must be one of {', '.join(MODES)}": self.signer in MODES,
        }
        for rule, kept in rules.items():
            if not kept:
                raise ValueError(f"extractor: {rule}, came {said}")
        self.margins = {"face": self.face_margin, "left_hand": self.hand_margin, "right_hand": self.hand_margin}
        found = {"landmarks": dict(self.landmarker.parameters), "pictures": READING | versions()}
        self.parameters: dict[str, Any] = found | settings

    @property
    def name(self) -> str:
        return f"slt-{self.landmarker.name}"

    @property
    def fingerprint(self) -> str:
        """What this extractor's clips are marked with: a digest of its name, version, models and parameters."""
        text = json.dumps([self.name, self.version, self.parameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def find_signer(self, pictures: Pictures, *, duration: float, box: Box | None) -> Signer:
        return find_signer(
            pictures, self.landmarker.people, duration=duration, box=box, mode=self.signer, least=self.min_certainty
        )

    def stream(self, frames: Iterable[tuple[float, Picture]], *, fps: float, signer: Signer) -> Iterator[Regions]:
        """Extract one clip from (seconds, RGB picture (H, W, 3)) at `fps`; only the smoothing's window is in memory."""
        centre, side = (round(seconds * fps) for seconds in (self.smooth_centre, self.smooth_size))
        ahead = max(centre, side)
        waiting: deque[tuple[float, Picture, Landmarks, dict[str, int], dict[str, float]]] = deque()
        boxes: deque[NDArray[np.float64]] = deque(maxlen=2 * ahead + 1)
        lately: dict[str, tuple[float, float]] = {}

        def cut(now: int) -> Regions:
            begin = time.perf_counter()
            regions = self._cut(*waiting.popleft(), smooth(np.stack(boxes), now, centre, side))
            regions.took["crops"] += time.perf_counter() - begin
            return regions

        self.landmarker.start(signer.box)
        for seconds, picture in frames:
            begin = time.perf_counter()
            found = self.landmarker.find(seconds, picture)
            looked = time.perf_counter()
            size = (picture.shape[1], picture.shape[0])
            box = find_boxes(found, size)
            marks = self._follow(seconds, found, size, box, lately)
            took = {"landmarks": looked - begin, "crops": time.perf_counter() - looked}
            waiting.append((seconds, picture, found, marks, took))
            boxes.append(box)
            if len(waiting) > ahead:
                yield cut(len(boxes) - 1 - ahead)
        while waiting:
            rest = len(waiting)
            while len(boxes) > rest + ahead:  # what lies further back than the window
                boxes.popleft()
            yield cut(len(boxes) - rest)

    def _follow(
        self,
        seconds: float,
        found: Landmarks,
        size: tuple[int, int],
        boxes: NDArray[np.float64],
        lately: dict[str, tuple[float, float]],
    ) -> dict[str, int]:
        """Put in boxes (streams, 3) of followed hands; return all marks. `lately`: hand -> (when detected, side)."""
        marks = {}
        places = hand_places(found.points[:BODY].astype(float) * (*size, 1))
        for row, name in enumerate(STREAMS):
            marks[name] = DETECTED if np.isfinite(boxes[row]).all() else NOT_SEEN
            if name not in ARM_OF:
                continue
            if marks[name] == DETECTED:
                lately[name] = seconds, float(boxes[row, 2])
                continue
            when, side = lately.get(name, (-np.inf, 0.0))
            place = places[ARM_OF[name]]
            inside = bool(((place >= 0) & (place <= size)).all())
            sure = found.points[WRISTS[ARM_OF[name]], 2] >= max(self.follow_visibility, 1e-9)  # 0 is no wrist at all
            if sure and inside and seconds - when <= self.follow_seconds and self.follow_seconds > 0:
                boxes[row] = *place, side
                marks[name] = FOLLOWED
        return marks

    def _cut(
        self,
        seconds: float,
        picture: Picture,
        found: Landmarks,
        marks: dict[str, int],
        took: dict[str, float],
        boxes: NDArray[np.float64],
    ) -> Regions:
        crops, squares = {}, {}
        for (name, margin), box in zip(self.margins.items(), boxes, strict=True):
            squares[name] = box * (1, 1, margin)
            blank = np.zeros((self.crop_size, self.crop_size, 3), np.uint8)
            crops[name] = self._crop(picture, squares[name]) if marks[name] else blank
        size = (picture.shape[1], picture.shape[0])
        own = (found.whole, self.landmarker.skeleton if found.whole is not None else "")
        return Regions(seconds, found.points, crops, marks, squares, size, took, *own)

    def _crop(self, picture: Picture, square: NDArray[np.float64]) -> Picture:
        """Cut a square to (R, R, 3); enlarged, at a fraction of a pixel, so that a slowly moving crop does not step."""
        side = float(square[2])
        if side > self.crop_size:  # shrinking takes the mean over areas, which interpolation does not
            part, _ = cut_square(picture, square)
            return np.asarray(cv2.resize(part, (self.crop_size,) * 2, interpolation=cv2.INTER_AREA), np.uint8)
        # First the place, then the size: a quarter of what one affine warp takes.
        around = math.ceil(side) + 2
        part, corner = cut_square(picture, np.array([*square[:2], around + 4]))
        x, y = square[:2] - corner - 0.5  # OpenCV counts from the middle of the first pixel
        exact = cv2.getRectSubPix(np.ascontiguousarray(part), (around, around), (float(x), float(y)))
        rim = round((around / side - 1) * self.crop_size / 2)
        whole = cv2.resize(exact, (self.crop_size + 2 * rim,) * 2, interpolation=cv2.INTER_LINEAR)
        return np.asarray(whole[rim : rim + self.crop_size, rim : rim + self.crop_size], np.uint8)


def find_boxes(found: Landmarks, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the boxes of face, left and right hand, (3, 3): centre x, y, side in pixels, no margin; NaN = not seen."""
    boxes = np.full((len(STREAMS), 3), np.nan)
    for row, (name, part) in enumerate(STREAMS.items()):
        points = found.points[part, :2] * np.array(size, float)
        seen = found.points[part, 2] > 0
        if name == "face":
            if found.face and seen.all():
                boxes[row] = _face_box(points)
        elif seen.any():
            low, high = points[seen].min(0), points[seen].max(0)
            boxes[row] = *(low + high) / 2, max(float((high - low).max()), 1.0)
    return boxes


def _face_box(head: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return centre and side from MediaPipe's 11 head points: 0 nose, 1-6 eyes, 7-8 ears, 9-10 mouth."""
    eyes, mouth = head[1:7].mean(0), head[9:11].mean(0)
    # Ear to ear vanishes in profile, eyes to mouth with a bowed head: the larger of the two is the head's size.
    ears = float(np.linalg.norm(head[7] - head[8])) * HEAD_FROM_EARS
    height = float(np.linalg.norm(eyes - mouth)) * HEAD_FROM_EYES_TO_MOUTH
    return np.array([*(eyes + mouth) / 2, max(ears, height, 1.0)])


def smooth(boxes: NDArray[np.float64], now: int, centre: int, side: int) -> NDArray[np.float64]:
    """Smooth the boxes (frames, streams, 3) at frame `now` with triangles of half-widths `centre` and `side` frames.

    Only frames in which a part was seen are averaged; a part not seen `now` stays NaN (streams, 3).
    """
    out = np.full(boxes.shape[1:], np.nan)
    distance = np.abs(np.arange(len(boxes)) - now)
    for column, half in ((slice(0, 2), centre), (slice(2, 3), side)):
        weights = np.maximum(half + 1 - distance, 0.0)[:, None] * np.isfinite(boxes[:, :, 0])
        total = (weights[:, :, None] * np.nan_to_num(boxes[:, :, column])).sum(0)
        out[:, column] = total / np.maximum(weights.sum(0), 1e-9)[:, None]
    reach = LARGEST_SHIFT * boxes[now, :, 2:]
    out[:, :2] = boxes[now, :, :2] + np.clip(out[:, :2] - boxes[now, :, :2], -reach, reach)
    out[np.isnan(boxes[now, :, 0])] = np.nan
    return out
