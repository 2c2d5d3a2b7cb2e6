"""A landmarker that costs nothing: in MediaPipe's place where not landmarks but all around them is tested or measured.

Named in a configuration as `landmarker._target_=bench.landmarker_stub.StubLandmarker`, with `tests/` on the path.
"""

from __future__ import annotations

import time

import numpy as np

from slt.extraction.landmarks import LANDMARKS, Landmarks

BODY = 33


class StubLandmarker:
    """Finds in every picture the same body, a left hand that drifts, and no right hand; its keys are taken and unused.

    Args:
        pause: seconds that each picture takes.
    """

    name, skeleton = "stub", "mediapipe_75"
    clips = 0  # how many were begun in this process

    def __init__(self, *, pause: float = 0.0, **keys) -> None:
        self.pause = pause
        self.parameters = {"landmarker": "stub"}

    def start(self, box) -> None:
        StubLandmarker.clips += 1

    def find(self, seconds, picture) -> Landmarks:
        time.sleep(self.pause)
        points = np.zeros((LANDMARKS, 3), np.float32)
        points[: BODY + 21] = np.random.default_rng(0).uniform(0.3, 0.6, (BODY + 21, 3))
        points[BODY : BODY + 21, 0] += 0.1 * np.sin(seconds)
        return Landmarks(points, True)

    def people(self, picture) -> list[np.ndarray]:
        return [np.random.default_rng(0).uniform(0.3, 0.6, (BODY, 3))]

    def close(self) -> None:
        pass


def write_film(
    path, *, count: int = 6, shade: int = 0, size: tuple[int, int] = (64, 48), rate: int = 10, step: int = 20
):
    """Write a small film whose pictures grow brighter by `step`, and darker again: none is a cut."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for n in range(count):
            level = 240 - abs((40 + shade + step * n) % 480 - 240)
            picture = np.full((size[1], size[0], 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
