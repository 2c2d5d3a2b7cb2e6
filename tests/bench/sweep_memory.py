"""Does memory grow from job to job of a sweep? `python tests/bench/sweep_memory.py --jobs 6`.

A sweep of `slt.train` in this process, over seeds; the resident memory is read where each job begins.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from slt.config import runs
from slt.train import train

SMALL = ("max_steps=3", "eval_every=3", "device=cpu", "evaluation.bootstrap=20", "num_workers=0")


def resident() -> float:
    """Return what this process holds in memory, in MiB, without pages of files, which go when others want the room."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def main() -> None:
    """Run the sweep and print what was resident at each job's beginning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("overrides", nargs="*", default=SMALL, help="of conf/train.yaml")
    args = parser.parse_intermixed_args()
    begin, found = runs.begin_run, []

    def measured(cfg: object) -> Path:
        found.append(round(resident()))
        return begin(cfg)

    runs.begin_run = measured
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["slt.train", "-m", *args.overrides, f"seed=range({args.jobs})", f"hydra.sweep.dir={folder}/sweep"]
        with contextlib.redirect_stdout(sys.stderr):
            train()
    print(json.dumps({"MiB at each job's beginning": found}))


if __name__ == "__main__":
    main()
