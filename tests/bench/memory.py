"""Does memory grow with a film's length? `python tests/bench/memory.py FILM --minutes 1 30`.

A film is looped, without coding it again, to the lengths that are asked for; each is extracted by a process of its
own, whose peak of resident memory is read when it ends. With `--stub` a stub finds the landmarks, for long films.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def loop(film: Path, seconds: float, path: Path) -> None:
    """Write a film over and over, packet by packet, until it is `seconds` long."""
    import av

    with av.open(str(path), "w") as out:
        offset, added = 0, None
        while True:
            with av.open(str(film)) as container:
                stream = container.streams.video[0]
                added = added or out.add_stream_from_template(stream)
                length = 0
                for packet in container.demux(stream):
                    if packet.dts is None:
                        continue
                    length = max(length, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = added
                    time_base = packet.time_base
                    out.mux(packet)
                offset += length
                if offset * time_base >= seconds:
                    return


def extract_one(films: Path, out: Path, overrides: list[str]) -> None:
    """Extract in this process and print its peak of resident memory."""
    sys.path.insert(0, str(TESTS))
    from hydra import compose, initialize_config_dir

    from slt import extract
    from slt.config.checks import CONF

    keys = [f"source={films}", f"out={out}", "split.by=all_train", "captions.format=none", "report=false", *overrides]
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("extract", keys)
    begin = time.perf_counter()
    extract.run(cfg)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    record = json.loads((out / "metadata.jsonl").read_text(encoding="utf-8"))
    print(json.dumps({"minutes": round(record["frames"] / record["fps"] / 60, 1), "frames": record["frames"],
                      "peak MiB": round(peak), "seconds": round(time.perf_counter() - begin)}))  # fmt: skip


def main() -> None:
    """Measure each length in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("overrides", nargs="*", help="of conf/extract.yaml")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 30])
    parser.add_argument("--stub", action="store_true")
    parser.add_argument("--out", type=Path, help="extract this folder into there, in this process")
    args = parser.parse_intermixed_args()
    if args.out:
        extract_one(args.film, args.out, args.overrides)
        return
    overrides = list(args.overrides)
    if args.stub:
        overrides.append("landmarker._target_=bench.landmarker_stub.StubLandmarker")
    for minutes in args.minutes:
        with tempfile.TemporaryDirectory() as name:
            films, out = Path(name) / "films", Path(name) / "out"
            films.mkdir()
            loop(args.film, 60 * minutes, films / f"looped{args.film.suffix}")
            command = [sys.executable, __file__, str(films), "--out", str(out), *overrides]
            house = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=house)
            kind = "stub" if args.stub else "mediapipe"
            print(json.dumps({"landmarker": kind, **json.loads(done.stdout.splitlines()[-1])}), flush=True)


if __name__ == "__main__":
    main()
