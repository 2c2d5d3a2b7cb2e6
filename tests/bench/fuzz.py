"""Does every damaged input end well, or in one message? `python tests/bench/fuzz.py --inputs 30000 --seconds 900`.

Each input is a good file of its kind with seeded damage (`fuzz_mutations.py`), given to the functions that the entry
points call (`fuzz_targets.py`) in a worker that was imported once. It must end in success or in one of the errors that
an entry point turns into a message, which names the file; without another traceback, without 20 s or 2 GB being passed,
with nothing executed, and with every file as it was. The table counts inputs by kind; faults are listed once for
each place in slt that they come from, and `--replay "KIND 17"` shows one with its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from bench.fuzz_mutations import CANARY  # noqa: E402
from bench.fuzz_seeds import make_seeds  # noqa: E402
from bench.fuzz_targets import targets  # noqa: E402
from bench.fuzz_watch import Watch, peak, state  # noqa: E402

WALL, MEMORY = 20.0, 2 * 2**30  # seconds and bytes that no input may pass


# ---------------------------------------------------------------- one input


def place_of(error: BaseException) -> str:
    """Return the innermost function of slt that an error came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/slt/" in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"


def names_one(text: str, folder: Path) -> bool:
    """Tell whether a message names a file of the input, a clip, a folder that is one, or `source=`, which is empty."""
    paths = list(folder.rglob("*"))
    names = {path.name for path in paths if path.is_file()}
    names |= {str(path) for path in paths} | {path.stem for path in paths if path.stem[:5] in ("clip_", "film_")}
    return any(name in text for name in names) or text.startswith(f"source={folder}: ")


def judge(error: BaseException, command: str, folder: Path, named: bool) -> tuple[str, str, str]:
    """Return (outcome, key, text): `message` where an entry point would have said it in one, else `fault`."""
    from slt.config.entry import USER_ERRORS
    from slt.config.messages import explain

    where = f"{type(error).__name__} in {place_of(error)}"
    if not isinstance(error, USER_ERRORS):
        return "fault", where, str(error)[:300]
    try:
        text = explain(error, command)
    except Exception as again:
        return "fault", f"explain: {type(again).__name__} of {where}", str(error)[:300]
    if not text.strip() or len(text) > 8_000:
        return "fault", f"message of {len(text)} signs: {where}", text[:300]
    if named and not names_one(text, folder):
        return "fault", f"names no file: {where}", text[:300]
    return "message", where, text[:300]


def one(target, command: str, read, folder: Path, before: dict[str, bytes], watch: Watch) -> tuple[str, str, str]:
    """Read a damaged folder, whose files are `before`; return (outcome, key, text)."""
    peak()
    watch.seen.clear()
    watch.on = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(folder)
        found = ("success", "", "")
    except BaseException as error:
        watch.on = False
        found = judge(error, command, folder, target.names)
        if os.environ.get("FUZZ_SHOW"):
            traceback.print_exc()
    watch.on = False
    took = peak()
    if watch.seen or Path(CANARY).exists():
        Path(CANARY).unlink(missing_ok=True)
        what = (watch.seen or [CANARY])[0].split()[0]
        return "fault", f"executed: {what} after {found[1]}", "; ".join(watch.seen) + found[2]
    if took > MEMORY:
        return "fault", f"memory of over 2 GB: {command}, {found[1]}", f"{took / 2**30:.1f} GB; {found[2]}"
    after = state(folder)
    if changed := sorted(name for name, value in before.items() if after.get(name) != value):
        return "fault", f"changed {Path(changed[0]).suffix} of its input: {command}", str(changed)
    return found


def handle(kind: str, number: int, seed: int, work: Path, watch: Watch, good: dict[str, dict[str, bytes]]) -> dict:
    """Damage one input, read it in each of its ways, and put back what was damaged."""
    target = targets()[kind]
    folder = work / target.folder
    if target.folder not in good:
        good[target.folder] = state(folder)
    before = good[target.folder]
    dice = random.Random(f"{seed}:{kind}:{number}")
    with contextlib.suppress(RecursionError):  # a value nested too deep to be written leaves half a file
        target.damage(dice, folder)
    damaged = state(folder)
    changed = sorted(name for name, data in damaged.items() if before.get(name) != data)
    (work / "changed").write_text("\n".join(str(Path(target.folder) / name) for name in changed))
    outcomes = [one(target, command, read, folder, damaged, watch) for command, read in target.reads]
    (work / "changed").write_text("")
    kept = changed if any(outcome[0] == "fault" for outcome in outcomes) else []
    for name in kept:
        (work / "kept").mkdir(exist_ok=True)
        shutil.copyfile(folder / name, work / "kept" / Path(name).name)
    for name, data in state(folder).items():
        if name not in before:
            (folder / name).unlink()
        elif data != before[name]:
            (folder / name).write_bytes(before[name])
    for name in before:
        if not (folder / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(before[name])
    return {"outcomes": outcomes, "kept": kept, "grown": peak() > MEMORY * 3 / 4}


def worker(seeds: Path, work: Path, seed: int) -> None:
    """Read `kind number` lines, answer with one line of JSON each; all else that is printed goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    if not os.environ.get("FUZZ_SHOW"):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    for name in seeds.iterdir():
        if name.is_dir() and not (work / name.name).exists():
            shutil.copytree(name, work / name.name, symlinks=True)
    os.chdir(work)
    (work / "modules").mkdir(exist_ok=True)
    (work / "modules" / "fuzz_canary.py").write_text(f"def touch(*_, **__):\n    open({CANARY!r}, 'w').close()\n")
    sys.path.append(str(work / "modules"))
    import torch

    torch.set_num_threads(1)
    platform.processor()  # asks `uname` once
    watch = Watch(work)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + 6 * 2**30,) * 2)  # so that the machine outlives what is found
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    good: dict[str, dict[str, bytes]] = {}
    for line in sys.stdin:
        kind, _, number = line.strip().rpartition(" ")
        print(json.dumps(handle(kind, int(number), seed, work, watch, good)), file=answers, flush=True)


# ---------------------------------------------------------------- all inputs


class Place:
    """A worker and the parent's end of it; one that hangs or dies is replaced."""

    def __init__(self, seeds: Path, work: Path, seed: int) -> None:
        self.seeds, self.work, self.seed = seeds, work, seed
        self.process, self.taken = None, 0.0

    def start(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        (self.work / "tmp").mkdir()
        command = [sys.executable, str(HERE), "--worker", str(self.seeds), str(self.work), str(self.seed)]
        own = {"TMPDIR": str(self.work / "tmp"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=os.environ | own, **pipes)

    def ask(self, kind: str, number: int) -> dict:
        """Have one input read; a hang or a crash is an outcome too."""
        fresh = self.process is None
        if fresh:
            self.start()
        process = self.process
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{kind} {number}\n")
            process.stdin.flush()
        # A worker that was just started imports torch first; on a machine that is at work elsewhere, the processor's
        # time counts and not the clock's.
        begin, limit = time.monotonic(), WALL + (100 if fresh else 0)
        self.taken = 0.0
        self.taken = self.busy()
        while True:
            ready, _, _ = select.select([process.stdout], [], [], 1.0)
            if ready:
                break
            waited = time.monotonic() - begin
            if waited > limit and (self.busy() > WALL / 2 or waited > 4 * limit):
                break
        line = process.stdout.readline() if ready else ""
        if line:
            answer = json.loads(line)
            if answer["grown"]:  # by thousands of inputs: none of them is to blame
                self.process.stdin.close()
                self.process.wait()
                self.process = None
            return answer
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5 if ready else 0)
        process.kill()
        status = process.wait()
        self.process = None
        what = f"crash, status {status}" if ready else "hang of over 20 s"
        changed = self.work / "changed"
        kept = changed.read_text().split("\n") if changed.is_file() else []
        return {"outcomes": [("fault", f"{what}: {kind}", "")], "kept": kept, "died": True}

    def busy(self) -> float:
        """Return the seconds of processor that the worker has taken since this input was handed to it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") - self.taken

    def keep(self, answer: dict, folder: Path) -> None:
        """Copy the damaged files of a fault to where they are kept."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in filter(None, answer["kept"]):
            path = self.work / name if answer.get("died") else self.work / "kept" / Path(name).name
            if path.is_file():
                shutil.copyfile(path, folder / path.name)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def main() -> None:
    """Make the seeds, damage and read them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=30_000)
    parser.add_argument("--seconds", type=float, default=900, help="end after this many at the latest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds of input, separated by commas; a word stands for all with it")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=Path, help="folder of good inputs, made where it is not there; kept")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_faults"), help="folder for inputs that show a fault")
    parser.add_argument("--replay", default="", help="one input, as in 'mp4 17', with its traceback")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        seeds = (args.seeds or Path(name) / "seeds").resolve()
        if not (seeds / "export").is_dir():
            seeds.mkdir(parents=True, exist_ok=True)
            make_seeds(seeds, Path(name) / "log")
        if args.replay:
            os.environ["FUZZ_SHOW"] = "1"
            place = Place(seeds, Path(name) / "work", args.seed)
            kind, _, number = args.replay.rpartition(" ")
            print(json.dumps(place.ask(kind, int(number)), indent=1))
            place.close()
            return
        report(*run(args, seeds, Path(name)), args)


def run(args: argparse.Namespace, seeds: Path, folder: Path) -> tuple[dict, dict, float]:
    """Return the counts by kind, the faults by key, and the seconds that it took."""
    kinds = {k: t for k, t in targets().items() if not args.only or any(part in k for part in args.only.split(","))}
    order = random.Random(args.seed).choices(list(kinds), [t.weight for t in kinds.values()], k=args.inputs)
    numbers: Counter[str] = Counter()
    work = []
    for kind in order:
        work.append((kind, numbers[kind]))
        numbers[kind] += 1
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    faults: dict[tuple[str, str], list] = {}
    begin, lock, queue = time.monotonic(), threading.Lock(), iter(work)

    def serve(place: Place) -> None:
        while time.monotonic() - begin < args.seconds:
            with lock:
                item = next(queue, None)
            if item is None:
                break
            asked = time.monotonic()
            answer = place.ask(*item)
            with lock:
                counts[item[0]]["ms"] += round(1000 * (time.monotonic() - asked))
                note(place, item, answer)
        place.close()

    def note(place: Place, item: tuple[str, int], answer: dict) -> None:
        kind, number = item
        outcomes = [tuple(each) for each in answer["outcomes"]]
        rank = {"fault": 0, "message": 1, "success": 2}
        counts[kind][min((o[0] for o in outcomes), key=rank.__getitem__)] += 1
        counts[kind]["inputs"] += 1
        for _, key, text in (o for o in outcomes if o[0] == "fault"):
            if (kind, key) not in faults:
                where = args.keep / re.sub(r"\W+", "_", f"{kind}_{number}_{key}")[:100]
                place.keep(answer, where)
                (where / "said.txt").write_text(f"{kind} {number}\n{key}\n{text}\n", encoding="utf-8", errors="replace")
                faults[kind, key] = [0, number, text, where]
            faults[kind, key][0] += 1

    places = [Place(seeds, folder / f"work{n}", args.seed) for n in range(args.jobs)]
    threads = [threading.Thread(target=serve, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts, faults, time.monotonic() - begin


def report(counts: dict, faults: dict, seconds: float, args: argparse.Namespace) -> None:
    """Print the table of what was tried, and the faults."""
    columns = ("inputs", "success", "message", "fault")
    total = sum(counts.values(), Counter())
    print(f"seed {args.seed}, {total['inputs']} inputs in {seconds:.0f} s, {args.jobs} workers\n")
    print("| kind of input | inputs | read | one message | faults | ms each |\n|---|---|---|---|---|---|")
    for kind, found in [*counts.items(), ("**all**", total)]:
        print(f"| {kind} | " + " | ".join(str(found[column]) for column in columns), end="")
        print(f" | {found['ms'] / max(found['inputs'], 1):.0f} |")
    for (kind, key), (count, number, text, where) in sorted(faults.items()):
        print(f"\n{kind}: {key} ({count} times), --replay '{kind} {number}', {where}\n    {text[:200]}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
