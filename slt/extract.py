"""Entry point `python -m slt.extract source=FOLDER out=FOLDER`: films become a corpus in the LSA-T layout.

`check=FOLDER` lists the faults of a corpus instead. Exit status: 0 all well, 1 stopped, or faults found, 2 all is
extracted but clips that failed and are listed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt import Command
from slt.config.checks import board_of, check
from slt.config.entry import main
from slt.extraction.captions import Captions
from slt.extraction.clip import Extraction, build_extractor
from slt.extraction.published import AsPublished, published_sources
from slt.extraction.records import extracted_shares
from slt.extraction.run import Outcome, extract_sources
from slt.extraction.source import Fault, Source
from slt.extraction.sources import Footage, find_sources
from slt.extraction.splitting import Splitting
from slt.extraction.writer import ClipWriter
from slt.streams.seen import seen_faults, seen_lines

Settings = TypeVar("Settings")


def run(cfg: DictConfig) -> Outcome:
    """Extract what `cfg` describes and say what came of it, with a board where there is to be one."""
    check(cfg)
    if board_of(cfg).silent:
        return make_corpus(cfg)
    from slt.config import runs  # here: it brings torch, which extraction does without

    dashboard = runs.open_dashboard(cfg, runs.begin_run(cfg), "extract", uses=lambda: [])
    outcome = make_corpus(cfg)
    dashboard.summary({"extract/clips": outcome.finished, "extract/failed": len(outcome.failures)})
    if not outcome.left:
        for item in runs.corpus_items(Path(cfg.out)):
            dashboard.makes(item)
    dashboard.close()
    return outcome


def _settings(kind: Callable[..., Settings], cfg: DictConfig, **more: Any) -> Settings:
    """Build a dataclass of the keys that have the names of its fields, and of `more`."""
    names = [field.name for field in fields(kind) if field.name not in more]  # type: ignore[arg-type]
    return kind(**{name: cfg[name] for name in names}, **more)


def find_clips(cfg: DictConfig) -> tuple[list[Source], list[Fault], Splitting | AsPublished]:
    """Find what there is to extract, by captions or by a published corpus, what is amiss, and the splits."""
    footage = _settings(Footage, cfg)
    if cfg.dataset is None:
        return *find_sources(cfg.source, footage, _settings(Captions, cfg.captions)), _settings(Splitting, cfg.split)
    if "corpus" not in cfg.dataset:
        raise ValueError("dataset: one with a reader of what authors publish expected, as dataset=how2sign")
    if cfg.kind != "films" or cfg.captions.path is not None:
        raise ValueError("dataset says which clips of which films there are; leave out captions.path and kind")
    corpus = instantiate(cfg.dataset.corpus, _convert_="all")(Path(cfg.dataset.root))
    return published_sources(Path(cfg.source), footage, corpus, nobody=cfg.split.nobody)


def make_corpus(cfg: DictConfig) -> Outcome:
    sources, faults, splitting = find_clips(cfg)
    folders: Any = OmegaConf.to_container(cfg.folders)
    make = None
    if cfg.kind == "films":
        built = (instantiate(cfg[key], _convert_="all") for key in ("landmarker", "extractor"))
        make = partial(build_extractor, *built)
    writer = _settings(ClipWriter, cfg, out=Path(cfg.out), folders=folders)
    how = _settings(Extraction, cfg, report_worst=cfg.report_worst if cfg.report else None)
    outcome = extract_sources(sources, faults, make, writer, how, splitting)
    _say(cfg, faults, outcome)
    if not outcome.left:
        say_seen(Path(cfg.out) / "metadata.jsonl", cfg.min_seen)
    return outcome


def _say(cfg: DictConfig, faults: Sequence[Fault], outcome: Outcome) -> None:
    for fault in faults:
        if not fault.video_id and not fault.dropped:  # of a whole table: how it was read, what was stripped
            print(f"note: {fault.where}: {fault.reason}")
    if dropped := sum(fault.dropped for fault in faults):
        print(f"left out: {dropped} rows or films; worth a look: {len(faults) - dropped}; see {cfg.out}/faults.csv")
    print(f"{outcome.finished} clips in {cfg.out}" + (f", {len(outcome.failures)} failed:" if outcome.failures else ""))
    for name, reason in outcome.failures.items():
        print(f"  {name}: {reason}")
    if outcome.nobody:
        first = ", ".join(outcome.nobody[:10]) + (", ..." if len(outcome.nobody) > 10 else "")
        kept = "" if cfg.split.nobody else ", which are in no split (split.nobody=true takes them)"
        print(f"no person is found in {len(outcome.nobody)} clips{kept}: {first}; see {cfg.out}/faults.csv")
    if outcome.left and cfg.shard:
        print(f"{outcome.left} clips are left to other shards; the last one writes the tables")
    elif outcome.left:
        print(f"{outcome.left} clips are of films that changed meanwhile: start again to extract them anew")


def say_seen(metadata: Path, min_seen: float) -> None:
    """Print in what share of the frames a model will see each stream, and which points the sources do not have."""
    shares, missing, several = extracted_shares(metadata)
    for line in seen_lines(shares) + seen_faults(shares, min_seen, key="min_seen"):
        print(line)
    if several:
        print(f"{len(several)} clips (first: {several[0]}) show several people: the largest and surest one was taken")
    sets: dict[tuple[str, ...], list[str]] = {}
    for name, clips in missing.items():
        sets.setdefault(tuple(clips), []).append(name)
    for ids, names in sets.items():
        print(f"points that {len(ids)} clips (first: {ids[0]}) do not have and no model sees: {', '.join(names)}")


def list_faults(folder: Path, min_seen: float) -> int:
    """Print all that is wrong with a corpus and return the exit status."""
    from slt.corpora.checking import check_corpus  # here: it reads with torch, which extracting does without

    lines = check_corpus(folder, min_seen=min_seen)
    for line in lines:
        print(line)
    faulty = not all(line.startswith("note: ") for line in lines)
    print(f"{folder}: " + ("faults, listed above" if faulty else "no fault"))
    return 1 if faulty else 0


@main("extract")
def extract(cfg: DictConfig) -> int:
    if cfg.check is not None:
        check(cfg)
        return list_faults(Path(cfg.check), cfg.min_seen)
    return 2 if run(cfg).failures else 0


if __name__ == "__main__":
    extract()
else:
    sys.modules[__name__].__class__ = Command
