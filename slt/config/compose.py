"""A command's configuration out of Python's keywords, typed and checked as the command line's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slt.config.checks import CONF
from slt.config.messages import explain


def composed(command: str, keys: Mapping[str, Any]) -> DictConfig:
    """Return `conf/<command>.yaml` with some of its keys given; those that are None stay as that file says.

    Args:
        command: as in `python -m slt.<command>`.
        keys: by name, those of a section as a mapping (`search={"num_beams": 4}`); a group's option by its name
            (`extractor="rtmw"`).

    Raises:
        ValueError: no such key or option, or a value of another type.
    """
    given = {key: str(value) if isinstance(value, Path) else value for key, value in keys.items() if value is not None}
    chosen = {key: value for key, value in given.items() if isinstance(value, str) and (CONF / key).is_dir()}
    try:
        with hydra.initialize_config_dir(str(CONF), version_base=None):  # whatever Hydra was about stays as it was
            cfg = hydra.compose(command, overrides=[f"{group}={option}" for group, option in chosen.items()])
        for key in given.keys() - chosen.keys():
            # The keys of a part (landmarker, extractor) are its constructor's, which `check` asks.
            part = OmegaConf.get_type(cfg, key) is dict
            OmegaConf.update(cfg, key, _plain(given[key]), merge=True, force_add=part)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, command)) from error
    return cfg


def composed_of(command: str, overrides: Sequence[str]) -> DictConfig:
    """Return what `python -m slt.<command>` with these overrides is given, also inside another; ValueError as there."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base=None):
            return hydra.compose(command, overrides=[*overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, command)) from error
    finally:
        GlobalHydra.instance().hydra = outer


def _plain(value: Any) -> Any:
    """Tuples as the lists that a configuration holds."""
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
