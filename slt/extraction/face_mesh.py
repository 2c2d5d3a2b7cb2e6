"""The 468 points of MediaPipe's face mesh, in the head that the pose has found (F = 468)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import HEAD, Picture, Points, cut_square
from slt.extraction.mediapipe_models import prepare_mesh
from slt.extraction.mediapipe_tasks import Task, Tasks
from slt.files import existing, sha256

MESH = 468
TASK = "face mesh"
SIDE = 192  # of the network's input, pixels
# Side of what the network sees over the extent of the mesh, as in MediaPipe's own graph; outer corners of the eyes.
VIEW, RIGHT_EYE, LEFT_EYE = 1.5, 33, 263
# The extent of a face over that of the pose's points of a head, eyes to mouth and ear to ear.
FACE_FROM_EARS, FACE_FROM_EYES_TO_MOUTH = 1.3, 3.2


class FaceMesh(Protocol):
    """What finds the mesh."""

    models: dict[str, str]  # file -> SHA-256

    def find(self, picture: Picture, body: Points) -> Points | None:
        """Return (468, 3), x, y in pixels and confidence, in an RGB picture (H, W, 3) with a pose (33, 3) in pixels."""

    def close(self) -> None:
        """Free what is open."""


class WheelMesh:
    """The mesh of the wheel that the other models come from, run by OpenCV.

    MediaPipe 1.x has no graph for it: its face landmarker wants the newer network with 478 points. OpenCV's reading of
    TFLite gave the same as LiteRT to 0.0002 pixels of 192 on 247 faces, from OpenCV 4.13 to 5.1 alike.
    """

    def __init__(self, folder: Path, least: float) -> None:
        path = prepare_mesh(folder)
        self.models, self._least = {path.name: sha256(path)}, least
        self._network = cv2.dnn.readNetFromTFLite(str(path))
        self._outputs = self._network.getUnconnectedOutLayersNames()

    def close(self) -> None:
        """Nothing is open: the network keeps no state, and goes with the mesh."""

    def find(self, picture: Picture, body: Points) -> Points | None:
        view = head_view(body)
        for _ in range(2):  # the mesh itself says better than the pose where the face is, and how it is turned
            points, score = self._look(picture, view)
            if score < self._least:
                return None
            view = mesh_view(points)
        return np.column_stack([points, np.full(MESH, score)])

    def _look(self, picture: Picture, view: Points) -> tuple[Points, float]:
        """Look at a turned square (centre x, y, side, angle); return the points (468, 2) in pixels, and their score."""
        x, y, side, angle = view
        matrix = cv2.getRotationMatrix2D((0.0, 0.0), float(np.degrees(angle)), SIDE / max(float(side), 1.0))
        matrix[:, 2] = SIDE / 2 - matrix[:, :2] @ (x, y)
        crop = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        self._network.setInput(np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32) / 255)
        places, score = sorted(self._network.forward(self._outputs), key=lambda output: -output.size)
        back = cv2.invertAffineTransform(matrix)
        points: Points = np.asarray(places.reshape(MESH, 3)[:, :2] @ back[:, :2].T + back[:, 2], float)
        return points, float(1 / (1 + np.exp(-float(score.ravel()[0]))))


class TaskMesh:
    """A face landmarker of one's own, MediaPipe's `face_landmarker.task`: of its 478 points the first 468, no irises.

    It looks at every picture anew, in a square around the head: a clip must not depend on the one before.
    """

    def __init__(self, path: Path, least: float) -> None:
        existing(path, "a face landmarker, as landmarker.face_model=face_landmarker.task; null takes the wheel's mesh")
        self.models = {"face_landmarker.task": sha256(path)}
        options = {"min_face_detection_confidence": least, "min_face_presence_confidence": least, "num_faces": 1}
        self._tasks = Tasks({TASK: Task("FaceLandmarker", path.name, "IMAGE", options)}, path.parent)
        try:
            self._tasks.open(TASK)
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"landmarker.face_model={path}: no face landmarker that MediaPipe opens ({error})"
            ) from error

    def close(self) -> None:
        self._tasks.close()

    def find(self, picture: Picture, body: Points) -> Points | None:
        x, y, side, _ = head_view(body)
        crop, corner = cut_square(picture, np.array([x, y, max(side, 16.0)]))
        found: Any = self._tasks.detect(TASK, crop).face_landmarks
        if not found:
            return None
        if len(found[0]) < MESH:
            raise ValueError(f"landmarker.face_model: {MESH} points or more of a face expected, came {len(found[0])}")
        points = np.array([(point.x, point.y) for point in found[0][:MESH]]) * len(crop) + corner
        return np.column_stack([points, np.ones(MESH)])  # it says no more than that the face is there


def head_view(body: Points) -> NDArray[np.float64]:
    """Return the square around the head of a pose (33, 3) in pixels: centre x, y, side, and how far it is turned."""
    head = body[HEAD, :2]
    right, left, mouth = head[4:7].mean(0), head[1:4].mean(0), head[9:11].mean(0)
    eyes = (left + right) / 2
    ears = float(np.linalg.norm(head[7] - head[8])) * FACE_FROM_EARS
    height = float(np.linalg.norm(eyes - mouth)) * FACE_FROM_EYES_TO_MOUTH
    return np.array([*(eyes + mouth) / 2, VIEW * max(ears, height), _angle(right, left)])


def mesh_view(points: Points) -> NDArray[np.float64]:
    """Return the square around a mesh (468, 2), likewise."""
    angle = _angle(points[RIGHT_EYE], points[LEFT_EYE])
    upright = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = points @ upright.T
    low, high = turned.min(0), turned.max(0)
    return np.array([*((low + high) / 2) @ upright, VIEW * float((high - low).max()), angle])


def _angle(right: Points, left: Points) -> float:
    """How far the line of the eyes is turned from level, radians; the signer's right eye is left in the picture."""
    x, y = left - right
    return float(np.arctan2(y, x))
