"""The second stage: pictures become the signer's 75 landmarks: 33 of the body, 21 of the left hand, 21 of the right."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from slt.extraction import geometry
from slt.extraction.face_mesh import MESH, FaceMesh, TaskMesh, WheelMesh
from slt.extraction.geometry import HEAD, WRISTS, Box, Picture, Points
from slt.extraction.mediapipe_models import cache_folder, prepare_models, read_sums
from slt.extraction.mediapipe_tasks import Task, Tasks, import_mediapipe
from slt.streams.skeleton import BODY, HAND

LANDMARKS = BODY + 2 * HAND
HAND_TASKS = ("left hand", "right hand")
MOST_PEOPLE = 6
# For so long a signer who is lost is waited for; then whoever fills the box best is the signer.
SIGNER_SECONDS = 1.0
_BLACK = np.zeros((32, 32, 3), np.uint8)


class Landmarks(NamedTuple):
    # (75, 3), what crops are cut by: x, y in [0, 1] of the picture's width and height, confidence in [0, 1]; a point
    # that was not found, or lies outside the picture, has confidence 0.
    points: NDArray[np.float32]
    face: bool  # a face, not only a head, is to be seen
    # (K, 3), what the pose stream holds: likewise, of the landmarker's skeleton, where that is not the 75 points'.
    whole: NDArray[np.float32] | None = None


class Landmarker(Protocol):
    """What the extraction asks of whatever finds landmarks: MediaPipe here, RTMW beside it, a stub in tests."""

    name: ClassVar[str]
    parameters: dict[str, Any]

    @property
    def skeleton(self) -> str:
        """The name of the skeleton whose points it finds."""

    def start(self, box: Box | None) -> None:
        """Forget the clip before; look for the signer in `box` (x0, y0, x1, y1 in pixels), None = anywhere."""

    def find(self, seconds: float, picture: Picture) -> Landmarks:
        """Find the signer's landmarks in an RGB picture (H, W, 3); `seconds` grow within a clip."""

    def people(self, picture: Picture) -> list[Points]:
        """Find everyone in one picture (H, W, 3), (33, 3) each: x, y as shares of width and height, visibility."""

    def close(self) -> None:
        """Free what is open."""


@dataclass
class _Wrist:
    """What is remembered of one wrist between the pictures of a clip."""

    tracked: bool = False  # MediaPipe goes on from a hand that it found in the last look
    missed: int = 1  # looks since a hand was found; 1 at the start, as after a miss
    looked: float = -np.inf  # seconds of the last look


@dataclass(kw_only=True, eq=False)
class MediaPipeLandmarker:
    """MediaPipe's pose landmarker for the body and its hand landmarker for the hands, one at each of the pose's wrists.

    Each hand is looked for in a square that moves with its wrist, so that it is followed instead of detected anew. Its
    own labels left and right are not used: they flip when hands touch. The graphs stay open from clip to clip and
    forget by a black picture, except the pose's, whose smoothing cannot be emptied: a clip must not depend on the one
    before.
    """

    name: ClassVar[str] = "mediapipe"

    model_dir: str | None  # folder of the models; None = in the user's cache, prepared there on the first use
    detection_confidence: float  # least score of a detected body, palm and presence of its landmarks, in [0, 1]
    face_confidence: float  # least score of a face for it to be seen, in [0, 1]
    face_interval: float  # a face seen in three frames in a row is taken to stay for so many seconds
    wrist_square: float  # side of the square in which a hand is looked for, in shoulder widths
    wrist_distance: float  # how far a hand's wrist may lie from the pose's wrist, in shoulder widths
    wrist_visibility: float  # least visibility that the pose gives a wrist for its hand to be looked for, in [0, 1]
    wrist_interval: float  # a wrist at which three looks found no hand is looked at again after so many seconds
    signer_reach: float  # with a box, how far the signer may be from one picture to the next, in shoulder widths
    hand_threads: int  # 2 looks at both hands at once, 1 at one after the other; what comes out is the same
    points: str | None  # "holistic" finds the 468 points of the face too; all else, body and hands
    face_model: str | None  # of these: one's own face_landmarker.task; None = the mesh of the wheel of the models

    def __post_init__(self) -> None:
        if self.hand_threads not in (1, 2):
            raise ValueError(f"landmarker: hand_threads must be 1 or 2, came {self.hand_threads}")
        import_mediapipe()  # said before any model is fetched
        given = Path(self.model_dir).expanduser() if self.model_dir is not None else None
        folder = given or prepare_models(cache_folder())
        models = read_sums(folder)
        self._tasks = Tasks(self._graphs(), folder)
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        same_result = ("model_dir", "hand_threads", "points", "face_model")
        decisive = {name: value for name, value in settings.items() if name not in same_result}
        self._mesh = self._open_mesh(folder) if self.points == "holistic" else None
        if self._mesh is not None:  # without a mesh all is as it was before there was one, and so is the fingerprint
            models, decisive["points"] = models | self._mesh.models, self.points
        self.parameters: dict[str, Any] = {"landmarker": self._tasks.version, "models": models, **decisive}
        # MediaPipe's clocks only go forward, over all clips; 0 is special to its smoothing and never used.
        self._time = self._origin = 1000
        self._other_hand = ThreadPoolExecutor(1)
        self._forget(None)

    @property
    def skeleton(self) -> str:
        return "mediapipe_75" if self._mesh is None else "mediapipe_543"

    def _open_mesh(self, folder: Path) -> FaceMesh:
        if self.face_model is None:
            return WheelMesh(folder, self.face_confidence)
        return TaskMesh(Path(self.face_model).expanduser(), self.face_confidence)

    def _graphs(self) -> dict[str, Task]:
        least = self.detection_confidence
        pose = {"min_pose_detection_confidence": least, "min_pose_presence_confidence": least}
        hand = {"min_hand_detection_confidence": least, "min_hand_presence_confidence": least, "num_hands": 1}
        face = {"min_detection_confidence": self.face_confidence}
        return {
            "pose": Task("PoseLandmarker", "pose_landmarker.task", "VIDEO", pose),
            "people": Task("PoseLandmarker", "pose_landmarker.task", "IMAGE", pose | {"num_poses": MOST_PEOPLE}),
            "face": Task("FaceDetector", "face_detector.tflite", "IMAGE", face),
            **dict.fromkeys(HAND_TASKS, Task("HandLandmarker", "hand_landmarker.task", "VIDEO", hand)),
        }

    def start(self, box: Box | None) -> None:
        self._tasks.close("pose")
        for name, wrist in zip(HAND_TASKS, self._wrists, strict=True):
            for _ in range(3):
                if not wrist.tracked:
                    break
                wrist.tracked = bool(self._track(name, _BLACK).hand_landmarks)
            if wrist.tracked:  # never met: a hand in the black picture
                self._tasks.close(name)
        self._forget(box)
        self._origin = self._time + 1000

    def _forget(self, box: Box | None) -> None:
        self._box = box
        self._signer: tuple[float, Points | None] = -np.inf, None
        self._wrists = [_Wrist(), _Wrist()]
        self._faces, self._face_looked = 0, 0.0

    def close(self) -> None:
        self._tasks.close()
        if self._mesh is not None:
            self._mesh.close()
        self._wrists = [_Wrist(), _Wrist()]
        self._other_hand.shutdown()
        self._other_hand = ThreadPoolExecutor(1)  # its thread starts with its first hand

    def find(self, seconds: float, picture: Picture) -> Landmarks:
        """Find the body, both hands and whether there is a face in an RGB picture (H, W, 3) of the running clip."""
        self._time = max(self._time, self._origin + round(seconds * 1000))
        points = np.zeros((LANDMARKS, 3))
        mesh: Points = np.zeros((0 if self._mesh is None else MESH, 3))
        face = False
        body = self._find_body(seconds, picture)
        if body is not None:
            points[:BODY] = body
            for side, hand in self._find_hands(seconds, picture, body).items():
                points[BODY + side * HAND :][:HAND] = hand
            face = self._sees_face(seconds, picture, body)
            if self._mesh is not None and face and (seen := self._mesh.find(picture, body)) is not None:
                mesh = seen
        found = _shares(points, picture)
        whole = np.concatenate([found[:BODY], _shares(mesh, picture), found[BODY:]]) if len(mesh) else None
        return Landmarks(found, face, whole)

    def people(self, picture: Picture) -> list[Points]:
        """Find everyone in one picture (H, W, 3), then look beside each for those who are smaller.

        With the large ones blacked out the detector has found all of 120 signers of half to a sixth of the picture's
        height.
        """
        size = np.array(picture.shape[1::-1], float)
        found = [geometry.in_pixels(person, picture) for person in self._poses(picture)]
        found = [person for person in found if geometry.is_person(person)]
        if not found:
            return []
        large, rest = [geometry.trunk(person) for person in found], picture.copy()
        for x0, y0, x1, y1 in large:
            rest[max(int(y0), 0) : max(int(y1), 0), max(int(x0), 0) : max(int(x1), 0)] = 0
        edges = [0, *sorted(int(geometry.middle(person)[0].clip(0, size[0])) for person in found), int(size[0])]
        for left, right in pairwise(edges):
            if right - left < size[0] / 8:
                continue
            part = rest[:, left:right]
            for one in self._poses(part):
                person = geometry.in_pixels(one, part) + np.array([left, 0, 0])
                new = all(geometry.shared(geometry.trunk(person), other) < 0.5 for other in large)
                if new and geometry.is_person(person):
                    found.append(person)
        return [person / (*size, 1) for person in found]

    def _poses(self, picture: Picture) -> list[Points]:
        return [_points(one) for one in self._tasks.detect("people", picture).pose_landmarks]

    def _find_body(self, seconds: float, picture: Picture) -> Points | None:
        """Return the signer's (33, 3), x, y in pixels, visibility; or None."""
        if self._box is None:
            found = self._track("pose", picture).pose_landmarks
            return geometry.in_pixels(_points(found[0]), picture) if found else None
        x0, y0, x1, y1 = geometry.cut_box(self._box, picture)
        part, corner = picture[y0:y1, x0:x1], np.array([x0, y0, 0])
        found = self._track("pose", part).pose_landmarks
        body = geometry.in_pixels(_points(found[0]), part) + corner if found else None
        if body is None or not self._is_signer(seconds, body):
            people = [geometry.in_pixels(one, part) + corner for one in self.people(part)]
            signer = self._choose(seconds, people, self._box)
            width = 0.0 if signer is None else geometry.shoulder_width(signer)
            same = body is not None and signer is not None and geometry.distance(body, signer) <= 0.5 * width
            if body is not None and not same:
                self._track("pose", _BLACK)  # it follows someone else: let go of them
            body = body if same else signer
        if body is not None:
            self._signer = seconds, body
        return body

    def _last(self, seconds: float) -> Points | None:
        """Return the signer of a moment ago; None at first, and when that is long past."""
        when, last = self._signer
        return last if seconds - when <= SIGNER_SECONDS else None

    def _is_signer(self, seconds: float, body: Points) -> bool:
        """Tell whether a body is near where the signer was a moment ago, and of about that size."""
        if (last := self._last(seconds)) is None:
            return False
        unit, before = geometry.shoulder_width(body), geometry.shoulder_width(last)
        return geometry.distance(body, last) <= self.signer_reach * before and before < 2 * unit < 4 * before

    def _choose(self, seconds: float, people: list[Points], box: Box) -> Points | None:
        """Return the one who was the signer a moment ago; where there was none, who fills the box."""
        if (last := self._last(seconds)) is None:
            return max(people, key=lambda one: geometry.overlap(geometry.extent(one), box), default=None)
        near = [person for person in people if self._is_signer(seconds, person)]
        return min(near, key=lambda one: geometry.distance(one, last), default=None)

    def _find_hands(self, seconds: float, picture: Picture, body: Points) -> dict[int, Points]:
        """Return {0 left, 1 right: (21, 3)} of the hands found at the body's wrists: x, y in pixels, confidence."""
        unit = geometry.shoulder_width(body)
        if unit < 1:  # seen from the side or not at all: no measure for any distance
            return {}
        wrists, places = body[WRISTS, :2], geometry.hand_places(body)
        inside = ((wrists > 0) & (wrists < picture.shape[1::-1])).all(1)
        visible = inside & (body[WRISTS, 2] >= self.wrist_visibility)
        looks: dict[int, Callable[[], Points | None]] = {}
        for side, wrist in enumerate(self._wrists):
            waiting = wrist.missed > 3 and seconds - wrist.looked < self.wrist_interval - 1e-6
            if waiting or not visible[side]:
                continue
            crop, corner = geometry.cut_square(picture, np.array([*places[side], self.wrist_square * unit]))
            if wrist.missed:
                # Left to itself, one look can lock on to the other wrist's hand: there it must not see that one.
                crop = geometry.hide_beyond(crop, places[side] - corner, places[1 - side] - corner)
            wrist.looked, wrist.missed = seconds, wrist.missed + 1
            self._tasks.open(HAND_TASKS[side])  # opened here: it is not for a thread
            looks[side] = partial(self._look, HAND_TASKS[side], wrist, crop, np.append(corner, 0))
        # The two graphs know nothing of each other: with a core to spare, one of them costs no time.
        other = self._other_hand.submit(looks.pop(1)) if len(looks) == self.hand_threads == 2 else None
        hands = {side: look() for side, look in looks.items()}
        if other is not None:
            hands[1] = other.result()
        found = {side: hand for side, hand in hands.items() if hand is not None}
        given = geometry.assign_hands(found, wrists, unit, self.wrist_distance)
        for side in given:
            self._wrists[side].missed = 0
        return given

    def _look(self, name: str, wrist: _Wrist, crop: Picture, corner: Points) -> Points | None:
        """Return the hand in a square crop at `corner` (x, y, 0), (21, 3): x, y in pixels, confidence; or None."""
        result = self._track(name, crop)
        if wrist.tracked and not result.hand_landmarks:
            # Where the hand was, it is no more. Only a look without a hand to go on from detects palms.
            result = self._track(name, crop)
        wrist.tracked = bool(result.hand_landmarks)
        if not wrist.tracked:
            return None
        score = result.handedness[0][0].score
        hand = [(point.x * len(crop), point.y * len(crop), score) for point in result.hand_landmarks[0]]
        return np.array(hand, float) + corner

    def _sees_face(self, seconds: float, picture: Picture, body: Points) -> bool:
        """Look for a face where the pose has the head: the pose finds heads from behind and blurred ones too."""
        if self._faces >= 3 and seconds - self._face_looked < self.face_interval - 1e-6:
            return True
        low, high = body[HEAD, :2].min(0), body[HEAD, :2].max(0)
        crop, _ = geometry.cut_square(picture, np.array([*(low + high) / 2, max(3 * float((high - low).max()), 16)]))
        seen = bool(self._tasks.detect("face", crop).detections)
        self._faces, self._face_looked = (self._faces + 1 if seen else 0), seconds
        return seen

    def _track(self, name: str, picture: Picture) -> Any:
        return self._tasks.track(name, self._time, picture)


def _shares(points: Points, picture: Picture) -> NDArray[np.float32]:
    """Return points (K, 3) in pixels as shares of the picture, with confidence 0 outside it."""
    out = points / (*picture.shape[1::-1], 1)
    inside = ((out[:, :2] >= 0) & (out[:, :2] <= 1)).all(1)
    out[:, 2] = np.where(inside, out[:, 2].clip(0, 1), 0)
    return out.astype(np.float32)


def _points(landmarks: Any) -> Points:
    return np.array([(point.x, point.y, point.visibility) for point in landmarks], float)
