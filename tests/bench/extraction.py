"""How fast films are extracted: `python tests/bench/extraction.py FILM [FILM ...]`.

The whole extractor (decoding, landmarks, second looks, face check, smoothing, crops and, in `files`, writing) against
MediaPipe's pose and hand landmarker alone, looped over the same decoded frames; all in one process, one after another
in turns. Seconds are of the wall clock, on a machine that should do nothing else; CPU seconds stand beside.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from slt.config import CONF
from slt.data.extraction import ClipWriter
from slt.data.landmarks import MediaPipeLandmarker
from slt.data.rois import Extractor
from slt.data.video import probe, read_frames, target_rate


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Return frames per second of wall clock and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    frames = work()
    return frames / (time.perf_counter() - wall), frames / (time.process_time() - cpu)


def landmarkers_alone(landmarker: MediaPipeLandmarker, film: Path, mode: str) -> int:
    """Loop the two landmarkers over the whole frames, as a first extractor would."""
    pose = landmarker._open("PoseLandmarker", "pose_landmarker.task", mode)
    hand = landmarker._open("HandLandmarker", "hand_landmarker.task", mode, num_hands=2)
    count = 0
    for seconds, picture in frames_of(film):
        image = landmarker._image(picture)
        for task in (pose, hand):
            if mode == "VIDEO":
                task.detect_for_video(image, round(seconds * 1000))
            else:
                task.detect(image)
        count += 1
    pose.close()
    hand.close()
    return count


def frames_of(film: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Stream a film as the extractor does."""
    return read_frames(film, fps=target_rate(probe(film), None, 30))


def whole(extractor: Extractor, film: Path, writer: ClipWriter | None) -> int:
    """Extract one film, to memory or to files."""
    clip = extractor.clip(frames_of(film), fps=target_rate(probe(film), None, 30))
    if writer is not None:
        writer.write(film.stem, clip, extractor.fingerprint)
    return len(clip.points)


def main() -> None:
    """Measure each way `--turns` times in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="+", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("extract")
    landmarker = instantiate(cfg.landmarker)
    extractor = instantiate(cfg.extractor)(landmarker)
    with tempfile.TemporaryDirectory() as folder:
        writer = ClipWriter(Path(folder), dict(cfg.folders), cfg.packed, cfg.encoding, cfg.quality)
        for film in args.films:
            ways: dict[str, Callable[[], int]] = {
                "alone_video": lambda film=film: landmarkers_alone(landmarker, film, "VIDEO"),
                "alone_image": lambda film=film: landmarkers_alone(landmarker, film, "IMAGE"),
                "extractor": lambda film=film: whole(extractor, film, None),
                "files": lambda film=film: whole(extractor, film, writer),
            }
            turns = [{name: timed(way) for name, way in ways.items()} for _ in range(args.turns)]
            rates = {name: np.median([turn[name] for turn in turns], axis=0) for name in ways}
            for name, (wall, cpu) in rates.items():
                result = {"film": film.name, "way": name, "frames/s": round(wall, 1), "frames/CPU s": round(cpu, 1)}
                for alone in ("alone_video", "alone_image"):
                    result[f"ratio to {alone}"] = round(float(wall / rates[alone][0]), 2)
                print(json.dumps(result), flush=True)
    landmarker.close()


if __name__ == "__main__":
    main()
