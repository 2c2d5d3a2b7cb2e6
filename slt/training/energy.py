"""What a training takes of electricity, by the processor's own counters (RAPL), where the system lets them be read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slt.files import read_json, write_json
from slt.training import processes

FILE = "energy.json"  # of a run folder: {"joules": {source: joules}}
COUNTERS = Path("/sys/class/powercap")
EVERY = 30.0  # seconds; a counter begins again after its range, of 262 kJ on many: 15 minutes at 300 W


@contextmanager
def metered(run: Path, counters: Path = COUNTERS, every: float = EVERY) -> Iterator[None]:
    """Measure what the machine's processors take while the block runs, and add it to `energy.json`, if it can be read.

    They are the whole machine's, with whatever else runs on it; no GPU is measured. On most systems only root may read
    them: then no file is written, and nothing is guessed.
    """
    zones = [zone for zone in sorted(counters.glob("intel-rapl:*")) if zone.name.count(":") == 1 and _read(zone) >= 0]
    if not zones or not processes.first():
        yield
        return
    taken, stop = dict.fromkeys(zones, 0), threading.Event()
    last = {zone: _read(zone) for zone in zones}

    def look() -> None:
        for zone in zones:
            if (now := _read(zone)) >= 0:
                step = now - last[zone]
                taken[zone] += step if step >= 0 else step + _read(zone, "max_energy_range_uj")
                last[zone] = now

    def watch() -> None:
        while not stop.wait(every):
            look()

    thread = threading.Thread(target=watch, name="energy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()
        path = run / FILE
        before = read_json(path)["joules"] if path.is_file() else {}  # of a run that goes on in its folder
        found = {(zone / "name").read_text(encoding="utf-8").strip(): joules / 1e6 for zone, joules in taken.items()}
        write_json(path, {"joules": {name: before.get(name, 0.0) + joules for name, joules in found.items()}})


def _read(zone: Path, counter: str = "energy_uj") -> int:
    """Return a counter in microjoules, -1 where it cannot be read."""
    with suppress(OSError, ValueError):
        return int((zone / counter).read_text(encoding="utf-8"))
    return -1
