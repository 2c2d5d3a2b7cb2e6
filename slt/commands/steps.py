"""The steps from one's own films to a model: each a command, passed over where what it left says that it is done."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from slt.config.messages import in_quotes
from slt.corpora import layout
from slt.extraction.run import read_prints
from slt.extraction.source import Source
from slt.sweeps.status import read_status


@dataclass(frozen=True)
class Step:
    """A command of the suite in a run folder of its own.

    Attributes:
        name: of the command, as in `python -m slt.<name>`.
        overrides: as Hydra reads them.
        folder: of the run; its status.json says how it ended, and with which overrides.
        makes: files that are there once it is done,
        of: ... and are no older than these.
        ends: exit statuses with which it is done.
    """

    name: str
    overrides: tuple[str, ...]
    folder: Path
    makes: tuple[Path, ...]
    of: tuple[Path, ...] = ()
    ends: tuple[int, ...] = (0,)

    @property
    def words(self) -> list[str]:
        return ["-m", f"slt.{self.name}", *self.overrides, written("hydra.run.dir", self.folder)]

    @property
    def command(self) -> str:
        """What a shell runs it by."""
        return shlex.join(["python", *self.words])

    def finished(self) -> bool:
        """Whether it was run as it would be now, ended well, and what it made is there and of what is there now."""
        status = read_status(self.folder)
        if status is None or status.exit not in self.ends or status.overrides != [*self.overrides]:
            return False
        if not all(path.is_file() for path in (*self.makes, *self.of)):
            return False
        made = min(path.stat().st_mtime_ns for path in self.makes)
        return all(path.stat().st_mtime_ns <= made for path in self.of)

    def run(self) -> int:
        """Run it in a process of its own, with this one's screen, and return its exit status.

        Ctrl-C reaches that process too, as does a signal to end, which is handed on: it saves what it has, and ends.
        """
        sys.stdout.flush()
        with subprocess.Popen([sys.executable, *self.words]) as process:
            before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                while True:
                    with suppress(KeyboardInterrupt):
                        return process.wait()
            finally:
                signal.signal(signal.SIGTERM, before)


def written(key: str, value: object) -> str:
    """Return `key=value` as Hydra reads it, in quotes where it needs any."""
    text = str(value)
    return f"{key}={text}" if re.fullmatch(r"[A-Za-z0-9_./:@+-]+", text) else in_quotes(key, text)


def given(cfg: DictConfig, step: str) -> list[str]:
    """Return the user's own overrides of a step."""
    keys: Any = OmegaConf.to_container(cfg[step], resolve=True)
    return overrides_of(keys)


def overrides_of(keys: Mapping[str, Any], above: str = "") -> list[str]:
    """Return nested keys as overrides, each with its dotted name."""
    found: list[str] = []
    for key, value in keys.items():
        if isinstance(value, Mapping):
            found += overrides_of(value, f"{above}{key}.")
        elif isinstance(value, str):
            found.append(written(f"{above}{key}", value))
        else:  # numbers, lists and null are written alike in JSON
            found.append(f"{above}{key}={json.dumps(value, ensure_ascii=False)}")
    return found


def last_of_each(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return overrides without those whose key is given once more after them, which Hydra refuses of a group."""
    return tuple({override.partition("=")[0]: override for override in overrides}.values())


def same_films(corpus: Path, clips: Sequence[Source]) -> bool:
    """Tell whether a corpus was extracted of these clips: their texts, times and the content of their films.

    Clips that failed count as extracted where their film is the same still.
    """
    try:
        texts = {row["video_id"]: row["texto"] for row in layout.read_table(corpus / "subs.csv")}
        rows = [row for _, row, fault in layout.metadata_rows(corpus / "metadata.jsonl") if not fault]
    except (FileNotFoundError, ValueError):
        return False
    made: dict[str, Mapping[str, object]] = {str(row.get("video_id")): row for row in rows}
    prints = read_prints(clips)
    if {clip.video_id for clip in clips} != made.keys():
        return False
    return all(
        made[clip.video_id].get("source", prints[clip.path]) == prints[clip.path]
        and ("failure" in made[clip.video_id] or _same_clip(made[clip.video_id], clip, texts))
        for clip in clips
    )


def _same_clip(row: Mapping[str, object], clip: Source, texts: Mapping[str, str]) -> bool:
    times = (row.get("start"), row.get("end"))
    cut = clip.start is None or times[0] == clip.start, clip.end is None or times[1] == clip.end
    return all(cut) and texts.get(clip.video_id) == clip.text
