"""`python -m slt.demo model=exports/NAME source=FILM`: films, folders, cameras and a web page, translated."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config.checks import check
from slt.config.entry import main
from slt.extraction.regions import Extractor
from slt.inference.films import find_films
from slt.inference.live import Live
from slt.inference.open import Opened, fit_extractor, open_translator, refuse_unfit, share_cores
from slt.inference.session import Reading
from slt.inference.sources import Camera
from slt.inference.terminal import show_film, show_films, show_live

log = logging.getLogger(__name__)


def build_extractor(cfg: DictConfig, opened: Opened) -> Extractor:
    """Open the extractor that cut the model's training clips, as far as the model knows it, else that of `cfg`."""
    keys = [OmegaConf.to_container(cfg[group], resolve=True) for group in ("landmarker", "extractor")]
    *fitted, changed = fit_extractor(opened.extractor_settings, *keys)  # type: ignore[arg-type]
    if changed:
        log.info("as for the model's training clips: %s", ", ".join(changed))
    landmarker, extractor = (instantiate(node, _convert_="all") for node in fitted)
    made: Extractor = extractor(landmarker())
    trained = str((opened.extractor_settings or {}).get("name"))
    if trained.startswith("slt-") and trained != made.name:
        log.warning(
            "the model's training clips were made by %s: set extractor=%s", trained, trained.removeprefix("slt-")
        )
    where = f"source={cfg.source}" if cfg.ui != "web" else "ui=web"
    refuse_unfit(opened.translator, made, where=where, allowed=cfg.other_extractor)
    made.signer = cfg.signer  # whose hands are cut out is chosen here; how they are cut is as in training
    return made


def rebuild(checkpoint: Path, trust: Sequence[str] = ()) -> Any:
    """Make a model of a checkpoint; `trust` as in `slt.config.build.restore`."""
    from slt.commands.export import open_run  # here: an exported folder needs no torch

    return open_run(checkpoint, trust=trust)[0]


@main("demo")
def demo(cfg: DictConfig) -> int:
    """Run; the returned number is the exit status: 2 where films of a folder failed."""
    check(cfg)
    out = Path(cfg.out if cfg.out is not None else os.path.relpath(HydraConfig.get().runtime.output_dir))
    camera = Camera(int(cfg.source), max_fps=cfg.max_fps) if cfg.source and cfg.source.isdecimal() else None
    films = [] if camera or cfg.ui == "web" else find_films(Path(cfg.source))
    keys: Any = OmegaConf.to_container(cfg, resolve=True)
    settings, live = Reading.of(keys), Live.of(keys)
    if live.record is not None and len(films) > 1:
        raise ValueError(f"record={live.record}: one film cannot hold {len(films)} sources; give one film as source")
    options = {key: cfg[key] for key in ("encoder", "tokenizer", "device")}
    options["threads"] = share_cores(cfg.threads, live=cfg.live or camera is not None)
    opened = open_translator(
        Path(cfg.model), **options, search=settings.search, rebuild=partial(rebuild, trust=cfg.trust)
    )
    opened.translator.refuse_abstaining(settings.abstain, **settings.search)
    extractor = build_extractor(cfg, opened)
    print(f"model: {opened.about}", flush=True)
    using: dict[str, Any] = {"translator": opened.translator, "extractor": extractor, "settings": settings}
    try:
        if cfg.ui == "web":
            from slt.inference.page.server import Web, serve  # here: only the page needs Gradio

            serve(**using, live=live, web=Web(**cfg.web))
        elif camera is not None:
            show_live(camera, **using, live=live, out=out)
        else:
            show = partial(show_live, live=live) if cfg.live else show_film
            return show_films(films, partial(show, **using, out=out))
        return 0
    finally:
        extractor.landmarker.close()


if __name__ == "__main__":
    demo()
