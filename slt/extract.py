"""Entry point `python -m slt.extract source=FOLDER out=FOLDER`: films become a corpus in the LSA-T layout."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import check, main
from slt.data.extraction import ClipWriter, extract_films
from slt.data.films import find_films


def run(cfg: DictConfig) -> dict[str, str]:
    """Extract what `cfg` describes and return what failed: id -> reason."""
    check(cfg)
    films = find_films(cfg.source, cfg.captions.path, unquoted=cfg.captions.unquoted)
    folders = OmegaConf.to_container(cfg.folders)
    assert isinstance(folders, dict)
    writer = ClipWriter(
        Path(cfg.out),
        {str(stream): str(folder) for stream, folder in folders.items()},
        packed=cfg.packed,
        encoding=cfg.encoding,
        quality=cfg.quality,
    )
    landmarker = instantiate(cfg.landmarker)
    try:
        failures = extract_films(
            films,
            instantiate(cfg.extractor)(landmarker),
            writer,
            fps=cfg.fps,
            max_fps=cfg.max_fps,
            split={str(key): value for key, value in cfg.split.items()},
            max_failures=cfg.max_failures,
        )
    finally:
        landmarker.close()
    print(f"{len(films) - len(failures)} clips in {cfg.out}" + (f", {len(failures)} failed:" if failures else ""))
    for name, reason in failures.items():
        print(f"  {name}: {reason}")
    return failures


@main("extract")
def extract(cfg: DictConfig) -> None:
    """Run, and leave with status 1 where a film failed."""
    if run(cfg):
        sys.exit(1)


if __name__ == "__main__":
    extract()
