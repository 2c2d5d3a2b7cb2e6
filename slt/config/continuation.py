"""With which configuration a run goes on: its own, but for what is given beside `resume` and may change."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from slt.training.processes import outside

log = logging.getLogger(__name__)

# Keys that may change between a run and its continuation.
FREE = ("resume", "num_workers", "board", "wandb", "final", "evaluation", "backbone", "debug", "deterministic",
        "profile", "study", "devices", "strategy")  # fmt: skip
# What else may be given beside `resume=RUN`: how long, how often it is looked at, where, and where its corpus lies now,
# whose fingerprint says whether it is the same.
GIVEN = (*FREE, "max_steps", "eval_every", "log_every", "patience", "device", "compile", "corpora", "dataset.root",
         "dataset.mixed_extractors", "dataset.min_seen", "probe.dataset.root")  # fmt: skip
OPEN = (("seed", None), ("precision", "auto"))  # what a run chooses for itself: the one that goes on has chosen
_ABSENT = "(no such key)"


def same_run(one: DictConfig, other: DictConfig) -> bool:
    """Whether two configurations describe the same training, whatever its machine or dashboard."""
    plain = []
    for cfg in (one, other):
        values = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(values, dict)
        # Permissions and not values of the training: the corpus fingerprint says what is trained on.
        for key in ("mixed_extractors", "min_seen"):
            values["dataset"].pop(key, None)
        plain.append({key: value for key, value in values.items() if key not in FREE})
    return plain[0] == plain[1]


def continued(cfg: DictConfig, saved: DictConfig, *, source: Path) -> DictConfig:
    """The configuration with which a run goes on: its own, but for what is given beside `resume` and may change.

    Given is what an override names, and what groups and recipes make other than it is without any. Where a key follows
    another (`${max_steps}`) and did so in the run, it still does. ValueError names each key that contradicts the run;
    `source` is its checkpoint.
    """
    own = compose(HydraConfig.get().job.config_name)
    before, now, named = _leaves(own), _leaves(cfg), _named()
    given = [path for path in {**before, **now} if before.get(path, _ABSENT) != now.get(path, _ABSENT)
             or any(_below(path, name) for name in named)]  # fmt: skip
    strange = [str(key) for key in saved if key not in own]
    if strange:
        raise ValueError(
            f"resume={source}: its configuration has {', '.join(strange)}, which this command has not: it is of "
            "another command (slt.train, slt.pretrain) or another version of the suite"
        )
    if outside(os.environ):
        saved.devices = cfg.devices  # torchrun or srun has started them
    _take(own, OmegaConf.to_container(saved, resolve=True))
    theirs = _leaves(own)
    now |= _follow(own, cfg, theirs)
    changes, faults = [], []
    if any(_below(path, "board") for path in given):
        own.board = cfg.board  # whole: the keys of one board are none of another's
    for path in given:
        value, had = now.get(path, _ABSENT), theirs.get(path, _ABSENT)
        if _same(value, had) or value == "???" or (path, value) in OPEN:
            continue
        if not any(_below(path, key) for key in GIVEN):
            faults.append(f"{path}={value}, and the run has {had}")
        elif value != _ABSENT:
            OmegaConf.update(own, path, value, merge=False, force_add=True)
            changes.append(f"{path}={value}")
    if faults:
        raise ValueError(
            "\n  ".join([f"resume={source}: it goes on with its own configuration, which contradicts:", *faults])
            + "\nleave these out, or start a run of its own without resume"
        )
    log.info("resume=%s: with the configuration of that run, and %s", source, " ".join(changes))
    return own


def _follow(own: DictConfig, cfg: DictConfig, theirs: dict[str, Any]) -> dict[str, Any]:
    """Has the values of a run follow others as in `cfg`, where they agree; the values of all in `cfg` that follow."""
    values = {}
    for path, written in _leaves(cfg).items():
        if "${" not in str(written) or path not in theirs:
            continue
        OmegaConf.update(own, path, written, merge=False)
        agree = _same(OmegaConf.select(own, path, throw_on_resolution_failure=False), theirs[path])
        if not agree:
            OmegaConf.update(own, path, theirs[path], merge=False)
        values[path] = theirs[path] if agree else OmegaConf.select(cfg, path)
    return values


def _leaves(cfg: DictConfig) -> dict[str, Any]:
    """Dotted key -> value, as it is written, of all that is no mapping with something in it."""

    def walk(node: Any, path: str) -> dict[str, Any]:
        if not isinstance(node, Mapping) or not node:
            return {path[1:]: node}
        return {key: leaf for name, child in node.items() for key, leaf in walk(child, f"{path}.{name}").items()}

    return walk(OmegaConf.to_container(cfg, resolve=False), "")


def _take(own: DictConfig, values: Any) -> None:
    """Puts values in; keys of the suite that they do not have, because they are older, stay as they are."""
    for key, value in values.items():
        if isinstance(value, dict) and is_dataclass(OmegaConf.get_type(own, key)):
            _take(own[key], value)
        else:
            own[key] = value


def _named() -> list[str]:
    """The keys, or what they stand above, that the overrides of this command name."""
    hydra, found = HydraConfig.get(), []
    for override in OverridesParser.create().parse_overrides(list(hydra.overrides.task)):
        group = override.key_or_group
        found.append(override.package or group)
        choice = hydra.runtime.choices.get(group)
        # `backbone=NAME` chooses for all that follow it.
        places = [key.partition("@") for key, other in hydra.runtime.choices.items() if other == choice]
        found += [place for first, _, place in places if place and first == group and not override.package]
    return found


def _below(path: str, key: str) -> bool:
    return f"{path}.".startswith(f"{key}.")


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one, or two names of a file: a checkpoint names those of the working folder from there."""
    if isinstance(one, str) and isinstance(other, str):
        return Path(one).absolute() == Path(other).absolute()
    return bool(one == other)
