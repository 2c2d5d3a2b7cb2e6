"""How fast, in how many files and in how much memory clips are loaded: `python tests/bench/loader.py`.

Compares the packed forms with one JPEG a frame on the same pictures, then the memory of a loading process over 1,000
clips with that over 10,000. T frames, R crop side.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from slt.corpora import layout
from slt.corpora.folder import LsaTMultiStream
from slt.data import Crops, Landmarks
from slt.streams.arrays import write_pose
from slt.streams.batch import LengthBatches, collate
from slt.streams.packed import write_frames, write_packed

FOLDERS = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r"}
MIRROR = {"left_hand": "right_hand", "right_hand": "left_hand"}
AUGMENT = {"speed": [0.9, 1.1], "warp": 0.0, "frame_dropout": 0.05, "stream_dropout": 0.05, "mirror": 0.5}
FORMS = ("frames", "jpeg", "raw")


def pictures(frames: int, side: int) -> np.ndarray:
    """Blurred noise, which a JPEG keeps in about as many bytes as a photograph: uint8 (T, R, R, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), np.uint8)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), side / 16) for frame in noise])


def write_clip(root: Path, name: str, crops: np.ndarray, form: str) -> None:
    """Write three crop streams of (T, R, R, 3) and a pose."""
    seen = np.ones(len(crops), bool)
    for folder in FOLDERS.values():
        if form == "frames":
            write_frames(root / folder, name, crops, quality=90)
        else:
            path = root / folder / f"{name}.safetensors"
            write_packed(path, crops, seen, encoding=form, quality=90, extractor="bench")
    pose = np.random.default_rng(0).uniform(0.2, 0.8, (len(crops), 75, 3)).astype(np.float32)
    write_pose(root / "pose" / f"{name}.npz", pose, size=(640, 360), seen=None)


def write_tables(root: Path, names: list[str]) -> None:
    """Write rows as long as LSA-T's (13 words) and the train split."""
    rows = [{"video_id": name, "texto": f"{name} " + "palabra " * 13, "signer": "s"} for name in names]
    layout.write_table(root / "subs.csv", rows)
    layout.write_index(root / "index" / "train.csv", names)


def dataset(root: Path, side: int, augment: dict | None) -> LsaTMultiStream:
    """Open the train split with three crop streams and the pose."""
    streams: dict = {
        name: Crops(folder=folder, size=side, jitter=0.05, colour=0.1, mirror=MIRROR.get(name))
        for name, folder in FOLDERS.items()
    }
    streams["pose"] = Landmarks(folder="pose", points="body", normalise="shoulders", jitter=0.05, noise=0.01)
    return LsaTMultiStream(
        root=root,
        split="train",
        streams=streams,
        fps=None,
        max_frames=None,
        length_tolerance=0,
        augment=augment,
        seed=0,
    )


def clips_per_second(load: Callable[[], int], repeats: int) -> float:
    """Return the median over `repeats` passes, after one that warms the page cache."""
    load()
    rates = []
    for _ in range(repeats):
        begin = time.perf_counter()
        rates.append(load() / (time.perf_counter() - begin))
    return float(np.median(rates))


def bench_forms(clips: int, frames: int, side: int, repeats: int) -> None:
    """Print clips/s and files of each form, and the ratios."""
    crops, rates, files = pictures(frames, side), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMS:
            root = Path(folder) / form
            for clip in range(clips):
                write_clip(root, f"clip{clip:05d}", crops, form)
            write_tables(root, [f"clip{clip:05d}" for clip in range(clips)])
            found = [path for path in root.rglob("*") if path.is_file()]
            plain, changed = dataset(root, side, None), dataset(root, side, AUGMENT)
            rates[form] = clips_per_second(lambda data=plain: sum(1 for clip in range(clips) if data[clip]), repeats)
            augmented = clips_per_second(lambda data=changed: sum(1 for clip in range(clips) if data[clip]), repeats)
            keys = list(LengthBatches(changed.lengths, batch_size=32, batch_frames=None, shuffle=True, seed=0)) * 4
            loader = DataLoader(changed, batch_sampler=keys, collate_fn=collate, num_workers=1)
            worker = clips_per_second(lambda loader=loader: sum(len(batch) for batch in loader), repeats)
            files[form] = len(found)
            size = sum(path.stat().st_size for path in found) / 2**20
            print(
                f"{form:7s} {len(found):6d} files {size:7.1f} MiB   in one process: plain {rates[form]:6.0f} clips/s, "
                f"augmented {augmented:6.0f}   in batches from one worker, augmented: {worker:6.0f}"
            )
    for form in FORMS[1:]:
        print(
            f"{form} against one JPEG a frame: {rates[form] / rates['frames']:.1f} times as fast, "
            f"{files['frames'] / files[form]:.1f} times fewer files"
        )


def memory_of(root: Path, side: int) -> None:
    """Print, as JSON, the resident memory in MiB after 40 batches of the split and the seconds it took to open."""
    begin = time.perf_counter()
    data = dataset(root, side, AUGMENT)
    start = time.perf_counter() - begin
    keys = list(LengthBatches(data.lengths, batch_size=16, batch_frames=None, shuffle=True, seed=0))[:40]
    worker = 0
    for batch in DataLoader(data, batch_sampler=keys, collate_fn=collate, num_workers=1):
        assert len(batch)
        child = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        worker = max([worker, *(resident(int(pid)) for pid in child)])
    print(json.dumps({"main": resident(os.getpid()), "worker": worker, "start": start}))


def resident(pid: int) -> int:
    """Return the resident memory of a process in MiB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def bench_memory(frames: int, side: int) -> None:
    """Print the memory at 1,000 and 10,000 clips; the files are links to one clip."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_clip(root, "clip00000", pictures(frames, side), "raw")
        names = [f"clip{clip:05d}" for clip in range(10_000)]
        for name in names[1:]:
            for place, suffix in [(key, "safetensors") for key in FOLDERS.values()] + [("pose", "npz")]:
                os.link(root / place / f"clip00000.{suffix}", root / place / f"{name}.{suffix}")
        for clips in (1_000, 10_000):
            write_tables(root, names[:clips])
            command = [sys.executable, __file__, "--memory-of", folder, "--side", str(side)]
            found[clips] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{clips:6d} clips: main {found[clips]['main']} MiB, worker {found[clips]['worker']} MiB, "
                  f"opened and checked in {found[clips]['start']:.2f} s")  # fmt: skip
    for process in ("main", "worker"):
        ratio = found[10_000][process] / found[1_000][process]
        print(f"{process}: 10,000 clips take {ratio:.3f} times the memory of 1,000")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--side", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-of", type=Path, help="(used by the script itself)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        memory_of(options.memory_of, options.side)
    else:
        print(f"three crop streams of {options.side} px and a pose, {options.frames} frames a clip, warm page cache")
        bench_forms(options.clips, options.frames, options.side, options.repeats)
        bench_memory(options.frames, options.side)
