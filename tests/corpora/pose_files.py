"""Writes poses of a person who sways, as the suite and as others keep them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BODY, FACE, HAND = 33, 468, 21


def pixels(frames: int, *, face: int = FACE, width: int = 400, height: int = 300) -> NDArray[np.float32]:
    """Points (T, 33 + face + 42, 3) in the order body, face, left hand, right hand: x, y in pixels and confidence."""
    rng = np.random.default_rng(frames)
    spread = rng.uniform(0.3, 0.7, (1, BODY + face + 2 * HAND, 2)) + 0.01 * rng.standard_normal((frames, 1, 2))
    spread[:, 11], spread[:, 12] = (0.6, 0.5), (0.4, 0.5)  # the shoulders
    return np.concatenate([spread * (width, height), np.ones((*spread.shape[:2], 1))], axis=2).astype(np.float32)


def write_holistic(path: Path, frames: int) -> None:
    """Write a `.pose` file of 543 points."""
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = {"POSE": BODY, "FACE": FACE, "LEFT_HAND": HAND, "RIGHT_HAND": HAND}
    parts = [PoseHeaderComponent(f"{name}_LANDMARKS", [str(n) for n in range(count)], [], [(0, 0, 0)], "XYC")
             for name, count in sizes.items()]  # fmt: skip
    points = pixels(frames)[:, None]
    pose = Pose(PoseHeader(0.1, PoseHeaderDimensions(400, 300, 0), parts),
                NumPyPoseBody(25, points[..., :2], points[..., 2]))  # fmt: skip
    with path.open("wb") as file:
        pose.write(file)
