"""`python -m slt.demo model=exports/NAME source=FILM`: films, folders, cameras and a web page, translated."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from slt.commands.film import open_model
from slt.config.checks import check
from slt.config.entry import main
from slt.inference.films import find_films
from slt.inference.sources import Camera
from slt.inference.terminal import show_film, show_films, show_live


@main("demo")
def demo(cfg: DictConfig) -> int:
    """Run; the returned number is the exit status: 2 where films of a folder failed."""
    check(cfg)
    out = Path(cfg.out if cfg.out is not None else os.path.relpath(HydraConfig.get().runtime.output_dir))
    camera = Camera(int(cfg.source), max_fps=cfg.max_fps) if cfg.source and cfg.source.isdecimal() else None
    films = [] if camera or cfg.ui == "web" else find_films(Path(cfg.source))
    if cfg.record is not None and len(films) > 1:
        raise ValueError(f"record={cfg.record}: one film cannot hold {len(films)} sources; give one film as source")
    with open_model(cfg, live=cfg.live or camera is not None) as model:
        # Before anything is read: that the model cannot read films at all is said at once.
        extractor = model.extractor(f"source={cfg.source}" if cfg.ui != "web" else "ui=web")
        print(f"model: {model.about}", flush=True)
        using: dict[str, Any] = {"translator": model.translator, "extractor": extractor, "settings": model.reading}
        if cfg.ui == "web":
            from slt.inference.page.server import Web, serve  # here: only the page needs Gradio

            serve(**using, live=model.live, web=Web(**cfg.web))
        elif camera is not None:
            show_live(camera, **using, live=model.live, out=out)
        else:
            show = partial(show_live, live=model.live) if cfg.live else show_film
            return show_films(films, partial(show, **using, out=out))
    return 0


if __name__ == "__main__":
    demo()
