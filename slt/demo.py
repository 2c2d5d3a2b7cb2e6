"""`python -m slt.demo model=exports/NAME source=FILM`: films, folders, cameras and a web page, translated."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import check, main
from slt.data.rois import Extractor
from slt.realtime.films import FilmSettings, find_films
from slt.realtime.models import Opened, fit_extractor, open_translator, refuse_unfit
from slt.realtime.segments import Segmentation
from slt.realtime.showing import show_films, show_live
from slt.realtime.sources import Camera, LiveSource, PacedFilm

if TYPE_CHECKING:
    from slt.exporting.trained import Trained

log = logging.getLogger(__name__)


def build_extractor(cfg: DictConfig, opened: Opened) -> Extractor:
    """Open the extractor that cut the model's training clips, as far as the model knows it, else that of `cfg`."""
    keys = [OmegaConf.to_container(cfg[group], resolve=True) for group in ("landmarker", "extractor")]
    *fitted, changed = fit_extractor(opened.extractor_settings, *keys)  # type: ignore[arg-type]
    if changed:
        log.info("as for the model's training clips: %s", ", ".join(changed))
    landmarker, extractor = (instantiate(node, _convert_="all") for node in fitted)
    made: Extractor = extractor(landmarker())
    where = f"source={cfg.source}" if cfg.ui != "web" else "ui=web"
    refuse_unfit(opened.translator, made, box=cfg.box, where=where, allowed=cfg.other_extractor)
    return made


def rebuild(checkpoint: Path) -> Trained:
    """Make a model of a checkpoint."""
    from slt.export import open_run  # here: an exported folder needs no torch

    return open_run(checkpoint)[0]


@main("demo")
def demo(cfg: DictConfig) -> int:
    """Run; the returned number is the exit status: 2 where films of a folder failed."""
    check(cfg)
    run = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
    out = Path(cfg.out) if cfg.out is not None else run
    camera = cfg.source is not None and cfg.source.isdecimal()
    films = [] if camera or cfg.ui == "web" else find_films(Path(cfg.source))
    sources: list[LiveSource] = [Camera(int(cfg.source), max_fps=cfg.max_fps)] if camera else []
    if cfg.live:
        sources += [PacedFilm(path, fps=cfg.fps, max_fps=cfg.max_fps) for path in films]
    settings = FilmSettings(
        **{key: cfg[key] for key in ("fps", "max_fps", "segments", "whole_seconds", "draw")},
        segmentation=Segmentation(**cfg.segment), search=dict(cfg.search),
        box=None if cfg.box is None else tuple(cfg.box),
    )  # fmt: skip
    opened = open_translator(
        Path(cfg.model), **{key: cfg[key] for key in ("encoder", "tokenizer", "device", "threads")}, rebuild=rebuild
    )
    extractor = build_extractor(cfg, opened)
    print(f"model: {opened.about}")
    try:
        if cfg.ui == "web":
            from slt.realtime.web import serve  # here: only the page needs Gradio

            serve(opened.translator, extractor, settings, **cfg.web)
        elif sources:
            show_live(
                sources, opened.translator, extractor, settings=settings, out=out,
                record=None if cfg.record is None else Path(cfg.record),
                **{key: cfg[key] for key in ("partial_seconds", "queue", "headless", "panel")},
            )  # fmt: skip
        else:
            return show_films(films, opened.translator, extractor, settings=settings, out=out)
        return 0
    finally:
        extractor.landmarker.close()


if __name__ == "__main__":
    demo()
