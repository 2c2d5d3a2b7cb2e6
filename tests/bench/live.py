"""How fast the live path is, and whether it forgets: `python tests/bench/live.py MODEL FILM [--hours 1]`.

Two ways over one film whose pictures are decoded before the clock starts, looped, in turns:

- `alone`: MediaPipe's pose and hand landmarker, kept open, over whole frames, as in `extraction.py`;
- `live`: all of `slt.inference.live.translate_live`: landmarks, crops, segments, encoder and beam search (partial and
  final sentences), boxes and sentence drawn, with the panel. A picture comes when there is room for it: nothing is
  dropped, and as more signing than in real time goes by each second, more is translated each second.

Printed are frames/s of the wall clock, medians over the turns, and the median ratio to `alone`; `started` counts the
choice of the signer and the last sentence too, which a camera has once.

With `--hours` the film is looped to that length, read from its file at `--speed` times its pace, and goes through the
live path at once: every frame that was read must be translated or counted as dropped, and memory (resident, median of
the second twentieth of the frames against that of the last) must stay flat within 5 %. Ends with status 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from extraction import Alone, Frames, from_memory
from hydra import compose, initialize_config_dir
from memory import loop
from omegaconf import OmegaConf

from slt.commands.film import build_extractor, rebuild
from slt.config.checks import CONF
from slt.extraction.mediapipe_models import cache_folder, prepare_models
from slt.extraction.video import probe, read_frames, target_rate
from slt.inference.latency import CAPTION
from slt.inference.live import Live, LiveResult, translate_live
from slt.inference.open import open_translator, share_cores
from slt.inference.session import Reading
from slt.inference.sources import FilmSource, Shot

FLAT = 0.05


class Screen:
    """Lets the next picture come when one was shown, and looks at the memory now and then."""

    panel = True

    def __init__(self, room: int, *, every: int) -> None:
        self.room = threading.Semaphore(room)
        self.every, self.shown = every, 0
        self.resident: list[tuple[int, float]] = []

    def show(self, picture: np.ndarray) -> bool:
        """Take a drawn picture."""
        self.room.release()
        self.shown += 1
        if self.shown % self.every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.resident.append((self.shown, pages * 4096 / 2**20))
        return True


class FromMemory:
    """Decoded pictures, looped for so many seconds of the wall clock, each as soon as there is room on the screen."""

    name, path = "memory", None

    def __init__(self, frames: Frames, fps: float, screen: Screen, seconds: float) -> None:
        self.frames, self.fps, self.screen, self.seconds = frames, fps, screen, seconds
        self.look_seconds = len(frames) / fps
        self.pictures = partial(from_memory, frames, fps)

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give the pictures."""
        begin, n = time.perf_counter(), 0
        while time.perf_counter() - begin < self.seconds and not stop.is_set():
            if self.screen.room.acquire(timeout=0.5):
                yield Shot(n / self.fps, self.frames[n % len(self.frames)][1], time.perf_counter(), 0.0)
                n += 1

    def close(self) -> None:
        """Nothing is open."""


class Faster(FilmSource):
    """A film from its file at several times its pace."""

    speed = 1.0

    def shots(self, stop: threading.Event, ready: threading.Event) -> Iterator[Shot]:
        """Give frame k at k / fps / speed seconds."""
        origin: float | None = None
        frames = read_frames(self.path, fps=self.fps)
        while True:
            begin = time.perf_counter()
            frame = next(frames, None)
            decoding = time.perf_counter() - begin
            if frame is None:
                return
            due = 0.0 if origin is None else origin + frame[0] / self.speed
            if stop.wait(max(0.0, due - time.perf_counter())):
                return
            yield Shot(*frame, time.perf_counter(), decoding)
            if origin is None:
                ready.wait()
                origin = time.perf_counter()


class Bench:
    """A model, its extractor and what they are asked, as `python -m slt.demo` opens them.

    Args:
        model, film: see the head of this file.
        overrides: of conf/demo.yaml.
    """

    def __init__(self, model: Path, film: Path, overrides: Sequence[str]) -> None:
        with initialize_config_dir(str(CONF), version_base=None):
            cfg = compose("demo", [f"model={model}", f"source={film}", *overrides])
        keys: Any = OmegaConf.to_container(cfg, resolve=True)
        self.film, self.settings = film, Reading.of(keys)
        options = {key: cfg[key] for key in ("encoder", "tokenizer", "device")}
        options["threads"] = share_cores(cfg.threads, live=True)
        opened = open_translator(model, **options, search=self.settings.search, rebuild=rebuild)
        self.translator, self.extractor = opened.translator, build_extractor(cfg, opened)
        self.showing = replace(Live.of(keys), record=None)
        self.fps = target_rate(probe(film), cfg.fps, cfg.max_fps)
        # So many pictures lie in the smoothing's window; as many as may wait come on top, and nothing runs dry.
        ahead = round(max(self.extractor.smooth_centre, self.extractor.smooth_size) * self.fps)
        self.room = ahead + cfg.queue

    def live(self, source: Any, screen: Screen, queue: int) -> LiveResult:
        """Send a source through the live path, with so many pictures that may wait."""
        live = replace(self.showing, queue=queue)
        return translate_live(
            source, self.translator, self.extractor, reading=self.settings, live=live, screen=screen, subtitles=None,
            on_caption=lambda caption, partial: None,
        )  # fmt: skip

    def close(self) -> None:
        """Free the graphs."""
        self.extractor.landmarker.close()


def ratio(bench: Bench, turns: int, seconds: float) -> None:
    """Measure both ways in turns and print a line for each."""
    frames = list(read_frames(bench.film, fps=bench.fps))
    alone = Alone(prepare_models(cache_folder()))

    def run_alone(length: float) -> tuple[float, float]:
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < length:
            count += alone(frames)
        rate = count / (time.perf_counter() - begin)
        return rate, rate

    def run_live(length: float) -> tuple[float, float]:
        screen = Screen(bench.room, every=10**9)
        begin = time.perf_counter()
        result = bench.live(FromMemory(frames, bench.fps, screen, length), screen, bench.room)
        assert result.latency.dropped == 0
        return result.latency.rate, result.latency.frames / (time.perf_counter() - begin)

    ways = {"alone": run_alone, "live": run_live}
    for way in ways.values():  # graphs are opened, code is warm
        way(1.0)
    rates = np.array([[way(seconds) for way in ways.values()] for _ in range(turns)])  # (turns, ways, 2)
    alone.close()
    ratios = np.median(rates / rates[:, :1], axis=0)
    for name, (running, started), (share, whole) in zip(ways, np.median(rates, axis=0), ratios, strict=True):
        line = {"film": bench.film.name, "way": name, "frames/s": round(running, 1), "ratio": round(share, 3)}
        print(json.dumps(line | {"started": round(started, 1), "ratio started": round(whole, 3)}), flush=True)


def endure(bench: Bench, hours: float, speed: float) -> bool:
    """Send hours of film through the live path, print what came of it, and tell whether nothing was lost or kept."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        looped = Path(folder) / f"{bench.film.stem}.mp4"
        loop(bench.film, 3600 * hours, looped)
        with av.open(str(looped)) as container:
            pictures = sum(1 for packet in container.demux(video=0) if packet.size)
        source = Faster(looped, fps=None, max_fps=bench.settings.max_fps)
        source.speed = speed
        screen = Screen(bench.room, every=max(1, pictures // 400))
        begin = time.perf_counter()
        result = bench.live(source, screen, bench.showing.queue)
        passed = time.perf_counter() - begin
    shown = np.array(screen.resident)
    last = shown[-1, 0]
    first, end = (np.median(shown[(shown[:, 0] > a * last) & (shown[:, 0] <= b * last), 1])
                  for a, b in ((0.05, 0.1), (0.95, 1.0)))  # fmt: skip
    growth = end / first - 1
    count, dropped = result.latency.frames, result.latency.dropped
    accounted = result.captured == count + dropped and screen.shown == count
    took = result.latency.milliseconds()
    captions = took.pop(CAPTION, (0,))[0]  # how long they took is true at speed 1 only
    line = {
        "film": bench.film.name, "minutes": round(pictures / source.fps / 60, 1), "in the film": pictures,
        "read": result.captured, "translated": count, "dropped": dropped, "accounted": accounted,
        "captions": captions, "frames/s": round(count / passed, 1), "seconds": round(passed),
        "MiB": round(first), "MiB at the end": round(end), "peak MiB": round(shown[:, 1].max()),
        "growth": round(growth, 4),
        "ms": {name: [round(value, 1) for value in of[1:]] for name, of in took.items()},
    }  # fmt: skip
    print(json.dumps(line), flush=True)
    return bool(accounted and result.captured == pictures and abs(growth) <= FLAT)


def main() -> None:
    """Measure the ratio, or the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="exported folder or run")
    parser.add_argument("film", type=Path)
    parser.add_argument("overrides", nargs="*", help="of conf/demo.yaml")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each way in each turn")
    parser.add_argument("--hours", type=float, help="length of the looped film; no ratio is measured then")
    parser.add_argument("--speed", type=float, default=2.0, help="times the film's own pace, with --hours")
    args = parser.parse_intermixed_args()
    bench = Bench(args.model, args.film, args.overrides)
    try:
        if args.hours is None:
            ratio(bench, args.turns, args.seconds)
        elif not endure(bench, args.hours, args.speed):
            sys.exit(1)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
