"""Who is in a picture, for landmarkers that are told where to look: YOLOX finds people as boxes (N of them)."""

from __future__ import annotations

import cv2
import numpy as np

from slt.extraction.geometry import Box, Picture
from slt.extraction.onnx_models import Network

GREY = 114  # of what the picture does not fill, as in training


class PeopleDetector:
    """YOLOX (Ge et al., arXiv:2107.08430) as OpenMMLab exports it for people, with its suppression of doubles inside.

    The file's outputs are `dets` (1, N, 5), x0, y0, x1, y1, score in pixels of the input, and `labels`, all people.
    """

    def __init__(self, network: Network, *, least: float) -> None:
        self.network, self.least = network, least

    def find(self, picture: Picture) -> list[Box]:
        """Return the boxes of people in an RGB picture (H, W, 3) with a score of at least `least`, surest first."""
        width, height = self.network.size
        ratio = min(width / picture.shape[1], height / picture.shape[0])
        inner = (max(int(picture.shape[1] * ratio), 1), max(int(picture.shape[0] * ratio), 1))
        padded = np.full((height, width, 3), GREY, np.uint8)
        padded[: inner[1], : inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_LINEAR)
        outputs = self.network.run(padded[..., ::-1].astype(np.float32))  # trained on BGR, not normalised
        found = next((value for value in outputs.values() if value.ndim == 3 and value.shape[2] == 5), None)
        if found is None:
            shapes = {name: value.shape for name, value in outputs.items()}
            raise ValueError(
                f"landmarker.detector: boxes (1, N, 5) expected among its outputs, came {shapes}; take a YOLOX "
                "that was exported with its suppression of doubles, as OpenMMLab's are"
            )
        rows = found[0][found[0][:, 4] >= self.least]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        x0, y0, x1, y1 = (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0]))
        boxes = (rows[:, :4] / ratio).clip((x0, y0, x0, y0), (x1, y1, x1, y1)).tolist()
        return [(a, b, c, d) for a, b, c, d in boxes if c - a >= 1 and d - b >= 1]
