"""A run from its first moment: processes, folder, seed, dashboard, and the checkpoint that it goes on from."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slt.config.build import config_text, read_config
from slt.config.checks import board_of, check, taken
from slt.config.continuation import continued, same_run
from slt.config.foreign import refuse_code
from slt.config.messages import explain
from slt.config.moved import NO_BOARD
from slt.config.screen import ours_alone
from slt.corpora.clips import Clips
from slt.corpora.folder import corpus_fingerprints
from slt.files import atomic
from slt.sweeps.status import read_status
from slt.training import lineage, processes
from slt.training.checkpoint import find_checkpoint, load_checkpoint
from slt.training.dashboard import Dashboard
from slt.training.launching import launch
from slt.training.loop import Run, Trainer
from slt.training.machine import Compute, choose_device, choose_precision, fix_randomness, profiler
from slt.training.record import Record, write_origin
from slt.training.settings import Profile

log = logging.getLogger(__name__)

Job = Callable[[DictConfig], float]


def in_processes(function: Job) -> Job:
    """Makes a job of Hydra's run in `devices` processes of this machine, or as one of those of torchrun or srun."""

    @functools.wraps(function)
    def run(cfg: DictConfig) -> float:
        if cfg.resume not in (None, "auto"):
            cfg = _own_config(cfg)
        place = processes.outside(os.environ)
        if place is None and cfg.devices == 1:
            return function(cfg)
        check(cfg)
        if place is not None:
            with processes.joined(place):
                log.info("process %d of %d that %s has started", place.rank, place.world, place.starter)
                return _as_one(function, cfg)
        OmegaConf.resolve(cfg)
        job = (function.__module__, function.__name__, cfg, HydraConfig.instance().cfg)
        return float(launch(_in_process, job, count=cfg.devices))

    return run


def _own_config(cfg: DictConfig) -> DictConfig:
    """The configuration of the run that `resume` names, with what is given beside it (see `continued`)."""
    path = find_checkpoint(Path(cfg.resume), "last.pt")
    saved = read_config(load_checkpoint(path), path)
    # Whatever this user's own conf/ and command line name may be built, as without resume.
    sources = HydraConfig.get().runtime.config_sources
    folders = [Path(source.path) for source in sources if source.provider in ("main", "command-line")]
    texts = [file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.yaml")]
    own = re.findall(r"_target_: *([\w.]+)", "\n".join([*texts, OmegaConf.to_yaml(cfg)]))
    refuse_code(OmegaConf.to_container(saved, resolve=False), str(path), own)
    return continued(cfg, saved, source=path)


def _in_process(module: str, name: str, cfg: DictConfig, hydra: DictConfig) -> float:
    """The job in a process of its own, where Hydra has not been."""
    setup_globals()
    HydraConfig.instance().cfg = hydra  # type: ignore[assignment]
    if processes.first():
        configure_log(hydra.hydra.job_logging, hydra.hydra.verbose)
    else:
        logging.getLogger().setLevel(logging.ERROR)
    function = inspect.unwrap(getattr(importlib.import_module(module), name))
    try:
        with ours_alone():
            return _as_one(function, cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, hydra.hydra.job.config_name)) from error


def _as_one(function: Job, cfg: DictConfig) -> float:
    """The job in one of several processes: only the first prints, and only it has a dashboard."""
    if processes.first():
        return function(cfg)
    cfg.board = {"_target_": NO_BOARD}
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        return function(cfg)


def begin_run(cfg: DictConfig) -> Path:
    """The run folder, one for all processes, with the resolved configuration and where the run came from in it.

    `seed=null` is drawn here, and `precision=auto` chosen.
    """
    run = Path(os.path.relpath(processes.broadcast(HydraConfig.get().runtime.output_dir)))
    if cfg.get("seed", 0) is None:
        cfg.seed = processes.broadcast(choose_seed(run))
    if cfg.get("precision") == "auto":
        cfg.precision = processes.broadcast(
            _begun(run).get("precision") or choose_precision("auto", choose_device(cfg.device))
        )
    if processes.first():
        write_origin(run)
        with atomic(run / "config.yaml") as file:
            file.write(OmegaConf.to_yaml(cfg, resolve=True).encode())
    return run


def choose_seed(run: Path) -> int:
    """The seed of a run that was not given one: drawn anew, and kept by a job that is queued again in its folder.

    Other runs that `resume=auto` might go on from are not looked at: none can be told to be the same without a seed.
    """
    begun = _begun(run)
    seed = begun.seed if "seed" in begun else secrets.randbelow(2**31)
    log.info("seed=null: this run has seed %d, and seed=%d repeats it", seed, seed)
    return int(seed)


def _begun(run: Path) -> Any:
    """The configuration of a job that is queued again in its folder; empty in a new one."""
    path = run / "config.yaml"
    return OmegaConf.load(path) if path.is_file() else OmegaConf.create()


def begin_training(cfg: DictConfig) -> tuple[Path, torch.device]:
    folder, device = begin_run(cfg), choose_device(cfg.device)
    fix_randomness(cfg.seed, deterministic=cfg.deterministic)
    return folder, device


def follow(cfg: DictConfig, folder: Path, device: torch.device, dashboard: Dashboard, carried: dict[str, Any]) -> Run:
    """What a training leaves in its folder and on its dashboard."""
    return Run(
        folder / "checkpoints", Compute(device, cfg.precision), Record(folder, [dashboard]), carried,
        profiler(folder, device, taken(Profile, cfg.profile)),
    )  # fmt: skip


def open_dashboard(
    cfg: DictConfig, run: Path, job_type: str, *, uses: Callable[[], Sequence[lineage.Item]]
) -> Dashboard:
    """The run on the board: jobs of a sweep in one group, each named after its folder unless it has a name.

    `uses` gives what the run builds on, and is only asked where there is a board.
    """
    board: Any = board_of(cfg)
    if board.silent:
        return Dashboard()
    hydra = HydraConfig.get()
    if hasattr(board, "group"):  # and name and tags
        group, name = board.group, board.name or _under_outputs(run)
        if hydra.mode == RunMode.MULTIRUN:
            group = group or _under_outputs(Path(hydra.sweep.dir))
            name = f"{board.name or group}/{hydra.job.num}"
        chosen = [hydra.runtime.choices.get(group) for group in ("experiments", "debug")]
        tags = [*board.tags, *(tag for tag in chosen if tag not in (None, "null"))]
        board = replace(board, group=group, name=name, tags=tags)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in ("board", "wandb"):  # how it is told is nothing of the run
        config.pop(key)
    dashboard: Dashboard = board.open(run, {**config, "run_folder": str(run)}, job_type=job_type)
    for item in uses():
        dashboard.uses(item)
    return dashboard


def _under_outputs(folder: Path) -> str:
    """Where a folder lies below outputs/ or outputs/sweeps/; elsewhere only its name."""
    above = [place for place, part in enumerate(folder.parts) if part in ("outputs", "sweeps")]
    return "/".join(folder.parts[above[-1] + 1 if above else -1 :])


def corpus_items(*roots: Path) -> list[lineage.Item]:
    """The corpora in these folders, each once."""
    facts = {root: corpus_fingerprints(root) for root in roots}
    return [lineage.dataset(root, fingerprint=own, extractor=made) for root, (own, made) in facts.items()]


def clips_item(clips: Clips) -> lineage.Item:
    """The corpus that these clips are of, in whatever form."""
    return lineage.dataset(clips.root, fingerprint=clips.fingerprint, extractor=clips.extractor)


def backbone_items(*nodes: DictConfig) -> list[lineage.Item]:
    """The local files of pretrained weights that backbones start from."""
    files = {str(node.weights) for node in nodes if isinstance(node, DictConfig) and node.get("weights")}
    return [lineage.backbone(Path(name)) for name in sorted(files) if Path(name).is_file()]


def resume(trainer: Trainer, cfg: DictConfig, run: Path, *, job: str = "train") -> None:
    """Takes up the checkpoint that `cfg.resume` names, or says that there is none, with its metrics and its best.pt.

    A job of a sweep that is started again goes on in its own folder, without being told to.
    """
    path = processes.on_rank_zero(lambda: _find(cfg, run, job))
    if path is None:
        trainer.record.carry_over(None, 0)
        return
    payload = load_checkpoint(path)
    if payload["corpus"] != trainer.carried["corpus"]:
        raise ValueError(
            f"resume={path}: trained on another corpus (its fingerprint differs); say by dataset.root where that one "
            "lies now, or start anew"
        )
    trainer.resume(payload, source=path)
    if "objective" in payload:  # its name; the configuration holds what it is
        trainer.carried["objective"] = payload["objective"]
    trainer.record.carry_over(path.parent.parent / "metrics.csv", trainer.step_count)
    best = path.parent / "best.pt"
    if processes.first() and best.is_file() and path.parent != trainer.folder:
        trainer.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(best, trainer.folder / "best.pt")
    log.info("resumed %s at step %d", path, trainer.step_count)


def _find(cfg: DictConfig, run: Path, job: str) -> Path | None:
    wanted = cfg.resume
    if HydraConfig.get().mode == RunMode.MULTIRUN and (run / "checkpoints" / "last.pt").is_file():
        wanted = str(run)
    here = read_config({"config": config_text(cfg)}, run)  # folders named as a checkpoint names them
    found = find_resume(
        wanted, run=run, runs=Path("outputs") / job, max_steps=cfg.max_steps,
        same=lambda payload: same_run(read_config(payload, f"resume={wanted}"), here),
    )  # fmt: skip
    if found is None:
        return None
    path, payload = found
    if wanted != cfg.resume and not same_run(read_config(payload, path), here):
        raise ValueError(
            f"{path}: of another configuration than this job now has, though its overrides are the same: conf/ or the "
            "recipe has changed; give the sweep another hydra.sweep.dir"
        )
    return path


def find_resume(
    resume: str | None, *, run: Path, runs: Path, max_steps: int, same: Callable[[dict[str, Any]], bool]
) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint that `resume` (None, `auto`, a run folder, or a `last.pt`) names, and what it holds; else None.

    `auto` looks in this `run`'s own folder first, so that a job that is queued again with a fixed `hydra.run.dir` goes
    on where it was, be it in the examination after its last step; then it takes the newest unfinished one of
    `<runs>/<date>/<time>` that is the `same` training. One that has come to `max_steps` is finished, unless its run did
    not end well after it.
    """
    if resume is None:
        return None
    if resume != "auto":
        path = find_checkpoint(Path(resume), "last.pt")
        return path, load_checkpoint(path)
    own = run / "checkpoints" / "last.pt"
    found = sorted(runs.glob("*/*/checkpoints/last.pt"), reverse=True)
    for path in [own, *(path for path in found if path != own)]:
        if path.is_file():
            payload = load_checkpoint(path)
            if same(payload) and (path == own or _unfinished(path.parent.parent, payload["step"] < max_steps)):
                return path, payload
    log.info("resume=auto: no unfinished run of this configuration under %s; starting afresh", runs)
    return None


def _unfinished(run: Path, short: bool) -> bool:
    """Whether somebody must go on with a run: none that is at work just now, and one that was cut short at any step."""
    status = read_status(run)
    state = None if status is None else status.state
    return state != "running" and (short or state in ("failed", "stopped", "killed"))
