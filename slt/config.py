"""Configuration: the types of the fixed keys, the checks before a run starts, and the way into every entry point.

A run is described by the files under `conf/`. Groups (dataset, backbone, fusion, ...) are typed by the constructors
that they name; the keys that every run has are typed here, and `check` says what is wrong with them before anything
is built.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import logging
import math
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slt.sweeps import ending, grid
from slt.sweeps.status import claimed
from slt.training.dashboard import key_fault
from slt.usage import usage

log = logging.getLogger(__name__)

# In a checkout `conf/` and `experiments/` stand beside the package; a wheel carries them inside it.
_PACKAGE = Path(__file__).resolve().parent
HOME = _PACKAGE.parent if (_PACKAGE.parent / "conf" / "train.yaml").is_file() else _PACKAGE
CONF = HOME / "conf"
# Hydra looks for `experiments=NAME` in these two folders: the suite's own and that of the working directory.
os.environ["SLT_HOME"] = str(HOME)
os.environ["SLT_CWD"] = str(Path.cwd())

# `$` is escaped because Hydra takes the help for a template.
OmegaConf.register_new_resolver(
    "slt.usage", lambda command: usage(command, CONF, [HOME, Path.cwd()]).replace("$", "$$"), replace=True
)


@dataclass
class Evaluation:
    """Keys of `evaluation`: how sentences are searched for and what is reported of them."""

    num_beams: int = MISSING
    length_penalty: float = MISSING
    nbest: int = MISSING
    bootstrap: int = MISSING
    blanked: bool = MISSING
    report_strips: int = MISSING


@dataclass
class Wandb:
    """Keys of `wandb`."""

    mode: str = MISSING
    project: str = MISSING
    entity: str | None = MISSING
    group: str | None = MISSING
    name: str | None = MISSING
    tags: list[str] = MISSING
    log_tables: bool = MISSING
    examples: int = MISSING
    log_checkpoints: bool = MISSING


@dataclass
class Profile:
    """Keys of `profile`: how many updates pass, and how many are recorded after them."""

    warmup: int = MISSING
    steps: int = MISSING


@dataclass
class Study:
    """Keys of `study`: what a recipe asks, and what its table in the lab notebook shows (slt/sweeps/notebook.py)."""

    question: str = MISSING
    metrics: list[str] = MISSING
    baseline: str | None = None


@dataclass
class Train:
    """The fixed keys of `conf/train.yaml`; groups are `Any`: their constructors are their schema."""

    dataset: Any = MISSING
    backbone: Any = MISSING
    streams: dict[str, Any] = field(default_factory=dict)
    tied: dict[str, str | None] = field(default_factory=dict)
    projector: Any = MISSING
    fusion: Any = MISSING
    temporal: Any = MISSING
    decoder: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    embed_dim: int = MISSING
    seed: int | None = MISSING
    deterministic: bool = MISSING
    device: str = MISSING
    devices: int = MISSING
    strategy: str = MISSING
    precision: str = MISSING
    compile: bool = MISSING
    batch_size: int | None = MISSING
    batch_frames: int | None = MISSING
    num_workers: int = MISSING
    max_steps: int = MISSING
    accumulate: int = MISSING
    grad_clip: float | None = MISSING
    label_smoothing: float = MISSING
    gloss_weight: float = MISSING
    flat_start: int = MISSING
    backbone_lr: float | None = MISSING
    decoder_lr: float | None = MISSING
    eval_every: int = MISSING
    log_every: int = MISSING
    select: str = MISSING
    patience: int | None = MISSING
    resume: str | None = MISSING
    val: str = MISSING
    final: str | None = MISSING
    evaluation: Evaluation = field(default_factory=Evaluation)
    wandb: Wandb = field(default_factory=Wandb)
    profile: Profile = field(default_factory=Profile)
    study: Study | None = None
    debug: Any = None


@dataclass
class Corpus:
    """Keys of `dataset` in `conf/eval.yaml`."""

    root: str | None = MISSING


@dataclass
class Dropped:
    """Keys of `streams` in `conf/eval.yaml`."""

    drop: list[str] = MISSING


@dataclass
class Evaluate:
    """The fixed keys of `conf/eval.yaml`."""

    checkpoint: str = MISSING
    split: str = MISSING
    dataset: Corpus = field(default_factory=Corpus)
    other_extractor: bool = MISSING
    streams: Dropped = field(default_factory=Dropped)
    device: str = MISSING
    precision: str | None = MISSING
    batch_size: int | None = MISSING
    batch_frames: int | None = MISSING
    num_workers: int = MISSING
    seed: int = MISSING
    evaluation: Evaluation = field(default_factory=Evaluation)
    wandb: Wandb = field(default_factory=Wandb)


@dataclass
class Captions:
    """Keys of `captions`."""

    path: str | None = MISSING
    format: str = MISSING
    unquoted: bool = MISSING
    min_seconds: float = MISSING


@dataclass
class Split:
    """Keys of `split` in extraction: how clips are dealt to the three index files."""

    by: str = MISSING
    train: float = MISSING
    val: float = MISSING
    test: float = MISSING
    seed: int = MISSING


@dataclass
class Extract:
    """The fixed keys of `conf/extract.yaml`."""

    source: str | None = MISSING
    kind: str = MISSING
    out: str | None = MISSING
    check: str | None = MISSING
    captions: Captions = field(default_factory=Captions)
    fps: float | None = MISSING
    max_fps: float = MISSING
    max_failures: int = MISSING
    workers: int = MISSING
    shard: str | None = MISSING
    packed: bool = MISSING
    encoding: str = MISSING
    quality: int = MISSING
    folders: dict[str, str] = field(default_factory=dict)
    points: str = MISSING
    pose_format: bool = MISSING
    report: bool = MISSING
    report_worst: int = MISSING
    split: Split = field(default_factory=Split)
    signer: str = MISSING
    boxes: str | None = MISSING
    landmarker: Any = MISSING
    extractor: Any = MISSING
    wandb: Wandb = field(default_factory=Wandb)


@dataclass
class ExportSearch:
    """Keys of `search` in `conf/export.yaml`."""

    num_beams: int | None = MISSING
    length_penalty: float | None = MISSING
    max_tokens: int | None = MISSING


@dataclass
class ExportParity:
    """Keys of `parity`: what an exported folder is held against the checkpoint on."""

    batches: int = MISSING
    split: str = MISSING
    limit: int | None = MISSING


@dataclass
class Export:
    """The fixed keys of `conf/export.yaml`."""

    checkpoint: str = MISSING
    out: str = MISSING
    name: str | None = MISSING
    precision: str = MISSING
    program: bool = MISSING
    dataset: Corpus = field(default_factory=Corpus)
    other_extractor: bool = MISSING
    seed: int = MISSING
    search: ExportSearch = field(default_factory=ExportSearch)
    parity: ExportParity = field(default_factory=ExportParity)
    wandb: Wandb = field(default_factory=Wandb)


@dataclass
class DemoSearch:
    """Keys of `search` in `conf/demo.yaml`."""

    num_beams: int | None = MISSING
    length_penalty: float | None = MISSING
    max_tokens: int | None = MISSING
    nbest: int | None = MISSING


@dataclass
class DemoSegment:
    """Keys of `segment`: where a sentence begins and ends."""

    raised: float = MISSING
    moving: float = MISSING
    staying: float = MISSING
    window: float = MISSING
    start_seconds: float = MISSING
    lowered_seconds: float = MISSING
    still_seconds: float = MISSING
    margin: float = MISSING
    min_seconds: float = MISSING
    max_seconds: float = MISSING


@dataclass
class DemoWeb:
    """Keys of `web`."""

    host: str = MISSING
    port: int = MISSING
    max_mb: int = MISSING
    max_seconds: float = MISSING


@dataclass
class Demo:
    """The fixed keys of `conf/demo.yaml`."""

    model: str = MISSING
    source: str | None = MISSING
    out: str | None = MISSING
    ui: str = MISSING
    live: bool = MISSING
    encoder: str = MISSING
    tokenizer: str | None = MISSING
    device: str = MISSING
    threads: int | None = MISSING
    other_extractor: bool = MISSING
    search: DemoSearch = field(default_factory=DemoSearch)
    fps: float | None = MISSING
    max_fps: float = MISSING
    segments: str | None = MISSING
    whole_seconds: float = MISSING
    segment: DemoSegment = field(default_factory=DemoSegment)
    draw: bool = MISSING
    partial_seconds: float = MISSING
    queue: int = MISSING
    headless: bool = MISSING
    panel: bool = MISSING
    record: str | None = MISSING
    signer: str = MISSING
    box: list[float] | None = MISSING
    web: DemoWeb = field(default_factory=DemoWeb)
    landmarker: Any = MISSING
    extractor: Any = MISSING


@dataclass
class ProbeKeys:
    """Keys of `probe` in `conf/pretrain.yaml`."""

    enabled: bool = MISSING
    dataset: Any = MISSING
    examples: int = MISSING
    questions: int = MISSING
    split: str = MISSING
    k: int = MISSING
    temperature: float = MISSING
    penalty: float = MISSING


@dataclass
class Pretrain:
    """The fixed keys of `conf/pretrain.yaml`."""

    dataset: Any = MISSING
    backbone: Any = MISSING
    objective: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    augment: Any = MISSING
    stream: str = MISSING
    corpora: list[str] = MISSING
    splits: list[str] = MISSING
    seconds: float = MISSING
    drift: float = MISSING
    fps: float = MISSING
    adapters: Any = None
    probe: ProbeKeys = field(default_factory=ProbeKeys)
    seed: int | None = MISSING
    deterministic: bool = MISSING
    device: str = MISSING
    devices: int = MISSING
    strategy: str = MISSING
    precision: str = MISSING
    num_workers: int = MISSING
    batch_size: int = MISSING
    max_steps: int = MISSING
    accumulate: int = MISSING
    grad_clip: float | None = MISSING
    log_every: int = MISSING
    eval_every: int = MISSING
    resume: str | None = MISSING
    wandb: Wandb = field(default_factory=Wandb)
    profile: Profile = field(default_factory=Profile)
    debug: Any = None


@dataclass
class Board:
    """The fixed keys of `conf/board.yaml`."""

    title: str = MISSING
    wandb: Wandb = field(default_factory=Wandb)


ConfigStore.instance().store(name="board_schema", node=Board)
ConfigStore.instance().store(name="pretrain_schema", node=Pretrain)
ConfigStore.instance().store(name="demo_schema", node=Demo)
ConfigStore.instance().store(name="export_schema", node=Export)
ConfigStore.instance().store(name="extract_schema", node=Extract)
ConfigStore.instance().store(name="train_schema", node=Train)
ConfigStore.instance().store(name="eval_schema", node=Evaluate)

# What a user can cause. Anything else is our fault and keeps its traceback.
USER_ERRORS = (HydraException, OmegaConfBaseException, ValueError, OSError, ImportError, yaml.YAMLError)

CHOICES = {
    "precision": ("fp32", "bf16", "fp16"),
    "strategy": ("ddp", "fsdp2"),
    "select": ("bleu", "chrf"),
    "wandb.mode": ("disabled", "offline", "online"),
    "split": ("train", "val", "test"),
    "parity.split": ("train", "val", "test"),
    "val": ("train", "val", "test"),
    "final": ("train", "val", "test"),
    "encoding": ("raw", "jpeg"),
    "kind": ("films", "keypoints", "poses"),
    "captions.format": ("subs", "cuts", "lsa_t", "subtitles", "srt", "vtt", "none"),
    "points": ("body", "body_hands"),
    "split.by": ("film", "signer", "random", "all_train"),
    "signer": ("auto", "largest", "box"),
    "ui": ("screen", "web"),
    "encoder": ("onnx", "ts"),
    "segments": ("whole", "auto"),
    "stream": ("face", "left_hand", "right_hand", "hands"),
    "probe.split": ("train", "val", "test"),
}
EXPORTED = ("fp32", "fp16", "int8")  # precisions of an exported graph; training has others
POSITIVE = ("batch_size", "batch_frames", "max_steps", "accumulate", "eval_every", "log_every", "embed_dim",
            "devices", "grad_clip", "evaluation.num_beams", "evaluation.nbest", "patience", "fps", "max_fps",
            "workers", "parity.batches", "parity.limit", "search.num_beams", "search.max_tokens",
            "search.nbest", "threads", "queue", "web.port", "web.max_mb", "web.max_seconds", "probe.k",
            "probe.examples", "probe.questions", "profile.warmup")  # fmt: skip
NOT_NEGATIVE = ("max_failures", "profile.steps", "seconds", "drift", "report_worst", "captions.min_seconds",
                "whole_seconds", "partial_seconds", "wandb.examples")  # fmt: skip


def main(name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Makes `function(cfg)` the entry point over `conf/<name>.yaml`.

    What a user can cause (a misspelt key, a missing file, a value that does not fit) ends in one message on standard
    error and exit status 1; where a run folder exists its log keeps the traceback. A whole number that the function
    returns is the exit status. A job of a sweep that fails, of whatever cause, says so and does not end the sweep; the
    sweep's exit status is the largest of its jobs. The last line of standard output names the run folder, whether the
    run went well, stopped or was stopped.
    """
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    statuses = [0]

    def wrap(function: Callable[[DictConfig], object]) -> Callable[[], None]:
        @functools.wraps(function)
        def job(cfg: DictConfig) -> object:
            state = HydraConfig.get()
            folder, sweeping = Path(state.runtime.output_dir), state.mode == RunMode.MULTIRUN
            try:
                value = _begin(function, cfg, folder, sweeping, tell=functools.partial(explain, name=name))
                statuses.append(value if type(value) is int and not sweeping else 0)
                return value
            except Exception as error:
                if not sweeping and (full or not isinstance(error, USER_ERRORS)):
                    raise
                # The screen gets one message; the traceback is kept beside the run for whoever hunts it.
                with contextlib.suppress(OSError):
                    (folder / "error.log").write_text(traceback.format_exc(), encoding="utf-8")
                if not sweeping:
                    print(f"error: {explain(error, name)}", file=sys.stderr)
                    sys.exit(1)
                if full:
                    traceback.print_exc()
                which = f"with {' '.join(state.overrides.task)}; see {os.path.relpath(folder)}"
                print(f"error: job {state.job.num}: {explain(error, name)}\n  {which}", file=sys.stderr)
                return math.nan
            finally:
                print(f"run folder: {os.path.relpath(folder)}", flush=True)

        run = hydra.main(version_base=None, config_path=str(CONF), config_name=name)(job)

        @functools.wraps(function)
        def entry() -> None:
            statuses[:] = [0]
            os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra then raises instead of printing and leaving
            try:
                with _one_folder(name):
                    run()
            except BrokenPipeError:  # as of `--help | head`: whoever read has enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(1)
            except USER_ERRORS as error:
                if full:
                    raise
                print(f"error: {explain(error, name)}", file=sys.stderr)
                sys.exit(1)
            except Exception as error:
                # A job of a sweep on a cluster has said its error in its own process; submitit hands it on as text.
                if full or not type(error).__module__.startswith("submitit"):
                    raise
                print(f"error: {error}", file=sys.stderr)
                sys.exit(1)
            except KeyboardInterrupt:  # between two jobs; one at work leaves by itself, once it has saved
                sys.exit(130)
            finally:
                if sweep := grid.begun(forget=True):
                    statuses.append(ending.close(sweep))
            if status := max(statuses):
                sys.exit(status)

        return entry

    return wrap


@contextlib.contextmanager
def _one_folder(name: str) -> Iterator[None]:
    """Of processes that torchrun or srun has started for one run, only the first gets a run folder and log of Hydra."""
    outside = os.environ.get("SLURM_PROCID", "0") if "SLURM_STEP_NUM_TASKS" in os.environ else "0"
    if name not in ("train", "pretrain") or os.environ.get("RANK", outside) == "0":
        yield
        return
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        sys.argv += [f"hydra.run.dir={folder}", "hydra.output_subdir=null", "hydra/job_logging=disabled"]
        with contextlib.redirect_stdout(nowhere):
            yield


def _begin(
    function: Callable[[DictConfig], object], cfg: DictConfig, folder: Path, sweeping: bool, tell: Callable[..., str]
) -> object:
    """Runs a job in a folder that it alone writes to; one of a sweep that is finished already is passed over."""
    overrides = list(HydraConfig.get().overrides.task)
    if sweeping:
        grid.check_same_job(folder, overrides)
    with claimed(folder, overrides, tell=tell) as claim:
        earlier = claim.earlier
        if sweeping and earlier is not None and earlier.state == "finished":
            log.info("finished already, passed over: %s", " ".join(overrides))
            return math.nan if earlier.value is None else earlier.value
        claim.write("running")
        value = function(cfg)
        claim.end(value)
        return value


def explain(error: BaseException, name: str) -> str:
    """One message for `error`, with the near spelling where a key or a group's option was misspelt."""
    text = str(error).strip()
    if isinstance(error, yaml.YAMLError):
        return f"a file of conf/ or a recipe is not YAML: {' '.join(text.split())}"
    while isinstance(error, HydraException) and error.__cause__ is not None and "Error in call to" in text:
        error = error.__cause__
        text = str(error).strip()
    key = re.search(r"Could not override '([\w.@/]+)'", text) or re.search(r"Key '([\w.]+)' not in", text)
    if key and key[1] == "sweep":
        return (
            "a file of sweep/ begins with the line `# @package _global_`; those named wandb_*.yaml are no option of "
            "sweep=: `wandb sweep FILE` takes them"
        )
    if key:
        # Hydra lists the groups that take `@stream`; a key of a group's default choice need not be one of the chosen.
        listed = re.search(r"Did you mean to override one of (.*)\?", text)
        known = {*known_keys(name), *(listed[1].split(", ") if listed else ()), *(part.name for part in fields(Study))}
        near = difflib.get_close_matches(key[1], sorted(known - {key[1]}), n=2, cutoff=0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near and key[1] not in known else ""
        return f"there is no key '{key[1]}' in conf/{name}.yaml and the chosen groups{hint}"
    option = re.search(r"Could not find '([\w@/.-]+)/([\w.-]+)'", text)
    if option:
        group = CONF / option[1]
        options = sorted(path.stem for path in [*group.glob("*.yaml"), *(HOME / option[1]).glob("*.yaml")])
        options = [name for name in options if not name.startswith("wandb_")]
        if option[1] == "hydra/launcher" and option[2] in ("joblib", "submitit_local", "submitit_slurm"):
            extra = "cluster" if option[2].startswith("submitit") else "parallel"
            return f"hydra/launcher={option[2]}: it is not installed; pip install -e '.[{extra}]'"
        near = difflib.get_close_matches(option[2], options, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{option[1]}={option[2]}: there is no such option{hint} (there are: {', '.join(options)})"
    if isinstance(error, HydraException) and isinstance(error.__cause__, OmegaConfBaseException):
        return f"{text}: {str(error.__cause__).splitlines()[0]}"
    return text


def known_keys(name: str) -> list[str]:
    """Every dotted key of `conf/<name>.yaml` with its default groups, and the groups' names."""
    with hydra.initialize_config_dir(str(CONF), version_base=None):
        cfg = hydra.compose(name)
    found: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                found.append(f"{prefix}{key}")
                walk(value, f"{prefix}{key}.")

    walk(OmegaConf.to_container(cfg, resolve=False), "")
    return found + [path.name for path in CONF.iterdir() if path.is_dir()] + ["experiments"]


def check(cfg: DictConfig) -> None:
    """Says what is wrong with a run before anything is built.

    Raises:
        ValueError: a missing value, a value outside its choices or range, or keys that contradict each other; all
            of them in one message.
    """
    faults = [f"{key} is missing: give it, as in {key}=..." for key in sorted(OmegaConf.missing_keys(cfg))]
    faults += _unknown(cfg, "")
    for key, choices in (CHOICES | ({"precision": EXPORTED} if "program" in cfg else {})).items():
        value = _select(cfg, key)
        if isinstance(value, str) and value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1)
            faults.append(f"{key}={value}: expected one of {', '.join(choices)}" + (f"; {near[0]}?" if near else ""))
    for key in POSITIVE:
        value = _select(cfg, key)
        if isinstance(value, int | float) and value <= 0:
            faults.append(f"{key}={value}: expected a number above 0")
    for key in NOT_NEGATIVE:
        value = _select(cfg, key)
        if isinstance(value, int | float) and value < 0:
            faults.append(f"{key}={value}: expected a number of at least 0")
    if "batch_frames" in cfg and (cfg.batch_size is None) == (cfg.batch_frames is None):
        faults.append("batch_size and batch_frames: give one of the two, set the other to null")
    beams, nbest = _select(cfg, "evaluation.num_beams"), _select(cfg, "evaluation.nbest")
    if beams is not None and nbest is not None and nbest > beams:
        faults.append(f"evaluation.nbest={nbest} is above evaluation.num_beams={beams}: beams bound the n-best")
    if "devices" in cfg and not faults:
        faults += _check_processes(cfg)
    if "gloss_weight" in cfg:
        faults += _check_train(cfg)
    if "objective" in cfg:
        faults += [fault for group, node in _plain(cfg).items() for fault in _check_target(node, str(group))]
    if "max_failures" in cfg:
        faults += _check_extract(cfg)
    if "partial_seconds" in cfg:
        faults += _check_demo(cfg)
    if "title" in cfg and cfg.wandb.entity is None:
        faults.append(
            "wandb.entity is missing: give it, as in wandb.entity=NAME; whose project it is, you or your team"
        )
    if fault := key_fault(_select(cfg, "wandb.mode")):
        faults.append(fault)
    if faults:
        raise ValueError("\n  ".join(faults))


def _check_train(cfg: DictConfig) -> list[str]:
    faults = []
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    for override in overrides:
        faults += _check_override(override, cfg)
    if OmegaConf.is_missing(cfg, "dataset"):
        return faults
    for name in cfg.dataset.streams:
        if cfg.streams.get(name) is None:
            faults.append(
                f"dataset.streams.{name} has no backbone: add +backbone@streams.{name}=NAME; "
                f"streams with one: {', '.join(map(str, cfg.streams))}"
            )
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    plain.pop("backbone", None)
    return faults + [fault for group, node in plain.items() for fault in _check_target(node, str(group))]


def _check_processes(cfg: DictConfig) -> list[str]:
    """What is wrong with `devices` and `strategy`, here and with this batch."""
    import torch

    from slt.training.processes import outside

    place, faults = outside(os.environ), []
    if place is not None and cfg.devices not in (1, place.world):
        faults.append(f"devices={cfg.devices}: {place.starter} has started {place.world} processes; leave devices out")
    if place is not None and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        faults.append(
            f"{place.starter} has started {place.world} processes, which join for a single run; of a sweep (-m) each "
            f"job starts its own: run it in one process with devices={place.world}"
        )
    count = cfg.devices if place is None else place.world
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
    if count > 1 and cfg.strategy == "fsdp2" and "objective" in cfg:
        faults.append("strategy=fsdp2: pretraining's teacher follows the student whole; use strategy=ddp")
    if count > 1 and cfg.strategy == "fsdp2" and cfg.precision == "fp16":
        faults.append("precision=fp16 scales one loss, and shards have no common scale; use bf16 with strategy=fsdp2")
    return faults


def _check_extract(cfg: DictConfig) -> list[str]:
    if cfg.check is not None:
        return []
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
    built = ("landmarker", "extractor") if cfg.kind == "films" else ()
    return faults + [fault for group in built for fault in _check_target(_plain(cfg[group]), group)]


def _check_demo(cfg: DictConfig) -> list[str]:
    faults = []
    camera = cfg.source is not None and re.fullmatch(r"\d+", cfg.source) is not None
    if cfg.source is None and cfg.ui != "web":
        faults.append("source is missing: give it, as in source=0 (a camera), source=FILM or source=FOLDER")
    if cfg.source is not None and cfg.ui == "web":
        faults.append(f"source={cfg.source}: on the page films are uploaded; leave source out with ui=web")
    if camera and cfg.segments == "whole":
        faults.append("segments=whole: a camera has no end at which its one sentence could be written; use auto")
    if cfg.record is not None and not (camera or cfg.live):
        faults.append(f"record={cfg.record} is for cameras and live=true; of films the annotated one is in `out`")
    if cfg.record is not None and Path(cfg.record).suffix.lower() != ".mp4":
        faults.append(f"record={cfg.record}: expected a name that ends in .mp4")
    if (cfg.signer == "box") != (cfg.box is not None):
        faults.append("signer=box and box belong together, as in signer=box box=[0,0,640,720]")
    if cfg.box is not None and (len(cfg.box) != 4 or cfg.box[0] >= cfg.box[2] or cfg.box[1] >= cfg.box[3]):
        faults.append(f"box={list(cfg.box)}: expected x0, y0, x1, y1 with x0 < x1 and y0 < y1")
    built = ("landmarker", "extractor")
    return faults + [fault for group in built for fault in _check_target(_plain(cfg[group]), group)]


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node


def _unknown(node: DictConfig, prefix: str) -> list[str]:
    """Fixed keys that there are not; Hydra stops most of them, but lets `+key=value` pass."""
    schema = OmegaConf.get_type(node)
    if schema is None or not is_dataclass(schema):
        return []
    known = [part.name for part in fields(schema)]
    faults = []
    for key in map(str, node):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            faults.append(
                f"{prefix}{key}: there is no such key" + (f"; did you mean {prefix}{near[0]}?" if near else "")
            )
        elif not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            faults += _unknown(node[key], f"{prefix}{key}.")
    return faults


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


def _check_target(node: Any, path: str) -> list[str]:
    """Keys, at any depth below `path`, that the constructor named beside them does not take, with the near spelling."""
    if not isinstance(node, Mapping):
        return []
    faults = []
    if "_target_" in node:
        parameters = inspect.signature(locate(node["_target_"])).parameters
        anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for key in node:
            if key not in parameters and not str(key).startswith("_") and not anything:
                near = difflib.get_close_matches(str(key), [*parameters], n=1)
                hint = f"; {near[0]}?" if near else ""
                faults.append(f"{path}.{key}: {node['_target_']} takes no such key{hint}")
    return faults + [fault for key, child in node.items() for fault in _check_target(child, f"{path}.{key}")]


def locate(target: str) -> Any:
    """The class or function that a `_target_` names.

    Raises:
        ValueError: there is none.
    """
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        if isinstance(error, ImportError) and not (error.name or "").startswith(module.split(".")[0]):
            raise
        raise ValueError(f"_target_: {target} cannot be found ({error})") from error


def _select(cfg: DictConfig, key: str) -> Any:
    return OmegaConf.select(cfg, key, throw_on_missing=False)
