"""Entry point `python -m slt.extract source=FOLDER out=FOLDER`: films become a corpus in the LSA-T layout.

`check=FOLDER` lists the faults of a corpus instead. Exit status: 0 all well, 1 stopped, or faults found, 2 all is
extracted but clips that failed and are listed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import check
from slt.data.extraction import Outcome, build_extractor, extract_sources
from slt.data.films import find_sources
from slt.data.writer import ClipWriter
from slt.entry import main


def run(cfg: DictConfig) -> Outcome:
    """Extract what `cfg` describes and say what came of it, with a board where there is to be one."""
    check(cfg)
    if cfg.wandb.mode == "disabled":
        return make_corpus(cfg)
    from slt import assemble  # here: it brings torch, which extraction does without

    dashboard = assemble.open_dashboard(cfg, assemble.begin_run(cfg), "extract", uses=lambda: [])
    outcome = make_corpus(cfg)
    dashboard.summary({"extract/clips": outcome.finished, "extract/failed": len(outcome.failures)})
    if not outcome.left:
        for item in assemble.corpus_items(Path(cfg.out)):
            dashboard.makes(item)
    dashboard.close()
    return outcome


def make_corpus(cfg: DictConfig) -> Outcome:
    """Extract what `cfg`, which is checked, describes and print what came of it."""
    sources, faults = find_sources(cfg.source, kind=cfg.kind, **cfg.captions, signer=cfg.signer, boxes=cfg.boxes)
    folders = OmegaConf.to_container(cfg.folders)
    assert isinstance(folders, dict)
    writer = ClipWriter(
        out=Path(cfg.out),
        folders={str(stream): str(folder) for stream, folder in folders.items()},
        **{key: cfg[key] for key in ("packed", "encoding", "quality", "points", "pose_format")},
    )
    make = None
    if cfg.kind == "films":
        make = partial(
            build_extractor, *(instantiate(cfg[key], _convert_="all") for key in ("landmarker", "extractor"))
        )
    outcome = extract_sources(
        sources,
        faults,
        make,
        writer,
        **{key: cfg[key] for key in ("kind", "fps", "max_fps", "max_failures", "workers", "shard")},
        split={str(key): value for key, value in cfg.split.items()},
        report_worst=cfg.report_worst if cfg.report else None,
    )
    for fault in faults:
        if not fault.video_id and not fault.dropped:  # of a whole table: how it was read, what was stripped
            print(f"note: {fault.where}: {fault.reason}")
    if dropped := sum(fault.dropped for fault in faults):
        print(f"left out: {dropped} rows or films; worth a look: {len(faults) - dropped}; see {cfg.out}/faults.csv")
    print(f"{outcome.finished} clips in {cfg.out}" + (f", {len(outcome.failures)} failed:" if outcome.failures else ""))
    for name, reason in outcome.failures.items():
        print(f"  {name}: {reason}")
    if outcome.left:
        print(f"{outcome.left} clips are left to other shards; the last one writes the tables")
    return outcome


def list_faults(folder: Path) -> int:
    """Print all that is wrong with a corpus and return the exit status."""
    from slt.data.checking import check_corpus  # here: it reads with torch, which each extracting process does without

    lines = check_corpus(folder)
    for line in lines:
        print(line)
    faulty = not all(line.startswith("note: ") for line in lines)
    print(f"{folder}: " + ("faults, listed above" if faulty else "no fault"))
    return 1 if faulty else 0


@main("extract")
def extract(cfg: DictConfig) -> int:
    """Run; the returned number is the exit status."""
    if cfg.check is not None:
        check(cfg)
        return list_faults(Path(cfg.check))
    return 2 if run(cfg).failures else 0


if __name__ == "__main__":
    extract()
