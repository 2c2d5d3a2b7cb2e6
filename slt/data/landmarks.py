"""The second stage: picture after picture becomes the signer's landmarks; the only file to import mediapipe (K = 75).

The K landmarks are MediaPipe's 33 points of the body, then 21 of the signer's own left hand, then 21 of the right.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from slt.data.landmark_models import cache_folder, prepare_models, read_models
from slt.data.pose import BODY, HAND, LEFT_SHOULDER, RIGHT_SHOULDER

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
# (wrist, elbow) of the left, then of the right arm; the head's points; MediaPipe's numbering.
ARMS = ((15, 13), (16, 14))
HEAD = slice(0, 11)
LANDMARKS = BODY + 2 * HAND


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

    def start(self) -> None:
        """Forget the clip before."""

    def find(self, seconds: float, picture: Picture) -> Landmarks:
        """Find the signer's landmarks in an RGB picture (H, W, 3); `seconds` grow within a clip."""

    def close(self) -> None:
        """Free what the last clip used."""


class MediaPipeLandmarker:
    """MediaPipe's pose landmarker for the body and its hand landmarker for the hands, told apart by the pose's wrists.

    Hands are looked for in a square around the signer, which keeps the hands of an inset picture out and follows them
    from frame to frame. A hand missed there gets a second look in a smaller square around its wrist. The landmarker's
    own labels left and right are not used: they assume a mirrored picture and flip when hands touch.

    Args:
        model_dir: folder with pose_landmarker.task, hand_landmarker.task and face_detector.tflite; None takes them
            from the user's cache, where they are prepared on the first use.
        detection_confidence: least score of a detected body, palm and presence of its landmarks, in [0, 1].
        face_confidence: least score of a face for it to be seen, in [0, 1].
        signer_square: side of the square around the signer in which hands are looked for, in shoulder widths.
        wrist_square: side of the square of the second look, in shoulder widths.
        wrist_distance: how far a hand's wrist may lie from the pose's wrist, in shoulder widths.
        wrist_visibility: least visibility that the pose gives a wrist for its second look, in [0, 1].

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
        signer_square: float,
        wrist_square: float,
        wrist_distance: float,
        wrist_visibility: float,
    ) -> None:
        self._vision, self._mediapipe = _mediapipe()
        given = Path(model_dir).expanduser() if model_dir is not None else None
        self._models = read_models(given or prepare_models(cache_folder(), with_metadata))
        self.detection_confidence = detection_confidence
        self.face_confidence = face_confidence
        self.signer_square = signer_square
        self.wrist_square = wrist_square
        self.wrist_distance = wrist_distance
        self.wrist_visibility = wrist_visibility
        self.parameters = {
            "landmarker": "mediapipe",
            "models": {name: sha256(data).hexdigest() for name, data in self._models.items()},
            "detection_confidence": detection_confidence,
            "face_confidence": face_confidence,
            "signer_square": signer_square,
            "wrist_square": wrist_square,
            "wrist_distance": wrist_distance,
            "wrist_visibility": wrist_visibility,
        }
        self._clip: list[Any] = []
        self._square: Points | None = None

    def start(self) -> None:
        """Forget the clip before: what is tracked over frames is built anew, so that a clip's result is its own."""
        self.close()
        least = self.detection_confidence
        pose = {"min_pose_detection_confidence": least, "min_pose_presence_confidence": least}
        hand = {"min_hand_detection_confidence": least, "min_hand_presence_confidence": least}
        self._clip = [
            self._open("PoseLandmarker", "pose_landmarker.task", "VIDEO", **pose),
            self._open("HandLandmarker", "hand_landmarker.task", "VIDEO", num_hands=2, **hand),
            # Two hands in the second look as well: followed alone, one look can lock on to the other wrist's hand.
            *(self._open("HandLandmarker", "hand_landmarker.task", "VIDEO", num_hands=2, **hand) for _ in ARMS),
            self._open("FaceDetector", "face_detector.tflite", "IMAGE", min_detection_confidence=self.face_confidence),
        ]
        self._square = None

    def close(self) -> None:
        """Free what the last clip used."""
        with _quiet():
            for task in self._clip:
                task.close()
        self._clip = []

    def find(self, seconds: float, picture: Picture) -> Landmarks:
        """Find the body, both hands and whether there is a face in an RGB picture (H, W, 3) of the running clip."""
        assert self._clip, "start() comes before the first picture of a clip"
        time = round(seconds * 1000)
        size = np.array(picture.shape[1::-1], float)
        points = np.zeros((LANDMARKS, 3))
        found = self._clip[0].detect_for_video(self._image(picture), time).pose_landmarks
        if not found:
            return Landmarks(points.astype(np.float32), False)
        points[:BODY] = [(point.x, point.y, point.visibility) for point in found[0]]
        body = points[:BODY, :2] * size
        visible = [points[wrist, 2] >= self.wrist_visibility for wrist, _ in ARMS]
        for side, hand in self._hands(picture, time, body, visible).items():
            points[BODY + side * HAND :][:HAND] = hand
        inside = ((points[:, :2] >= 0) & (points[:, :2] <= 1)).all(1)
        points[:, 2] = np.where(inside, points[:, 2].clip(0, 1), 0)
        return Landmarks(points.astype(np.float32), self._sees_face(picture, body))

    def _hands(self, picture: Picture, time: int, body: Points, visible: list[bool]) -> dict[int, Points]:
        """Return {0 left, 1 right: (21, 3)} of the hands found, x, y as shares of the picture."""
        size = np.array(picture.shape[1::-1], float)
        unit = float(np.linalg.norm(body[LEFT_SHOULDER] - body[RIGHT_SHOULDER]))
        if unit < 1:  # seen from the side or not at all: no measure for any distance
            return {}
        wrists = body[[wrist for wrist, _ in ARMS]]
        middle = body[[LEFT_SHOULDER, RIGHT_SHOULDER]].mean(0) + np.array([0, 0.3 * unit])
        square = np.array([*middle, self.signer_square * unit])
        # Nearly still, so that a hand at rest is at rest in the square too: MediaPipe follows hands by their place.
        self._square = square if self._square is None else 0.9 * self._square + 0.1 * square
        hands = self._look(self._clip[1], picture, time, self._square)
        given = assign_hands(hands, wrists, unit, self.wrist_distance, {})
        for side, (wrist, elbow) in enumerate(ARMS):
            inside = ((wrists[side] > 0) & (wrists[side] < size)).all()
            if side in given or not visible[side] or not inside:
                continue
            middle = body[wrist] + 0.3 * (body[wrist] - body[elbow])  # a hand goes on where its forearm ends
            hands = self._look(self._clip[2 + side], picture, time, np.array([*middle, self.wrist_square * unit]))
            only = np.where(np.arange(2)[:, None] == side, wrists, np.inf)
            given = assign_hands(hands, only, unit, self.wrist_distance, given)
        return {side: np.column_stack([hand[:, :2] / size, hand[:, 2]]) for side, hand in given.items()}

    def _look(self, task: Any, picture: Picture, time: int, square: Points) -> list[Points]:
        """Return the hands in a square (centre x, y, side), each (21, 3): x, y in pixels of the picture, confidence."""
        crop, corner = cut_square(picture, square)
        result = task.detect_for_video(self._image(crop), time)
        hands = []
        for landmarks, labels in zip(result.hand_landmarks, result.handedness, strict=True):
            hand = np.array([(point.x, point.y, labels[0].score) for point in landmarks], float)
            hand[:, :2] = hand[:, :2] * len(crop) + corner
            hands.append(hand)
        return hands

    def _sees_face(self, picture: Picture, body: Points) -> bool:
        """Look for a face where the pose has the head: the pose finds heads from behind and blurred ones too."""
        low, high = body[HEAD].min(0), body[HEAD].max(0)
        crop, _ = cut_square(picture, np.array([*(low + high) / 2, max(3 * float((high - low).max()), 16)]))
        return bool(self._clip[-1].detect(self._image(crop)).detections)

    def _image(self, picture: Picture) -> Any:
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))

    def _open(self, task: str, model: str, mode: str, **options: Any) -> Any:
        base = self._mediapipe.tasks.BaseOptions(model_asset_buffer=self._models[model])
        options_class = getattr(self._vision, f"{task}Options")
        with _quiet():
            return getattr(self._vision, task).create_from_options(
                options_class(base_options=base, running_mode=self._vision.RunningMode[mode], **options)
            )


def assign_hands(
    hands: list[Points], wrists: Points, unit: float, distance: float, given: dict[int, Points]
) -> dict[int, Points]:
    """Give each hand (21, 3) to the nearest free wrist of the pose, nearest pairs first.

    Args:
        hands: hands found, x, y in pixels.
        wrists: the pose's left and right wrist in pixels, (2, 2).
        unit: shoulder width in pixels.
        distance: no further than this many shoulder widths.
        given: hands assigned before, by side (0 left, 1 right); one hand is never given twice.
    """
    given = dict(given)
    pairs = [(_apart(hand[:1], wrists[side]) / unit, side, n) for n, hand in enumerate(hands) for side in (0, 1)]
    for apart, side, n in sorted(pairs):
        # Two looks can find one hand: then it stays with the wrist that has it.
        taken = any(_apart(hands[n], other[:, :2]) < 0.15 * unit for other in given.values())
        if apart <= distance and side not in given and not taken:
            given[side] = hands[n]
    return given


def _apart(hand: Points, others: Points) -> float:
    return float(np.linalg.norm(hand[:, :2] - others, axis=1).mean())


def cut_square(picture: Picture, square: Points) -> tuple[Picture, Points]:
    """Cut a square (centre x, y, side in pixels) out of (H, W, 3), black beyond the edge; return it and its corner."""
    side = max(round(float(square[2])), 1)
    x, y = (round(float(value) - side / 2) for value in square[:2])
    part = picture[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)]
    if part.shape[:2] != (side, side):
        whole = np.zeros((side, side, 3), np.uint8)
        if part.size:
            top, left = max(-y, 0), max(-x, 0)
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        part = whole
    return part, np.array([x, y], float)


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what MediaPipe's C++ says of every graph it builds off standard error; its faults are Python exceptions."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _mediapipe() -> tuple[Any, Any]:
    try:
        import mediapipe
        from mediapipe.tasks.python import vision
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'finding landmarks needs MediaPipe: pip install "slt[media]" ({error})') from error
    return vision, mediapipe
