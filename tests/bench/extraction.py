"""How fast films are extracted: `python tests/bench/extraction.py FILM [FILM ...]`.

Three ways over one film, in turns, in 1 process and in 2 at once, each of which loops its own copy:

- `alone`: MediaPipe's pose and hand landmarker, kept open, over whole frames that are decoded before the clock starts;
- `extractor`: all from the choice of the signer to the crops, clip after clip, over those same decoded frames;
- `files`: the same and decoding before it and writing after it, as `slt.extract` does.

With `--length` the film is looped to so many seconds first: what a clip costs once (the choice of the signer, a pose
graph of its own) weighs as it does at a corpus's own length of clips.

Printed are frames/s of the wall clock, summed over the processes, and their ratio to `alone`: the median over the
turns. On a machine that does other things as well the ratio of CPU seconds is the steadier one and stands beside.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from memory import loop

from slt.config.checks import CONF
from slt.extraction.mediapipe_models import cache_folder, prepare_models
from slt.extraction.mediapipe_tasks import Task, Tasks
from slt.extraction.regions import Extractor
from slt.extraction.video import frames_at, probe, read_frames, target_rate
from slt.extraction.writer import ClipWriter

Frames = list[tuple[float, np.ndarray]]
WAYS = ("alone", "extractor", "files")


class Alone:
    """The two landmarkers by themselves, as a first extractor would loop them over whole frames."""

    def __init__(self, folder: Path) -> None:
        graphs = {
            "pose": Task("PoseLandmarker", "pose_landmarker.task", "VIDEO", {}),
            "hands": Task("HandLandmarker", "hand_landmarker.task", "VIDEO", {"num_hands": 2}),
        }
        self.names, self.tasks, self.time = tuple(graphs), Tasks(graphs, folder), 0

    def __call__(self, frames: Frames) -> int:
        """Loop over one film; the clock goes on from the one before."""
        begin = self.time + 1000
        for seconds, picture in frames:
            self.time = begin + round(seconds * 1000)
            for name in self.names:
                self.tasks.track(name, self.time, picture)
        return len(frames)

    def close(self) -> None:
        """Free the graphs."""
        self.tasks.close()


def from_memory(frames: Frames, fps: float, seconds: Sequence[float]) -> Iterator[tuple[float, np.ndarray]]:
    """Give single pictures of a decoded film."""
    return ((second, frames[min(round(second * fps), len(frames) - 1)][1]) for second in seconds)


def extract(extractor: Extractor, frames: Frames, fps: float) -> int:
    """Extract one decoded clip, frame by frame."""
    signer = extractor.find_signer(partial(from_memory, frames, fps), duration=len(frames) / fps, box=None)
    return sum(1 for _ in extractor.stream(frames, fps=fps, signer=signer))


def to_files(extractor: Extractor, film: Path, writer: ClipWriter, scratch: Path, fps: float, length: float) -> int:
    """Extract one film to files."""
    signer = extractor.find_signer(partial(frames_at, film), duration=length, box=None)
    with writer.clip(film.stem, fps=fps, scratch=scratch, fingerprint=extractor.fingerprint) as clip:
        for regions in extractor.stream(read_frames(film, fps=fps), fps=fps, signer=signer):
            clip.add(regions)
        return int(clip.frames)


def process(film: Path, hand_threads: int, turns: int, seconds: float, barrier: Any, results: Any) -> None:
    """Run all ways `turns` times for `seconds` each, together with the other processes, and put what came of it."""
    cv2.setNumThreads(1)
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("extract", [f"landmarker.hand_threads={hand_threads}"])
    landmarker = instantiate(cfg.landmarker)()
    extractor = instantiate(cfg.extractor)(landmarker)
    fps = target_rate(probe(film), None, cfg.max_fps)
    frames = list(read_frames(film, fps=fps))
    with tempfile.TemporaryDirectory() as folder:
        out, scratch = Path(folder) / "out", Path(folder) / "scratch"
        out.mkdir()
        scratch.mkdir()
        chosen = {key: cfg[key] for key in ("packed", "encoding", "quality", "points", "pose_format")}
        writer = ClipWriter(out=out, folders=dict(cfg.folders), **chosen)
        alone = Alone(prepare_models(cache_folder()))
        ways: dict[str, Callable[[], int]] = {
            "alone": lambda: alone(frames),
            "extractor": lambda: extract(extractor, frames, fps),
            "files": lambda: to_files(extractor, film, writer, scratch, fps, len(frames) / fps),
        }
        for way in ways.values():  # graphs are opened, code is warm
            way()
        for _ in range(turns):
            for name in WAYS:
                barrier.wait()
                wall, cpu, count = time.perf_counter(), time.process_time(), 0
                while time.perf_counter() - wall < seconds:
                    count += ways[name]()
                passed = time.perf_counter() - wall
                results.put((name, count / passed, count / (time.process_time() - cpu)))
        alone.close()
    landmarker.close()


def measure(film: Path, processes: int, turns: int, seconds: float) -> None:
    """Measure all ways in so many processes at once and print a line for each."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    # As conf/extractor/mediapipe.yaml advises: a second thread where it has a core.
    arguments = (film, 2 if processes < len(os.sched_getaffinity(0)) else 1, turns, seconds, barrier, results)
    children = [context.Process(target=process, args=arguments) for _ in range(processes)]
    for child in children:
        child.start()
    # A process waits for the others before each way: results come in the order of turns and ways.
    rates = np.zeros((turns, len(WAYS), 2))
    for turn in range(turns):
        for way, name in enumerate(WAYS):
            for _ in children:
                came, wall, cpu = results.get(timeout=60 + 20 * seconds)
                assert came == name
                rates[turn, way] += wall, cpu / processes
    for child in children:
        child.join()
    ratios = np.median(rates / rates[:, :1], axis=0)
    for name, (wall, cpu), (ratio, cpu_ratio) in zip(WAYS, np.median(rates, axis=0), ratios, strict=True):
        line = {"film": film.name, "processes": processes, "cores": len(os.sched_getaffinity(0)), "way": name}
        line |= {"frames/s": round(wall, 1), "frames/CPU s": round(cpu, 1)}
        print(json.dumps(line | {"ratio": round(ratio, 3), "CPU ratio": round(cpu_ratio, 3)}), flush=True)


def main() -> None:
    """Measure each film in each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="+", type=Path)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--length", type=float, help="seconds to which each film is looped; as it is where not given")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each way in each turn, at least")
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        for film in args.films:
            looped = Path(folder) / film.name
            if args.length:
                loop(film, args.length, looped)
            for processes in args.processes:
                measure(looped if args.length else film, processes, args.turns, args.seconds)


if __name__ == "__main__":
    main()
