"""The second stage by RTMW in MediaPipe's place: pictures become the 133 points of COCO-WholeBody of the signer (K).

The networks are the ONNX files that OpenMMLab publishes and rtmlib (Apache-2.0) downloads. Beside MediaPipe there is no
room for rtmlib itself: it requires opencv-python, which overwrites MediaPipe's OpenCV in part, and all that it adds to
onnxruntime is what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import Box, Picture, Points, cut_box, overlap
from slt.extraction.landmarks import Landmarks
from slt.extraction.mediapipe_models import cache_folder
from slt.extraction.onnx_models import Network, find_model
from slt.extraction.yolox import PeopleDetector
from slt.files import sha256
from slt.streams.skeleton import BODY, find_skeleton
from slt.streams.skeletons import places_in, take_points

# Of RGB in 0..255, as in the networks' training. rtmlib gives them OpenCV's BGR and takes these for its channels.
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
# What a detected box must share with the one that the points gave, to be the signer's and no neighbour's.
SAME_PERSON = 0.3


@dataclass(kw_only=True, eq=False)
class RtmwLandmarker:
    """RTMW (Jiang et al., arXiv:2407.08634) in a box that follows the signer's own points from picture to picture.

    A box is looked for by a detector of people at first, every `detect_interval` seconds, and when the signer is lost.
    """

    name: ClassVar[str] = "rtmw"
    skeleton: ClassVar[str] = "coco_wholebody_133"

    model: str  # the network of the points: an .onnx, a .zip with one inside, or the address of either
    model_size: tuple[int, int]  # width and height of its input
    detector: str | None  # likewise, of people; None = one person, who fills the picture or the signer's box
    detector_size: tuple[int, int]
    person_confidence: float  # least score of a person, in [0, 1]
    point_confidence: float  # least score of a point for it to be found; what RTMW gives a sure one is above 1
    face_confidence: float  # least mean confidence of the face's points for a face to be seen, in [0, 1]
    margin: float  # sides of the network's view over the box's, as it was trained
    follow_margin: float  # sides of the next box over the extent of the points
    detect_interval: float  # seconds
    device: str  # cpu or cuda; what comes out is alike, but for rounding
    threads: int | None  # of onnxruntime; None = one a core

    def __post_init__(self) -> None:
        if min(self.margin, self.follow_margin) < 1 or self.detect_interval < 0:
            raise ValueError(
                "landmarker: margins of at least 1 and detect_interval of at least 0 expected, came "
                f"margin={self.margin}, follow_margin={self.follow_margin}, detect_interval={self.detect_interval}"
            )
        models: dict[str, str] = {}
        self._network = self._open("model", self.model, self.model_size, models)
        self._people: PeopleDetector | None = None
        if self.detector is not None:
            detector = self._open("detector", self.detector, self.detector_size, models)
            self._people = PeopleDetector(detector, least=self.person_confidence)
        same_result = ("model", "detector", "device", "threads")
        decisive = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in same_result}
        decisive |= {key: list(decisive[key]) for key in ("model_size", "detector_size")}
        self.parameters: dict[str, Any] = {
            "landmarker": f"rtmw 1, {self._network.version}",
            "models": models,
            **decisive,
        }
        skeleton = find_skeleton(self.skeleton)
        self._places, self._face = places_in(skeleton), [*skeleton.parts["face"]]
        self._size = len(skeleton)
        self.start(None)

    def _open(self, key: str, given: str, size: tuple[int, int], models: dict[str, str]) -> Network:
        path = find_model(given, cache_folder(), key=f"landmarker.{key}")
        models[key] = sha256(path)
        width, height = size
        where = f"landmarker.{key}"
        return Network(path, key=where, size=(width, height), device=self.device, threads=self.threads)

    def start(self, box: Box | None) -> None:
        self._signer, self._box, self._detected = box, None, -np.inf

    def close(self) -> None:
        """Nothing is open: the networks keep no state, and go with the landmarker."""

    def find(self, seconds: float, picture: Picture) -> Landmarks:
        """Find the signer's points in an RGB picture (H, W, 3) of the running clip."""
        nobody = np.zeros((self._size, 3))
        box = self._look_for(seconds, picture)
        whole = nobody if box is None else self._find_points(picture, box)
        there = whole[:, 2] > 0
        if not there.any():
            self._box = None
        else:
            low, high = whole[there, :2].min(0), whole[there, :2].max(0)
            middle, half = (low + high) / 2, (high - low) / 2 * self.follow_margin
            self._box = (*map(float, middle - half), *map(float, middle + half))  # type: ignore[assignment]
        pose = (whole / (picture.shape[1], picture.shape[0], 1)).astype(np.float32)
        face = bool(there.any() and pose[self._face, 2].mean() >= self.face_confidence)
        return Landmarks(take_points(pose, self._places, 0).astype(np.float32), face, pose)

    def people(self, picture: Picture) -> list[Points]:
        """Find everyone in one picture (H, W, 3): MediaPipe's 33 points, x, y as shares of it, confidence."""
        size = (picture.shape[1], picture.shape[0], 1)
        boxes = [(0.0, 0.0, float(size[0]), float(size[1]))] if self._people is None else self._people.find(picture)
        found = (self._find_points(picture, box) for box in boxes)
        return [take_points(one / size, self._places, 0)[:BODY] for one in found if (one[:, 2] > 0).any()]

    def _look_for(self, seconds: float, picture: Picture) -> Box | None:
        """Return the box of the signer: that of the last picture's points, or a detected one."""
        if self._box is not None and (self._people is None or seconds - self._detected < self.detect_interval - 1e-6):
            return self._box
        self._detected = seconds
        part = (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0]))
        x0, y0, x1, y1 = cut_box(self._signer or part, picture)
        if self._people is None:
            return float(x0), float(y0), float(x1), float(y1)
        found = [(a + x0, b + y0, c + x0, d + y0) for a, b, c, d in self._people.find(picture[y0:y1, x0:x1])]
        if self._box is not None:
            best = max(found, key=lambda box: overlap(box, self._box or box), default=self._box)
            return best if overlap(best, self._box) >= SAME_PERSON else self._box
        # The signer's box is of all of the clip: who fills it best. Without one, the largest.
        near = self._signer or part
        return max(found, key=lambda box: overlap(box, near), default=None)

    def _find_points(self, picture: Picture, box: Box) -> Points:
        """Return the points (K, 3) of the person in a box: x, y in pixels, confidence, 0 outside the picture."""
        crop, view = cut_view(picture, box, self._network.size, self.margin)
        outputs = self._network.run((crop.astype(np.float32) - MEAN) / DEVIATION)
        x, y = outputs.get("simcc_x"), outputs.get("simcc_y")
        if x is None or y is None or x.shape[1] != self._size or y.shape[1] != self._size:
            shapes = {name: value.shape for name, value in outputs.items()}
            raise ValueError(
                f"landmarker.model={self.model}: outputs simcc_x and simcc_y of {self._size} points expected, came "
                f"{shapes}; take a network of COCO-WholeBody"
            )
        points = decode_simcc(x[0], y[0], view)
        points[points[:, 2] < self.point_confidence, 2] = 0
        inside = ((points[:, :2] >= 0) & (points[:, :2] <= picture.shape[1::-1])).all(1)
        points[:, 2] = np.where(inside, points[:, 2].clip(0, 1), 0)
        return points


def cut_view(picture: Picture, box: Box, size: tuple[int, int], margin: float) -> tuple[Picture, NDArray[np.float64]]:
    """Return what a network of a `size` (width, height) sees of a box, and the view: its corner x, y, width, height.

    The box is enlarged by `margin`, then in one direction to the shape of the input, about its middle; black beyond the
    picture's edge.
    """
    x0, y0, x1, y1 = box
    width, height = max(x1 - x0, 1.0) * margin, max(y1 - y0, 1.0) * margin
    width, height = max(width, height * size[0] / size[1]), max(height, width * size[1] / size[0])
    left, top = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
    scale = size[0] / width
    matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    crop = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8), np.array([left, top, width, height])


def decode_simcc(x: NDArray[Any], y: NDArray[Any], view: NDArray[np.float64]) -> Points:
    """Return points (K, 3) in pixels of the picture, and scores, from a row of bins each along x and y.

    A point lies at the highest bin of both (SimCC, Li et al., arXiv:2107.03332). Its score is the lower of the two
    heights, as in the networks' own evaluation; rtmlib takes their mean.
    """
    places = np.stack([x.argmax(1) / x.shape[1], y.argmax(1) / y.shape[1]], 1)
    scores = np.minimum(x.max(1), y.max(1)).astype(float)
    return np.column_stack([view[:2] + places * view[2:], scores])
