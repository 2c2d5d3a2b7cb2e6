"""What reads films for a model out of a configuration: the model itself, and the extractor of its training clips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.extraction.regions import Extractor
from slt.inference.live import Live
from slt.inference.model import Model
from slt.inference.open import Opened, fit_extractor, open_translator, share_cores
from slt.inference.session import Reading

log = logging.getLogger(__name__)


def open_model(cfg: DictConfig, *, live: bool = False) -> Model:
    """Open the model of `conf/demo.yaml`; `live` leaves cores to the landmarkers beside it."""
    keys: Any = OmegaConf.to_container(cfg, resolve=True)
    reading = Reading.of(keys)
    options = {key: cfg[key] for key in ("encoder", "tokenizer", "device")}
    options["threads"] = share_cores(cfg.threads, live=live)
    opened = open_translator(
        Path(cfg.model), **options, search=reading.search, rebuild=partial(rebuild, trust=cfg.trust)
    )
    opened.translator.refuse_abstaining(reading.abstain, **reading.search)
    return Model(
        opened.translator, reading, Live.of(keys), opened.about, partial(build_extractor, cfg, opened),
        cfg.other_extractor,
    )  # fmt: skip


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
    made.signer = cfg.signer  # whose hands are cut out is chosen here; how they are cut is as in training
    return made


def rebuild(checkpoint: Path, trust: Sequence[str] = ()) -> Any:
    """Make a model of a checkpoint; `trust` as in `slt.config.build.restore`."""
    from slt.commands.export import open_run  # here: an exported folder needs no torch

    return open_run(checkpoint, trust=trust)[0]
