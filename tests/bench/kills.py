"""Does what was killed end as what was not? `python tests/bench/kills.py --what train --kills 200`.

Children of this process do one thing and are killed (SIGKILL) at random moments; the next one goes on. One that comes
to its end is compared with an uninterrupted one, and all begins anew. With `--steps`, instead, a child is killed before
each single change of the output folder in turn, and the next one runs to its end.

- `extract`: twenty small films, with a landmarker stub; byte for byte except for `seconds`.
- `train`, `pretrain`: some steps with an evaluation after each, by the real entry point, in a folder of their own with
  `resume=auto`; every tensor and value of the checkpoints (weights, optimizer, random states), metrics.csv but for the
  values that measure time, predictions, scores, the backbone, byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import rmtree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from bench.landmarker_stub import write_film
from conftest import CORPUS, TINY
from hydra import compose, initialize_config_dir
from test_pretrain import SMALL

from slt import extract, pretrain, train
from slt.config.checks import CONF
from slt.corpora import layout
from slt.sweeps.status import read_status
from slt.synthetic import corpus_folder
from slt.training.checkpoint import load_checkpoint

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
QUICK = ("evaluation.blanked=false", "evaluation.report_strips=0", "evaluation.bootstrap=10")
STEPS = ("max_steps=5", "eval_every=1", "log_every=1", "resume=auto", "hydra.run.dir=run")
# What says when and where, or draws what took how long.
TIMED = ("train.log", "pretrain.log", "status.json", "origin.json", "curves.png", "report.html", "hydra.yaml")
Content = Callable[[Path], dict[str, object]]
Work = Callable[[], object]


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


def training(what: str, corpus: Path, home: Path, *overrides: str) -> Work:
    """Return what runs a training or pretraining in the folder `run` of `home`."""
    entry, words = {
        "train": (train.train, [*TINY, *QUICK, f"dataset.root={corpus}"]),
        "pretrain": (pretrain.pretrain, [*SMALL, f"dataset.root={corpus}", f"probe.dataset.root={corpus}"]),
    }[what]

    def work() -> None:
        home.mkdir(parents=True, exist_ok=True)
        os.chdir(home)
        sys.argv = [f"slt.{what}", *words, *STEPS, *overrides]
        entry()

    return work


def child(work: Work) -> int:
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
        named = args and isinstance(args[0], (str, Path)) and os.path.abspath(args[0]).startswith(str(out))
        inside = named or (event in CHANGES[1:3] and args[1] != -1)
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


def plain(value: object) -> object:
    """Return a checkpoint's value with bytes for each tensor, so that it can be compared."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def trained(folder: Path) -> dict[str, object]:
    """Return what each file of a run says, whatever the time it took."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".pt":
            found |= {f"{name}:{key}": plain(value) for key, value in load_checkpoint(path).items()}
        elif path.name == "metrics.csv":
            rows = list(csv.reader(path.open(encoding="utf-8")))
            found[name] = [row[:2] if row[1].endswith(("_per_second", "data_wait")) else row for row in rows]
        elif path.is_file() and path.name not in TIMED:
            found[name] = path.read_bytes()
    found["state"] = getattr(read_status(folder), "state", None)
    return found


def compare(out: Path, expected: dict, content: Content) -> None:
    """Stop with the names of the files that differ."""
    came = content(out)
    if differ := sorted(name for name in {*came, *expected} if came.get(name) != expected.get(name)):
        raise SystemExit(f"after the kills {len(differ)} files differ: {differ[:10]}")


def random_kills(
    works: list[Work], out: Path, expected: dict, content: Content, *, kills: int, seed: int, limit: float
) -> dict:
    """Kill children, one a shard, at random moments until there were `kills`, or `limit` seconds are over."""
    begin = time.perf_counter()
    for work in works:
        ended(child(work))
    whole = time.perf_counter() - begin
    compare(out, expected, content)
    rmtree(out)
    dice, done, ends, left = random.Random(seed), 0, 0, list(works)
    while done < kills and time.perf_counter() - begin < limit:
        at_once = {child(work): work for work in left}
        for pid, work in at_once.items():
            time.sleep(dice.uniform(0, 0.6 * whole / len(works)))
            os.kill(pid, signal.SIGKILL)
            if ended(pid):
                left.remove(work)
            else:
                done += 1
                if (found := read_status(out)) and found.state == "unknown":
                    raise SystemExit(f"after kill {done}: {found.failure}")
        if not left:
            compare(out, expected, content)
            ends, left = ends + 1, list(works)
            rmtree(out)
    for work in left:
        ended(child(work))
    compare(out, expected, content)
    return {"kills": done, "ends compared": ends + 2, "one takes s": round(whole, 2)}


def kills_at_steps(work: Work, out: Path, expected: dict, content: Content, *, every: int, limit: float) -> dict:
    """Kill before change 1, 1 + every, ... of the folder until there is no such change."""
    begin, step, done = time.perf_counter(), 1, 0
    while time.perf_counter() - begin < limit:
        rmtree(out, ignore_errors=True)
        if ended(child(lambda step=step: (kill_at(step, out), work()))):
            break
        ended(child(work))
        compare(out, expected, content)
        step, done = step + every, done + 1
    return {"kills": done, "last step": step, "every": every}


def main() -> None:
    """Make what is worked on and the uninterrupted folder, and kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["extract", "train", "pretrain"], default="extract")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clips", type=int, default=20, help="films of an extraction")
    parser.add_argument("--steps", type=int, default=0, help="kill before every STEPS-th change of the folder instead")
    parser.add_argument("--shards", type=int, default=1, help="so many children extract at once")
    parser.add_argument("--seconds", type=float, default=600, help="end after this many at the latest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="of conf/extract.yaml and so on, as in packed=false")
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as name:
        home, made = Path(name), Path(name) / "made"
        if args.what == "extract":
            ended(child(lambda: make_films(made, args.clips)))
            read, place = content, "out"

            def works(to: str) -> list[Work]:
                shards = [[f"shard={i + 1}/{args.shards}"] if to == "killed" else [] for i in range(args.shards)]
                cfgs = [extraction(made, home / to / place, *args.overrides, *shard) for shard in shards]
                return [partial(extract.run, cfg) for cfg in cfgs]
        else:
            ended(child(lambda: corpus_folder(cache=str(made), **CORPUS)))
            (corpus,) = (path for path in made.iterdir() if path.is_dir())
            read, place = trained, "run"

            def works(to: str) -> list[Work]:
                return [training(args.what, corpus, home / to, *args.overrides)]

        ended(child(works("whole")[0]))
        expected, out, todo = read(home / "whole" / place), home / "killed" / place, works("killed")
        if args.steps:
            result = kills_at_steps(todo[0], out, expected, read, every=args.steps, limit=args.seconds)
        else:
            result = random_kills(todo, out, expected, read, kills=args.kills, seed=args.seed, limit=args.seconds)
    print(json.dumps({"what": args.what, **result, "compared": len(expected), "differences": 0}))


if __name__ == "__main__":
    main()
