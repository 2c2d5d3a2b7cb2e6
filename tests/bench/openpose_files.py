"""Files as OpenPose writes them, of people who are drawn with a ruler."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def person(x: float, length: float, *, sure: float = 0.9, hands: bool = True) -> dict[str, list[float]]:
    """Somebody of `length` pixels about x, upright and facing the camera: the signer's left is on the right."""
    body = np.zeros((25, 3))
    places = {0: (0, 0), 2: (-0.2, 0.3), 5: (0.2, 0.3), 3: (-0.3, 0.6), 6: (0.3, 0.6), 4: (-0.2, 0.9), 7: (0.2, 0.9),
              9: (-0.1, 1.0), 12: (0.1, 1.0)}  # fmt: skip
    for number, (dx, dy) in places.items():
        body[number] = x + length * dx, 40 + length * dy, sure
    hand = [body[7, :2] + (n, n) for n in range(21)]
    left = np.column_stack([hand, np.full(21, sure)]) if hands else np.zeros((0, 3))
    return {"pose_keypoints_2d": body.ravel().tolist(), "face_keypoints_2d": [],
            "hand_left_keypoints_2d": left.ravel().tolist(), "hand_right_keypoints_2d": []}  # fmt: skip


def write_people(folder: Path, name: str, frames: list, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for t, people in enumerate(frames, first):
        path = folder / f"{name}_{t:012d}_keypoints.json"
        path.write_text(json.dumps({"version": 1.3, "people": people}))
    return folder
