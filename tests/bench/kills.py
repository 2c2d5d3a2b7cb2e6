"""Does a killed extraction end as an uninterrupted one? `python tests/bench/kills.py --kills 200`.

Twenty small films are extracted by children of this process, with a landmarker stub, and killed (SIGKILL) at random
moments; a child that comes to its end is compared, byte for byte except for `seconds`, with an uninterrupted one, and
all begins anew. With `--steps`, instead, a child is killed before each single change of the output folder in turn,
and the next one runs to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from shutil import rmtree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.landmarker_stub import write_film
from hydra import compose, initialize_config_dir

from slt import extract
from slt.config import CONF
from slt.data import layout

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")


def make_films(folder: Path, count: int) -> None:
    """Write films of six pictures and their table; the last film is broken, so that failures are killed too."""
    folder.mkdir(parents=True)
    rows = []
    for n in range(count):
        name = f"film{n:02d}"
        write_film(folder / f"{name}.mp4", shade=7 * n)
        rows.append({"video_id": name, "texto": f"oración {n}"})
    (folder / f"{name}.mp4").write_text("no film")
    layout.write_table(folder / "subs.csv", rows)


def extraction(films: Path, out: Path, *overrides: str) -> object:
    """Return the configuration of an extraction with the stub."""
    keys = ["landmarker._target_=bench.landmarker_stub.StubLandmarker", "extractor.crop_size=16", "report=false"]
    keys += ["split.by=random", "max_failures=1", f"source={films}", f"out={out}", *overrides]
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("extract", keys)


def child(work: object) -> int:
    """Do `work` in a child, silently; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        report = os.dup(2)
        os.dup2(silence, 2)
        try:
            work()
        except BaseException:
            os.write(report, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    finally:
        os._exit(1)


def ended(pid: int) -> bool:
    """Wait for a child; tell whether it came to its end, and raise where it failed instead of being killed."""
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"a child ended with status {code}")
    return code == 0


def kill_at(step: int, out: Path) -> None:
    """Have this process killed before its `step`-th change below `out`."""
    changes = 0

    def hook(event: str, args: tuple) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        inside = args and (str(args[0]).startswith(str(out)) or (event in CHANGES[1:3] and args[1] != -1))
        if (event in CHANGES or writes) and inside:  # rmtree names files by their folder's number
            changes += 1
            if changes == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def content(folder: Path) -> dict[str, bytes | list]:
    """Return the bytes of each file, and metadata.jsonl without the seconds that a clip took."""
    found: dict[str, bytes | list] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "metadata.jsonl":
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            found[name] = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
        else:
            found[name] = path.read_bytes() if path.is_file() else b"folder"
    return found


def compare(out: Path, expected: dict) -> None:
    """Stop with the names of the files that differ."""
    came = content(out)
    if differ := sorted(name for name in {*came, *expected} if came.get(name) != expected.get(name)):
        raise SystemExit(f"after the kills {len(differ)} files differ: {differ[:10]}")


def random_kills(cfgs: list, out: Path, expected: dict, *, kills: int, seed: int, limit: float) -> dict:
    """Kill children, one a shard, at random moments until there were `kills`, or `limit` seconds are over."""
    begin = time.perf_counter()
    for cfg in cfgs:
        ended(child(lambda cfg=cfg: extract.run(cfg)))
    whole = time.perf_counter() - begin
    compare(out, expected)
    rmtree(out)
    dice, done, ends, left = random.Random(seed), 0, 0, list(cfgs)
    while done < kills and time.perf_counter() - begin < limit:
        at_once = {child(lambda cfg=cfg: extract.run(cfg)): cfg for cfg in left}
        for pid, cfg in at_once.items():
            time.sleep(dice.uniform(0, 0.6 * whole / len(cfgs)))
            os.kill(pid, signal.SIGKILL)
            if ended(pid):
                left.remove(cfg)
            else:
                done += 1
        if not left:
            compare(out, expected)
            ends, left = ends + 1, list(cfgs)
            rmtree(out)
    for cfg in left:
        ended(child(lambda cfg=cfg: extract.run(cfg)))
    compare(out, expected)
    return {"kills": done, "extractions compared": ends + 2, "one takes s": round(whole, 2)}


def kills_at_steps(cfg: object, out: Path, expected: dict, *, every: int, limit: float) -> dict:
    """Kill before change 1, 1 + every, ... of the folder until an extraction has no such change."""
    begin, step, done = time.perf_counter(), 1, 0
    while time.perf_counter() - begin < limit:
        rmtree(out, ignore_errors=True)
        if ended(child(lambda step=step: (kill_at(step, out), extract.run(cfg)))):
            break
        ended(child(lambda: extract.run(cfg)))
        compare(out, expected)
        step, done = step + every, done + 1
    return {"kills": done, "last step": step, "every": every}


def main() -> None:
    """Make the films, the uninterrupted folder, and kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--steps", type=int, default=0, help="kill before every STEPS-th change of the folder instead")
    parser.add_argument("--shards", type=int, default=1, help="so many children extract at once")
    parser.add_argument("--seconds", type=float, default=600, help="end after this many at the latest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="of conf/extract.yaml, as in packed=false")
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as name:
        films, out, whole = Path(name) / "films", Path(name) / "killed" / "out", Path(name) / "whole" / "out"
        ended(child(lambda: make_films(films, args.clips)))
        ended(child(lambda: extract.run(extraction(films, whole, *args.overrides))))
        expected = content(whole)
        shards = [f"shard={i + 1}/{args.shards}" for i in range(args.shards)]
        cfgs = [extraction(films, out, *args.overrides, shard) for shard in shards]
        if args.steps:
            result = kills_at_steps(cfgs[0], out, expected, every=args.steps, limit=args.seconds)
        else:
            result = random_kills(cfgs, out, expected, kills=args.kills, seed=args.seed, limit=args.seconds)
    print(json.dumps({"clips": args.clips, **result, "files": len(expected), "differences": 0}))


if __name__ == "__main__":
    main()
