"""Which point of a published skeleton stands for which of MediaPipe's 75 (33 of the body, 21 of each hand) or its face.

MediaPipe and OpenPose number a hand's points alike, from the wrist to the tip of the little finger, and both name sides
as the signer has them. Where a skeleton lacks a point of MediaPipe's body, one of its face or hand is taken that lies
in the same place: within 0.06 shoulder widths for the face and 0.15 for the knuckles, where Holistic gives both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.streams.skeleton import BODY, HAND, MEDIAPIPE, Skeleton

BODY_NAMES = MEDIAPIPE.points[:BODY]
# fmt: off
OPENPOSE_BODY = (  # BODY_25, in OpenPose's order
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee",
    "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel", "RBigToe",
    "RSmallToe", "RHeel",
)
OPENPOSE_FACE = 70  # a point is named after its part of the face and ends in its number: FE_42
# A point of MediaPipe's body -> its names elsewhere, the best first: OpenPose's body, OpenPose's face, the face in
# BODY_135, MediaPipe's face mesh.
ELSEWHERE = {
    "NOSE": ("Nose", "FN_30", "NoseUpper3", "mesh 4"),
    "LEFT_EYE_INNER": ("FE_42", "LEye0", "mesh 362"), "RIGHT_EYE_INNER": ("FE_39", "REye3", "mesh 133"),
    "LEFT_EYE": ("LEye", "FP_69", "LPupil", "mesh 473"), "RIGHT_EYE": ("REye", "FP_68", "RPupil", "mesh 468"),
    "LEFT_EYE_OUTER": ("FE_45", "LEye3", "mesh 263"), "RIGHT_EYE_OUTER": ("FE_36", "REye0", "mesh 33"),
    "LEFT_EAR": ("LEar", "mesh 454"), "RIGHT_EAR": ("REar", "mesh 234"),
    "MOUTH_LEFT": ("FLO_54", "OMouth6", "mesh 291"), "MOUTH_RIGHT": ("FLO_48", "OMouth0", "mesh 61"),
    "LEFT_SHOULDER": ("LShoulder",), "RIGHT_SHOULDER": ("RShoulder",),
    "LEFT_ELBOW": ("LElbow",), "RIGHT_ELBOW": ("RElbow",), "LEFT_WRIST": ("LWrist",), "RIGHT_WRIST": ("RWrist",),
    "LEFT_HIP": ("LHip",), "RIGHT_HIP": ("RHip",), "LEFT_KNEE": ("LKnee",), "RIGHT_KNEE": ("RKnee",),
    "LEFT_ANKLE": ("LAnkle",), "RIGHT_ANKLE": ("RAnkle",), "LEFT_HEEL": ("LHeel",), "RIGHT_HEEL": ("RHeel",),
    "LEFT_FOOT_INDEX": ("LBigToe",), "RIGHT_FOOT_INDEX": ("RBigToe",),
}
# fmt: on
# Points of COCO-WholeBody, whose face is numbered as OpenPose's, by their names there.
_FACE_NAMES = [name for names in ELSEWHERE.values() for name in names if name[:2] in ("FE", "FL")]
COCO = {f"FACE_{name.rpartition('_')[2]}": name for name in _FACE_NAMES}
COCO |= {"LEFT_BIG_TOE": "LBigToe", "RIGHT_BIG_TOE": "RBigToe"}
KNUCKLES = {"PINKY": 17, "INDEX": 5, "THUMB": 2}  # of the body's fingers, by number in the hand
SIDES = ("LEFT", "RIGHT")
_BODIES = ("POSE_LANDMARKS", "pose_keypoints_2d", "BODY_135")
_FACES = {"FACE_LANDMARKS": "mesh ", "face_keypoints_2d": ""}
_HANDS = {"LEFT_HAND_LANDMARKS": "LEFT", "RIGHT_HAND_LANDMARKS": "RIGHT",
          "hand_left_keypoints_2d": "LEFT", "hand_right_keypoints_2d": "RIGHT"}  # fmt: skip


def place_points(
    body: Mapping[str, int], hands: Mapping[str, Sequence[int]], skeleton: Skeleton = MEDIAPIPE
) -> NDArray[np.int64]:
    """Return where each point of MediaPipe's skeleton stands in another, (K,); -1 = that does not have it.

    Args:
        body: the places of the points of body and face by name, see `ELSEWHERE`.
        hands: side -> the 21 places of its points.
        skeleton: MediaPipe's 75 points, or those with the face.
    """
    places: list[int] = []
    for name in BODY_NAMES:
        side, _, part = name.partition("_")
        found = [body[other] for other in (name, *ELSEWHERE.get(name, ())) if other in body]
        if part in KNUCKLES and side in hands:
            found.append(hands[side][KNUCKLES[part]])
        places.append(found[0] if found else -1)
    places += [place for side in SIDES for place in hands.get(side, [-1] * HAND)]
    known = dict(zip(MEDIAPIPE.points, places, strict=True))
    whole, face = skeleton.whole, len(skeleton.whole.parts.get("face", ()))
    known |= {f"FACE_{n}": body.get(f"mesh {n}", -1) for n in range(face)}
    known |= {whole.points[place]: body.get(f"mesh {face + n}", -1)
              for n, place in enumerate(whole.parts.get("irises", ()))}  # fmt: skip
    return np.array([known.get(name, -1) for name in skeleton.points], np.int64)


def place_components(components: Iterable[Any], where: str, skeleton: Skeleton = MEDIAPIPE) -> NDArray[np.int64]:
    """Return `place_points` of a .pose file's header; refuse, naming `where`, another skeleton or other points."""
    if not {*MEDIAPIPE.points} <= {*skeleton.points}:
        raise ValueError(f"{where}: .pose files are read as MediaPipe's points, and {skeleton.name} has others")
    components = list(components)
    body: dict[str, int] = {}
    hands: dict[str, list[int]] = {}
    first, fault = 0, ""
    for part in components:
        names, flat = list(part.points), part.format[:2] == "XY"
        places = list(range(first, first + len(names)))
        first += len(names)
        if part.name in _HANDS:
            hands[_HANDS[part.name]] = places
            if len(names) != HAND or not flat:
                fault = f"{HAND} x, y of {part.name}"
        elif part.name in _BODIES:
            if part.name == "POSE_LANDMARKS" and len(names) == BODY:
                names = list(BODY_NAMES)
            body.update(zip(names, places, strict=True))
            if not flat or not {"LEFT_SHOULDER", "LShoulder"} & {*names}:
                fault = f"{BODY} x, y of POSE_LANDMARKS"
            for side, wrist in (("LEFT", "LWrist"), ("RIGHT", "RWrist")):
                if (thumb := f"{wrist[0]}Thumb1CMC") in body:  # in BODY_135 a hand's wrist is the body's
                    hands[side] = [body[wrist], *range(body[thumb], body[thumb] + HAND - 1)]
        elif part.name in _FACES and flat:
            body.update(zip((f"{_FACES[part.name]}{name}" for name in names), places, strict=True))
    if fault or not (body or hands):
        came = {part.name: len(part.points) for part in components}
        raise ValueError(
            f"{where}: {fault or f'{BODY} x, y of POSE_LANDMARKS'} expected, as of MediaPipe Holistic (whole, reduced "
            f"or hands alone) or OpenPose (BODY_25 or BODY_135), came {came}"
        )
    return place_points(body, hands, skeleton)


def places_in(skeleton: Skeleton) -> NDArray[np.int64]:
    """Return where MediaPipe's 75 points stand in a skeleton that holds them, or in COCO-WholeBody; -1 = nowhere."""
    coco = "feet" in skeleton.parts
    body = {COCO.get(name, name) if coco else name: n for n, name in enumerate(skeleton.points)}
    hands = {side: skeleton.parts[part] for side in SIDES if (part := f"{side.lower()}_hand") in skeleton.parts}
    return place_points(body, hands)


def missing_points(places: NDArray[np.int64]) -> list[str]:
    """Return the names of the points that a skeleton does not have; a hand is LEFT_HAND or RIGHT_HAND."""
    names = [*BODY_NAMES, *(f"{side}_HAND" for side in SIDES for _ in range(HAND))]
    return list(dict.fromkeys(name for name, place in zip(names, places, strict=True) if place < 0))


def take_points(values: NDArray[Any], places: NDArray[np.int64], missing: float) -> NDArray[Any]:
    """Return the points (..., K, C) out of a skeleton's (..., N, C), `missing` where it does not have one."""
    return np.where((places >= 0)[:, None], values[..., places, :], missing)
