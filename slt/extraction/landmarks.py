"""The second stage: picture after picture becomes the signer's landmarks; the only file to import mediapipe (K = 75).

The K landmarks are MediaPipe's 33 points of the body, then 21 of the signer's own left hand, then 21 of the right.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from slt.extraction.geometry import (
    HEAD,
    WRISTS,
    Box,
    Picture,
    Points,
    assign_hands,
    cut_box,
    cut_square,
    distance,
    extent,
    hand_places,
    hide_beyond,
    in_pixels,
    is_person,
    middle,
    overlap,
    shared,
    shoulder_width,
    trunk,
)
from slt.extraction.mediapipe_models import cache_folder, prepare_models, read_models
from slt.streams.pose import BODY, HAND

LANDMARKS = BODY + 2 * HAND
HAND_TASKS = ("left hand", "right hand")
MOST_PEOPLE = 6
# For so long a signer who is lost is waited for; then whoever fills the box best is the signer.
SIGNER_SECONDS = 1.0
_BLACK = np.zeros((32, 32, 3), np.uint8)


class Landmarks(NamedTuple):
    """What was found in one picture.

    Attributes:
        points: float32 (75, 3): x, y in [0, 1] of the picture's width and height, confidence in [0, 1]; a point that
            was not found, or lies outside the picture, has confidence 0.
        face: whether a face, not only a head, is to be seen.
    """

    points: NDArray[np.float32]
    face: bool


class Landmarker(Protocol):
    """What the extraction asks of whatever finds landmarks: MediaPipe here, a stub in tests."""

    parameters: dict[str, Any]

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
    """What is remembered of one wrist between the pictures of a clip.

    Attributes:
        tracked: MediaPipe goes on from a hand that it found in the last look.
        missed: looks since a hand was found; 1 at the start, as after a miss.
        looked: seconds of the last look.
    """

    tracked: bool = False
    missed: int = 1
    looked: float = -np.inf


class MediaPipeLandmarker:
    """MediaPipe's pose landmarker for the body and its hand landmarker for the hands, one at each of the pose's wrists.

    Each hand is looked for in a square that moves with its wrist: in it the hand is nearly at rest, so that the
    landmarker goes on from the picture before instead of detecting palms anew. The landmarker's own labels left and
    right are not used: they assume a mirrored picture and flip when hands touch.

    The graphs stay open from clip to clip and forget by a black picture in between, except the pose's: its smoothing of
    the visibilities cannot be emptied, and a clip's result must not depend on the one before.

    Args:
        model_dir: folder with pose_landmarker.task, hand_landmarker.task and face_detector.tflite; None takes them
            from the user's cache, where they are prepared on the first use.
        detection_confidence: least score of a detected body, palm and presence of its landmarks, in [0, 1].
        face_confidence: least score of a face for it to be seen, in [0, 1].
        face_interval: a face seen in three frames in a row is taken to stay for so many seconds before the next look.
        wrist_square: side of the square in which a hand is looked for, in shoulder widths.
        wrist_distance: how far a hand's wrist may lie from the pose's wrist, in shoulder widths.
        wrist_visibility: least visibility that the pose gives a wrist for its hand to be looked for, in [0, 1].
        wrist_interval: a wrist at which three looks found no hand is looked at again after so many seconds.
        signer_reach: with a box, how far the signer may be from one picture to the next, in shoulder widths; whoever is
            further away is someone else.
        hand_threads: 2 looks at both hands at once, 1 at one after the other; what comes out is the same.

    Raises:
        ModuleNotFoundError: mediapipe is not installed.
        FileNotFoundError: a model is missing in `model_dir`.
        ValueError: a model has another checksum than the one it was prepared with.
    """

    def __init__(
        self,
        *,
        model_dir: str | None,
        detection_confidence: float,
        face_confidence: float,
        face_interval: float,
        wrist_square: float,
        wrist_distance: float,
        wrist_visibility: float,
        wrist_interval: float,
        signer_reach: float,
        hand_threads: int,
    ) -> None:
        if hand_threads not in (1, 2):
            raise ValueError(f"landmarker: hand_threads must be 1 or 2, came {hand_threads}")
        self._vision, self._mediapipe = _mediapipe()
        given = Path(model_dir).expanduser() if model_dir is not None else None
        self._folder = given or prepare_models(cache_folder(), with_metadata)
        models = read_models(self._folder)
        self.face_interval = face_interval
        self.wrist_square = wrist_square
        self.wrist_distance = wrist_distance
        self.wrist_visibility = wrist_visibility
        self.wrist_interval = wrist_interval
        self.signer_reach = signer_reach
        self.parameters = {
            # Landmarks of the same pictures were alike to the bit over MediaPipe 1.1.1 to 1.2.3: the models make them.
            "landmarker": f"mediapipe {self._mediapipe.__version__.split('.')[0]}",
            "models": {name: sha256(data).hexdigest() for name, data in models.items()},
            "detection_confidence": detection_confidence,
            "face_confidence": face_confidence,
            "face_interval": face_interval,
            "wrist_square": wrist_square,
            "wrist_distance": wrist_distance,
            "wrist_visibility": wrist_visibility,
            "wrist_interval": wrist_interval,
            "signer_reach": signer_reach,
        }
        pose = dict.fromkeys(("min_pose_detection_confidence", "min_pose_presence_confidence"), detection_confidence)
        hand = dict.fromkeys(("min_hand_detection_confidence", "min_hand_presence_confidence"), detection_confidence)
        self._options: dict[str, tuple[str, str, str, dict[str, Any]]] = {
            "pose": ("PoseLandmarker", "pose_landmarker.task", "VIDEO", pose),
            "people": ("PoseLandmarker", "pose_landmarker.task", "IMAGE", pose | {"num_poses": MOST_PEOPLE}),
            **{
                name: ("HandLandmarker", "hand_landmarker.task", "VIDEO", hand | {"num_hands": 1})
                for name in HAND_TASKS
            },
            "face": ("FaceDetector", "face_detector.tflite", "IMAGE", {"min_detection_confidence": face_confidence}),
        }
        self._tasks: dict[str, Any] = {}
        self._spoken: set[str] = set()
        # MediaPipe's clocks only go forward, over all clips; 0 is special to its smoothing and never used.
        self._time = self._origin = 1000
        self._clocks = dict.fromkeys(self._options, 0)
        self.hand_threads = hand_threads
        self._other_hand = ThreadPoolExecutor(1)
        self._wrists = [_Wrist(), _Wrist()]
        self._forget(None)

    def start(self, box: Box | None) -> None:
        """Forget the clip before, so that a clip's result is its own; take the signer from within `box`."""
        self._close("pose")
        for name, wrist in zip(HAND_TASKS, self._wrists, strict=True):
            for _ in range(3):
                if not wrist.tracked:
                    break
                wrist.tracked = bool(self._track(name, _BLACK).hand_landmarks)
            if wrist.tracked:  # never met: a hand in the black picture
                self._close(name)
        self._forget(box)
        self._origin = self._time + 1000

    def _forget(self, box: Box | None) -> None:
        self._box = box
        self._signer: tuple[float, Points] | None = None
        self._wrists = [_Wrist(), _Wrist()]
        self._faces, self._face_looked = 0, 0.0

    def close(self) -> None:
        """Free all graphs; the next clip opens them again."""
        for name in list(self._tasks):
            self._close(name)
        self._wrists = [_Wrist(), _Wrist()]
        self._other_hand.shutdown()
        self._other_hand = ThreadPoolExecutor(1)  # its thread starts with its first hand

    def find(self, seconds: float, picture: Picture) -> Landmarks:
        """Find the body, both hands and whether there is a face in an RGB picture (H, W, 3) of the running clip.

        Raises:
            ValueError: the signer's box lies outside the picture.
        """
        self._time = max(self._time, self._origin + round(seconds * 1000))
        points = np.zeros((LANDMARKS, 3))
        body = self._find_body(seconds, picture)
        if body is None:
            return Landmarks(points.astype(np.float32), False)
        points[:BODY] = body
        for side, hand in self._find_hands(seconds, picture, body).items():
            points[BODY + side * HAND :][:HAND] = hand
        points[:, :2] /= picture.shape[1::-1]
        inside = ((points[:, :2] >= 0) & (points[:, :2] <= 1)).all(1)
        points[:, 2] = np.where(inside, points[:, 2].clip(0, 1), 0)
        return Landmarks(points.astype(np.float32), self._sees_face(seconds, picture, body))

    def people(self, picture: Picture) -> list[Points]:
        """Find everyone in one picture (H, W, 3), then look at both sides of each for those who are smaller.

        Beside a large person the detector misses the small. With the large ones blacked out, and in a part of the
        picture, it has found all of 120 signers pasted beside one, from half to a sixth of the picture's height.
        """
        size = np.array(picture.shape[1::-1], float)
        found = [in_pixels(person, picture) for person in self._poses(picture)]
        found = [person for person in found if is_person(person)]
        rest = picture.copy()
        for x0, y0, x1, y1 in map(trunk, found):
            rest[max(int(y0), 0) : max(int(y1), 0), max(int(x0), 0) : max(int(x1), 0)] = 0
        edges = [0, *sorted(int(middle(person)[0].clip(0, size[0])) for person in found), int(size[0])] if found else []
        large = [trunk(person) for person in found]
        for left, right in pairwise(edges):
            part = rest[:, left:right]
            if right - left < size[0] / 8:
                continue
            for person in (in_pixels(one, part) + np.array([left, 0, 0]) for one in self._poses(part)):
                if is_person(person) and all(shared(trunk(person), one) < 0.5 for one in large):
                    found.append(person)
        return [person / (*size, 1) for person in found]

    def _poses(self, picture: Picture) -> list[Points]:
        """Return all poses that MediaPipe finds in a picture by itself, (33, 3) each, in shares of it."""
        return [_points(one) for one in self._run("people", "detect", self._image(picture)).pose_landmarks]

    def _find_body(self, seconds: float, picture: Picture) -> Points | None:
        """Return the signer's (33, 3), x, y in pixels, visibility; or None."""
        if self._box is None:
            found = self._track("pose", picture).pose_landmarks
            return in_pixels(_points(found[0]), picture) if found else None
        x0, y0, x1, y1 = cut_box(self._box, picture)
        part, corner = picture[y0:y1, x0:x1], np.array([x0, y0, 0])
        found = self._track("pose", part).pose_landmarks
        body = in_pixels(_points(found[0]), part) + corner if found else None
        if body is None or not self._is_signer(seconds, body):
            signer = self._choose(seconds, [in_pixels(one, part) + corner for one in self.people(part)])
            if body is not None and (signer is None or distance(body, signer) > 0.5 * shoulder_width(signer)):
                self._track("pose", _BLACK)  # it follows someone else: let go of them
                body = None
            body = signer if body is None else body
        if body is not None:
            self._signer = seconds, body
        return body

    def _is_signer(self, seconds: float, body: Points) -> bool:
        """Tell whether a body is near where the signer was a moment ago, and of about that size."""
        if self._signer is None or seconds - self._signer[0] > SIGNER_SECONDS:
            return False
        last = self._signer[1]
        unit, before = shoulder_width(body), shoulder_width(last)
        return distance(body, last) <= self.signer_reach * before and before < 2 * unit < 4 * before

    def _choose(self, seconds: float, people: list[Points]) -> Points | None:
        """Return the one who was the signer a moment ago; at first, and when that is long past, who fills the box."""
        assert self._box is not None
        box = self._box
        if self._signer is None or seconds - self._signer[0] > SIGNER_SECONDS:
            return max(people, key=lambda one: overlap(extent(one), box), default=None)
        last = self._signer[1]
        near = [person for person in people if self._is_signer(seconds, person)]
        return min(near, key=lambda one: distance(one, last), default=None)

    def _find_hands(self, seconds: float, picture: Picture, body: Points) -> dict[int, Points]:
        """Return {0 left, 1 right: (21, 3)} of the hands found at the body's wrists: x, y in pixels, confidence."""
        unit = shoulder_width(body)
        if unit < 1:  # seen from the side or not at all: no measure for any distance
            return {}
        wrists, places = body[WRISTS, :2], hand_places(body)
        inside = ((wrists > 0) & (wrists < picture.shape[1::-1])).all(1)
        visible = inside & (body[WRISTS, 2] >= self.wrist_visibility)
        looks: dict[int, Callable[[], Points | None]] = {}
        corners = {}
        for side, wrist in enumerate(self._wrists):
            waiting = wrist.missed > 3 and seconds - wrist.looked < self.wrist_interval - 1e-6
            if waiting or not visible[side]:
                continue
            crop, corner = cut_square(picture, np.array([*places[side], self.wrist_square * unit]))
            if wrist.missed:
                # Left to itself, one look can lock on to the other wrist's hand: there it must not see that one.
                crop = hide_beyond(crop, places[side] - corner, places[1 - side] - corner)
            wrist.looked, wrist.missed = seconds, wrist.missed + 1
            self._task(HAND_TASKS[side])  # opened here: it is not for a thread
            looks[side], corners[side] = partial(self._look, HAND_TASKS[side], wrist, crop), np.append(corner, 0)
        # The two graphs know nothing of each other: with a core to spare, one of them costs no time.
        other = self._other_hand.submit(looks[1]) if len(looks) == self.hand_threads == 2 else None
        hands = {side: look() for side, look in looks.items() if other is None or side == 0}
        if other is not None:
            hands[1] = other.result()
        found = {side: hand + corners[side] for side, hand in hands.items() if hand is not None}
        given = assign_hands(found, wrists, unit, self.wrist_distance)
        for side in given:
            self._wrists[side].missed = 0
        return given

    def _look(self, name: str, wrist: _Wrist, crop: Picture) -> Points | None:
        """Return the hand in a square crop, (21, 3): x, y in its pixels, confidence; or None."""
        result = self._track(name, crop)
        if wrist.tracked and not result.hand_landmarks:
            # Where the hand was, it is no more. Only a look without a hand to go on from detects palms.
            result = self._track(name, crop)
        wrist.tracked = bool(result.hand_landmarks)
        if not wrist.tracked:
            return None
        score = result.handedness[0][0].score
        hand = [(point.x * len(crop), point.y * len(crop), score) for point in result.hand_landmarks[0]]
        return np.array(hand, float)

    def _sees_face(self, seconds: float, picture: Picture, body: Points) -> bool:
        """Look for a face where the pose has the head: the pose finds heads from behind and blurred ones too."""
        if self._faces >= 3 and seconds - self._face_looked < self.face_interval - 1e-6:
            return True
        low, high = body[HEAD, :2].min(0), body[HEAD, :2].max(0)
        crop, _ = cut_square(picture, np.array([*(low + high) / 2, max(3 * float((high - low).max()), 16)]))
        seen = bool(self._run("face", "detect", self._image(crop)).detections)
        self._faces, self._face_looked = (self._faces + 1 if seen else 0), seconds
        return seen

    def _image(self, picture: Picture) -> Any:
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))

    def _track(self, name: str, picture: Picture) -> Any:
        """Give a graph that follows over time its next picture; its clock has to go forward each time."""
        self._clocks[name] = max(self._time, self._clocks[name]) + 1
        return self._run(name, "detect_for_video", self._image(picture), self._clocks[name])

    def _run(self, name: str, method: str, *given: Any) -> Any:
        """Run a graph; until it has found something, in silence: each part of it speaks when it first does its work."""
        call = getattr(self._task(name), method)
        if name in self._spoken:
            return call(*given)
        with _quiet:
            result = call(*given)
        if any(getattr(result, kind, None) for kind in ("pose_landmarks", "hand_landmarks", "detections")):
            self._spoken.add(name)
        return result

    def _task(self, name: str) -> Any:
        if name not in self._tasks:
            self._tasks[name] = self._open(*self._options[name])
        return self._tasks[name]

    def _open(self, task: str, model: str, mode: str, options: dict[str, Any]) -> Any:
        base = self._mediapipe.tasks.BaseOptions(model_asset_path=str(self._folder / model))
        options_class = getattr(self._vision, f"{task}Options")
        with _quiet:
            return getattr(self._vision, task).create_from_options(
                options_class(base_options=base, running_mode=self._vision.RunningMode[mode], **options)
            )

    def _close(self, name: str) -> None:
        if name in self._tasks:
            with _quiet:
                self._tasks.pop(name).close()


def _points(landmarks: Any) -> Points:
    return np.array([(point.x, point.y, point.visibility) for point in landmarks], float)


def with_metadata(model: bytes, name: str, mean: float, deviation: float) -> bytes:
    """Write into a TFLite model what MediaPipe's tasks ask of it: how its input is normalised, its outputs' names."""
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
    from mediapipe.tasks.metadata import schema_py_generated as tflite

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
        """TFLite wants weights at multiples of 16 bytes; the generated code has lost that."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    graph = tflite.ModelT.InitFromObj(tflite.Model.GetRootAsModel(model, 0))

    def tensor(index: int) -> Any:
        described = schema.TensorMetadataT()
        described.name = graph.subgraphs[0].tensors[index].name
        return described

    scaling, step, subgraph = schema.NormalizationOptionsT(), schema.ProcessUnitT(), schema.SubGraphMetadataT()
    scaling.mean, scaling.std = [mean], [deviation]
    step.optionsType, step.options = schema.ProcessUnitOptions.NormalizationOptions, scaling
    subgraph.inputTensorMetadata = [tensor(graph.subgraphs[0].inputs[0])]
    subgraph.inputTensorMetadata[0].processUnits = [step]
    subgraph.inputTensorMetadata[0].content = _picture_content(schema)
    subgraph.outputTensorMetadata = [tensor(index) for index in graph.subgraphs[0].outputs]
    described = schema.ModelMetadataT()
    described.name, described.subgraphMetadata = name, [subgraph]
    builder = flatbuffers.Builder(0)
    builder.Finish(described.Pack(builder), b"M001")

    entry, buffer = tflite.MetadataT(), tflite.BufferT()
    buffer.data = np.frombuffer(bytes(builder.Output()), np.uint8)
    entry.name, entry.buffer = b"TFLITE_METADATA", len(graph.buffers)
    graph.buffers.append(buffer)
    graph.metadata = [old for old in graph.metadata or [] if old.name != entry.name] + [entry]
    builder = AlignedBuilder(0)
    builder.Finish(graph.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _picture_content(schema: Any) -> Any:
    content, picture = schema.ContentT(), schema.ImagePropertiesT()
    picture.colorSpace = schema.ColorSpaceType.RGB
    content.contentPropertiesType, content.contentProperties = schema.ContentProperties.ImageProperties, picture
    return content


class _Quiet:
    """Keeps what MediaPipe's C++ says off standard error; its faults are Python exceptions, and it has no setting.

    Standard error is the process's: with several threads inside, the first turns it off and the last on again.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._kept = Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                sys.stderr.flush()
                self._kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, 2)
                os.close(nothing)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                os.dup2(self._kept, 2)
                os.close(self._kept)


_quiet = _Quiet()


def _mediapipe() -> tuple[Any, Any]:
    try:
        import mediapipe
        from mediapipe.tasks.python import vision
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'finding landmarks needs MediaPipe: pip install "slt[media]" ({error})') from error
    return vision, mediapipe
