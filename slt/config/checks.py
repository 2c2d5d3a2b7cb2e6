"""What is wrong with a run before anything of it is built.

Groups (dataset, backbone, ...) are typed by the constructors that they name; the other keys stand in
slt/config/commands.py.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import slt.config.commands
import slt.config.film_commands  # noqa: F401  Hydra finds the types by their import
from slt.config import CONF as CONF  # who takes it from here has the types of its keys registered too
from slt.config import HOME as HOME
from slt.evaluation.settings import Conventions, GlossLM
from slt.settings import check_values, value_fault
from slt.text import near
from slt.training.dashboard import Board

# Hydra looks for `experiments=NAME` in these two folders: that of the working directory, then the suite's own.
os.environ["SLT_HOME"] = str(HOME)
os.environ["SLT_CWD"] = str(Path.cwd())

T = TypeVar("T")


def check(cfg: DictConfig) -> None:
    """Raises one ValueError of all that is wrong: values missing or out of range, keys that contradict each other."""
    faults = [f"{key} is missing: give it, as in {key}=..." for key in sorted(OmegaConf.missing_keys(cfg))]
    faults += _fixed_keys(cfg, "")
    if "batch_frames" in cfg and (cfg.batch_size is None) == (cfg.batch_frames is None):
        faults.append("batch_size and batch_frames: give one of the two, set the other to null")
    beams, nbest = _select(cfg, "evaluation.num_beams"), _select(cfg, "evaluation.nbest")
    if beams is not None and nbest is not None and nbest > beams:
        faults.append(f"evaluation.nbest={nbest} is above evaluation.num_beams={beams}: beams bound the n-best")
    faults += _check_gloss_lm(_select(cfg, "evaluation.gloss_lm"), _select(cfg, "evaluation.gloss_beam"))
    if "devices" in cfg and not faults:
        faults += _check_processes(cfg)
    if "gloss_weight" in cfg:
        faults += _check_train(cfg)
    if "probe" in cfg:
        faults += _check_objective(cfg, "loss", "slt.train") + _check_targets(cfg, *cfg)
    if "max_failures" in cfg and cfg.check is None:
        faults += _check_extract(cfg)
    if "partial_seconds" in cfg:
        faults += _check_demo(cfg)
    if "title" in cfg and cfg.board.get("entity") is None:
        faults.append(
            "board.entity is missing: give it, as in board.entity=NAME; whose project it is, you or your team"
        )
    if "board" in cfg:
        faults += _check_board(cfg)
    if faults:
        raise ValueError("\n  ".join(dict.fromkeys(faults)))


def _check_board(cfg: DictConfig) -> list[str]:
    if faults := _check_targets(cfg, "board"):
        return faults
    try:
        fault = board_of(cfg).fault()
    except ValueError as error:
        return [str(error)]
    return [] if fault is None else [fault]


def board_of(cfg: DictConfig) -> Board:
    """The board that `board=` chooses; ValueError for a value that does not fit."""
    board: Board = instantiate(cfg.board, _convert_="all")
    check_values(board, "board")
    return board


def _check_train(cfg: DictConfig) -> list[str]:
    faults = []
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    for override in overrides:
        faults += _check_override(override, cfg)
    if faults_of_it := _check_objective(cfg, "_target_", "slt.pretrain"):
        return faults + faults_of_it
    measures = locate(cfg.objective._target_).measures
    if cfg.select is not None and cfg.select not in measures:
        faults.append(f"select={cfg.select}: expected one of {', '.join(measures)}, the metrics of this objective")
    if cfg.evaluation.abstain is not None and cfg.good_chrf is None:
        faults.append(
            f"evaluation.abstain={cfg.evaluation.abstain}: without a confidence none is below it; set good_chrf, as in "
            "good_chrf=60"
        )
    if OmegaConf.is_missing(cfg, "dataset"):
        return faults
    for name in cfg.dataset.streams:
        if cfg.streams.get(name) is None:
            faults.append(
                f"dataset.streams.{name} has no backbone: add +backbone@streams.{name}=NAME; "
                f"streams with one: {', '.join(map(str, cfg.streams))}"
            )
    return faults + _check_scoring(cfg.dataset) + _check_targets(cfg, *(group for group in cfg if group != "backbone"))


def _check_objective(cfg: DictConfig, key: str, other: str) -> list[str]:
    """Objectives of training and of pretraining are one group, and each command runs its own."""
    return [] if key in cfg.objective else [f"objective: the one chosen is for {other}; take another of conf/objective"]


def _check_scoring(dataset: DictConfig) -> list[str]:
    """What is wrong with how a corpus is scored: said before training, not at its first validation."""
    given = OmegaConf.to_container(dataset, resolve=False)
    try:
        Conventions.of(given.get("scoring") if isinstance(given, Mapping) else None)
    except ValueError as error:
        return [f"dataset.{error}"]
    return []


def _check_gloss_lm(given: Any, width: int | None) -> list[str]:
    try:
        found = GlossLM.of(given)
    except ValueError as error:
        return [str(error)]
    if found is not None and width is None:
        return ["evaluation.gloss_lm is asked in the beam search: give evaluation.gloss_beam, its width, too"]
    return []


def _check_processes(cfg: DictConfig) -> list[str]:
    import torch

    from slt.training.processes import outside

    place, faults = outside(os.environ), []
    count = cfg.devices if place is None else place.world
    if place is not None and cfg.devices not in (1, count):
        faults.append(f"devices={cfg.devices}: {place.starter} has started {count} processes; leave devices out")
    if place is not None and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        faults.append(
            f"{place.starter} has started {count} processes, which join for a single run; of a sweep (-m) each "
            f"job starts its own: run it in one process with devices={count}"
        )
    cuda = cfg.device.startswith("cuda") or (cfg.device == "auto" and torch.cuda.is_available())
    there = torch.cuda.device_count() if cuda else os.cpu_count() or 1
    if place is None and count > 1 and there < count:
        what = "CUDA devices" if cuda else "processor cores"
        faults.append(f"devices={count}: there are {there} {what} here; expected at most as many")
    if count > 1 and cfg.device not in ("auto", "cpu", "cuda"):
        faults.append(f"device={cfg.device} is one device, and there are {count} processes; use device=cuda")
    if count > 1 and cfg.batch_size is not None and cfg.batch_size < count:
        faults.append(
            f"batch_size={cfg.batch_size} is the batch of all {count} processes together; expected one clip for each "
            "at least: raise batch_size or lower devices"
        )
    if count > 1 and cfg.strategy == "fsdp2" and "probe" in cfg:
        faults.append("strategy=fsdp2: pretraining's teacher follows the student whole; use strategy=ddp")
    if count > 1 and cfg.strategy == "fsdp2" and cfg.precision == "fp16":
        faults.append("precision=fp16 scales one loss, and shards have no common scale; use bf16 with strategy=fsdp2")
    return faults


def _check_extract(cfg: DictConfig) -> list[str]:
    faults = [f"{key} is missing: give it, as in {key}=..." for key in ("source", "out") if cfg[key] is None]
    match = re.fullmatch(r"(\d+)/(\d+)", cfg.shard or "1/1")
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        faults.append(f"shard={cfg.shard}: expected i/n with i from 1 to n, as in shard=1/4")
    if not 1 <= cfg.quality <= 100:
        faults.append(f"quality={cfg.quality}: expected a number from 1 to 100")
    if cfg.signer == "box" and cfg.boxes is None:
        faults.append("boxes is missing: signer=box takes them from a table, as in boxes=boxes.csv")
    if cfg.signer != "box" and cfg.boxes is not None:
        faults.append(f"boxes={cfg.boxes} is read with signer=box only, came signer={cfg.signer}")
    if cfg.kind != "films" and cfg.fps is not None:
        faults.append(f"fps={cfg.fps}: only films are read at another rate; kind={cfg.kind} keeps its own")
    if cfg.kind != "films" and cfg.points not in ("body", "body_hands"):
        faults.append(
            f"points={cfg.points}: only films are looked at for these; kind={cfg.kind} gives body_hands or body"
        )
    if cfg.kind != "films" and cfg.mirrored:
        faults.append(f"mirrored=true: only pictures are turned over, kind={cfg.kind} holds none")
    return faults + (_check_targets(cfg, "landmarker", "extractor") if cfg.kind == "films" else [])


def _check_demo(cfg: DictConfig) -> list[str]:
    faults = []
    camera = cfg.source is not None and re.fullmatch(r"\d+", cfg.source) is not None
    if cfg.source is None and cfg.ui != "web":
        faults.append("source is missing: give it, as in source=0 (a camera), source=FILM or source=FOLDER")
    if cfg.source is not None and cfg.ui == "web":
        faults.append(f"source={cfg.source}: on the page films are uploaded; leave source out with ui=web")
    if camera and cfg.segments == "whole":
        faults.append("segments=whole: a camera has no end at which its one sentence could be written; use auto")
    if (cfg.segments == "learned") != (cfg.segmenter is not None):
        faults.append("segments=learned and segmenter belong together, as in segments=learned segmenter=FILE")
    if cfg.record is not None and not (camera or cfg.live):
        faults.append(f"record={cfg.record} is for cameras and live=true; of films the annotated one is in `out`")
    if cfg.record is not None and Path(cfg.record).suffix.lower() != ".mp4":
        faults.append(f"record={cfg.record}: expected a name that ends in .mp4")
    if (cfg.signer == "box") != (cfg.box is not None):
        faults.append("signer=box and box belong together, as in signer=box box=[0,0,640,720]")
    if cfg.box is not None and (len(cfg.box) != 4 or cfg.box[0] >= cfg.box[2] or cfg.box[1] >= cfg.box[3]):
        faults.append(f"box={list(cfg.box)}: expected x0, y0, x1, y1 with x0 < x1 and y0 < y1")
    return faults + _check_targets(cfg, "landmarker", "extractor")


def _fixed_keys(node: DictConfig, prefix: str) -> Iterator[str]:
    """What is wrong with fixed keys: values, and keys that there are not; Hydra lets `+key=value` pass."""
    schema = OmegaConf.get_type(node)
    known = {part.name: part for part in fields(schema)} if is_dataclass(schema) else {}
    for key in map(str, node if known else ()):
        if key not in known:
            yield f"{prefix}{key}: there is no such key{near(f'{prefix}{key}', [f'{prefix}{name}' for name in known])}"
        elif not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            yield from _fixed_keys(node[key], f"{prefix}{key}.")
        elif known[key].metadata and (said := value_fault(f"{prefix}{key}", _select(node, key), known[key].metadata)):
            yield said


def _check_override(override: str, cfg: DictConfig) -> list[str]:
    """What is wrong with an override that Hydra takes and that would set nothing."""
    if re.match(r"\+*backbone\.", override):
        return [
            f"{override}: backbone.* is only the choice that streams start from; "
            f"write streams.<stream>.{override.split('.', 1)[1]}"
        ]
    if re.match(r"\+*tied=\{\s*\}", override):
        return [f"{override}: mappings are merged, so this unties nothing; write tied.<stream>=null"]
    stream = re.match(r"\+*(?:backbone@)?streams\.(\w+)[.=](.*)", override)
    if stream and cfg.tied.get(stream[1]) is not None:
        return [
            f"{override}: {stream[1]} is tied to {cfg.tied[stream[1]]} and has no backbone of its own; "
            f"set that one's, or untie it with tied.{stream[1]}=null"
        ]
    return []


def _check_targets(cfg: DictConfig, *groups: Any) -> list[str]:
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    return [fault for group in groups for fault in _check_target(plain[group], str(group))]


def _check_target(node: Any, path: str) -> list[str]:
    """Keys, at any depth below `path`, that the constructor named beside them does not take, with the near spelling."""
    if not isinstance(node, Mapping):
        return []
    faults = []
    if "_target_" in node:
        known = _parameters(locate(node["_target_"]))
        for key in node:
            if known is not None and key not in known and not str(key).startswith("_"):
                faults.append(f"{path}.{key}: {node['_target_']} takes no such key{near(str(key), known)}")
    return faults + [fault for key, child in node.items() for fault in _check_target(child, f"{path}.{key}")]


def _parameters(made: Any) -> set[str] | None:
    """What a function or constructor takes, with `**keys` also what its bases do; None = anything."""
    names: set[str] = set()
    own = [each for each in made.__mro__[:-1] if "__init__" in vars(each)] if isinstance(made, type) else []
    for each in own or [made]:
        parameters = inspect.signature(each).parameters.values()
        names |= {one.name for one in parameters}
        if all(one.kind is not one.VAR_KEYWORD for one in parameters):
            return names
    return None


def taken(settings: type[T], node: DictConfig, **more: Any) -> T:
    """Settings of a class out of the keys that have its fields' names, and what is given beside them."""
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    own = [part.name for part in fields(settings) if part.name in values]  # type: ignore[arg-type]
    return settings(**{**{key: values[key] for key in own}, **more})


def locate(target: str) -> Any:
    """The class or function that a `_target_` names; ValueError where there is none."""
    module, _, name = str(target).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        if isinstance(error, ImportError) and not (error.name or "").startswith(module.split(".")[0]):
            raise
        raise ValueError(f"_target_: {target} cannot be found ({error})") from error


def _select(cfg: DictConfig, key: str) -> Any:
    return OmegaConf.select(cfg, key, throw_on_missing=False)
