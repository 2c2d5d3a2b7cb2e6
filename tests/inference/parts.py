"""What tests of films and live sources share: settings, an extractor without MediaPipe, a translator that counts."""

from __future__ import annotations

import threading
from typing import Any

from bench.signing_stub import SigningLandmarker

from slt.extraction.regions import Extractor
from slt.inference.live import Live
from slt.inference.onnx import Hypothesis
from slt.inference.session import Reading
from slt.inference.settings import Segmentation
from slt.models.signature import StreamSpec

KEYS: dict[str, Any] = {
    "crop_size": 8, "face_margin": 1.2, "hand_margin": 1.4, "smooth_centre": 0.1, "smooth_size": 0.2,
    "follow_visibility": 0.95, "follow_seconds": 1.0, "signer": "auto", "min_certainty": 0.6,
}  # fmt: skip
STREAMS = (
    StreamSpec(name="face", kind="crops", dtype="uint8", shape=(3, 8, 8), folder="face", points=None, size=8),
    StreamSpec(name="pose", kind="pose", dtype="float32", shape=(25, 3), folder="pose", points="upper_body", size=None),
)
SEGMENTATION = Segmentation(raised=0.35, moving=0.8, staying=0.5, window=0.2, start_seconds=0.2, lowered_seconds=0.4,
                            still_seconds=0.8, margin=0.3, min_seconds=0.4, max_seconds=6)  # fmt: skip
SEARCH = {"num_beams": 2, "length_penalty": None, "max_tokens": None, "nbest": 2}
READING = Reading(fps=None, max_fps=30, segments=None, whole_seconds=20, segmentation=SEGMENTATION, search=SEARCH,
                  abstain=None,
                  box=None, draw=True)  # fmt: skip
# So long a queue drops nothing, however busy the machine of the tests is; what is dropped has tests of its own.
LIVE = Live(partial_seconds=0.5, queue=1000, headless=True, panel=False, record=None)


class Spy:
    """Says how many frames it was given, and keeps them; `hold` makes it wait."""

    streams, fps, max_frames, extractor, reads_context = STREAMS, None, None, None, False

    def __init__(self):
        self.clips, self.searches = [], []
        self.hold = threading.Event()
        self.hold.set()

    def encode(self, clips):
        assert self.hold.wait(60)
        self.clips += clips
        return len(clips[0].seen["face"])

    def write(self, encoded, **search):
        self.searches.append(search)
        return [[Hypothesis(f"¿{encoded} años?", -0.5 * n, (1,)) for n in range(1, search["nbest"] + 1)]]


def extractor(landmarker=None, **changes):
    return Extractor(landmarker or SigningLandmarker(), **(KEYS | changes))
