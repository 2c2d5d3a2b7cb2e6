"""From a resolved configuration to built parts: shared by the entry points, which are the only callers.

T frames, R crop side, K landmarks, F feature width.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slt.config.checks import check, locate
from slt.config.continuation import continued, same_run
from slt.config.entry import explain
from slt.config.foreign import refuse_code, refuse_depth
from slt.config.moved import rename_targets
from slt.config.resume import find_resume
from slt.config.screen import ours_alone
from slt.corpora.folder import LsaTMultiStream, corpus_fingerprints
from slt.files import atomic, rebuilding
from slt.models import MultiStreamEncoder, Translator
from slt.models.backbones import ImageBackbone, check_stream
from slt.models.decoder import language_id
from slt.models.tokenizer import check_lengths, tokenizer_files, tokenizer_from_files
from slt.pretraining.crops import POOLS, CropPool, ViewBatches
from slt.pretraining.networks import StudentTeacher
from slt.pretraining.objective import SelfDistillation
from slt.pretraining.probe import Probe, labelled_crops
from slt.pretraining.weights import add_adapters
from slt.training import lineage, processes
from slt.training.checkpoint import find_checkpoint, load_checkpoint, load_weights, no_larger_than, part
from slt.training.dashboard import Dashboard
from slt.training.launching import launch
from slt.training.loop import Trainer
from slt.training.profile import profiler
from slt.training.record import write_origin

log = logging.getLogger(__name__)

Shapes = dict[str, list[int]]

# Groups of a checkpoint's configuration that are built again out of it.
REBUILT = ("dataset", "streams", "projector", "fusion", "temporal", "decoder")


def in_processes(function: Callable[[DictConfig], float]) -> Callable[[DictConfig], float]:
    """Makes a job of Hydra's run in `devices` processes of this machine, or as one of those of torchrun or srun."""

    @functools.wraps(function)
    def job(cfg: DictConfig) -> float:
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
        main = sys.modules["__main__"].__spec__
        module = main.name if function.__module__ == "__main__" and main is not None else function.__module__
        told = (module, function.__name__, cfg, HydraConfig.instance().cfg)
        return float(launch(_in_process, told, count=cfg.devices))

    return job


def _own_config(cfg: DictConfig) -> DictConfig:
    """The configuration of the run that `resume` names, with what is given beside it (see `continued`).

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, one of another command, one that names what is not to be
            run, or a key that contradicts it.
    """
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


def _as_one(function: Callable[[DictConfig], float], cfg: DictConfig) -> float:
    """The job in one of several processes: only the first prints, and only it has a dashboard."""
    if processes.first():
        return function(cfg)
    cfg.wandb.mode = "disabled"
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        return function(cfg)


def begin_run(cfg: DictConfig) -> Path:
    """The run folder, one for all processes, with the resolved configuration and where the run came from in it.

    `seed=null` is drawn here.
    """
    run = Path(os.path.relpath(processes.same(HydraConfig.get().runtime.output_dir)))
    if cfg.get("seed", 0) is None:
        cfg.seed = processes.same(choose_seed(run))
    if processes.first():
        write_origin(run)
        with atomic(run / "config.yaml") as file:
            file.write(OmegaConf.to_yaml(cfg, resolve=True).encode())
    return run


def open_dashboard(
    cfg: DictConfig, run: Path, job_type: str, *, uses: Callable[[], Sequence[lineage.Item]]
) -> Dashboard:
    """The run on the board: jobs of a sweep in one group, each named after its folder unless it has a name.

    Args:
        cfg: of the run.
        run: its folder.
        job_type: train, eval, pretrain, extract or export.
        uses: gives what the run builds on, and is only asked where there is a board.
    """
    options: dict[str, Any] = dict(cfg.wandb)
    if cfg.wandb.mode == "disabled":
        return Dashboard(run, {}, job_type=job_type, **options)
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        options["group"] = options["group"] or _under_outputs(Path(hydra.sweep.dir))
        options["name"] = f"{options['name'] or options['group']}/{hydra.job.num}"
    options["name"] = options["name"] or _under_outputs(run)
    chosen = (hydra.runtime.choices.get(group) for group in ("experiments", "debug"))
    options["tags"] = [*options["tags"], *(name for name in chosen if name not in (None, "null"))]
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    dashboard = Dashboard(run, {**config, "run_folder": str(run)}, job_type=job_type, **options)
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


def backbone_items(*nodes: DictConfig) -> list[lineage.Item]:
    """The local files of pretrained weights that backbones start from."""
    files = {str(node.weights) for node in nodes if isinstance(node, DictConfig) and node.get("weights")}
    return [lineage.backbone(Path(name)) for name in sorted(files) if Path(name).is_file()]


def choose_seed(run: Path) -> int:
    """The seed of a run that was not given one: drawn anew, and kept by a job that is queued again in its folder.

    Other runs that `resume=auto` might go on from are not looked at: none can be told to be the same without a seed.
    """
    begun = run / "config.yaml"
    seed = OmegaConf.load(begun).seed if begun.is_file() else secrets.randbelow(2**31)
    log.info("seed=null: this run has seed %d, and seed=%d repeats it", seed, seed)
    return int(seed)


def build_profiler(cfg: DictConfig, run: Path, device: torch.device) -> torch.profiler.profile | None:
    """The profiler of `debug=profile`, of the first process; None where nothing is to be recorded."""
    return profiler(run, device=device, **cfg.profile) if cfg.profile.steps and processes.first() else None


def build_splits(
    cfg: DictConfig, names: Collection[str], *, augment: bool, named_by: str | None = None
) -> dict[str, LsaTMultiStream]:
    """The splits of `cfg.dataset`; `train` is augmented in training, everything else never.

    Raises:
        FileNotFoundError: no such corpus or split; `named_by` is the key, or keys, that name the splits.
    """
    with processes.one_ahead():  # who writes the embedded corpus, where it is not there yet
        make = instantiate(cfg.dataset, _convert_="all")
        plain = functools.partial(make, augment=None)
        try:
            return {name: (make if augment and name == "train" else plain)(split=name) for name in sorted(names)}
        except FileNotFoundError as error:
            if named_by is None:
                raise
            raise FileNotFoundError(f"{error}; splits are named by {named_by}") from error


def stream_shapes(clips: LsaTMultiStream) -> Shapes:
    """Stream name -> shape of one frame: crops [3, R, R], pose [K, 3], features [F]."""
    return {name: list(x.shape[1:]) for name, x in clips[0].streams.items()}


def check_streams(clips: LsaTMultiStream, shapes: Shapes, drop: Sequence[str]) -> None:
    """Refuses clips that a trained model cannot read.

    Raises:
        ValueError: a stream of another shape than trained on, or a dropped stream that there is not.
    """
    for name in drop:
        if name not in shapes:
            raise ValueError(f"streams.drop: there is no stream {name!r}; the model has {', '.join(shapes)}")
    for name, shape in stream_shapes(clips).items():
        if shape != shapes[name]:
            raise ValueError(
                f"{clips.root}: stream {name!r} has frames of {shape}, the model was trained on {shapes[name]}"
            )


def gloss_inventory(clips: LsaTMultiStream, weight: float) -> list[str]:
    """The glosses of the training clips, sorted; none where the corpus has no such column or `weight` is 0."""
    if not weight or "gloss" not in clips.columns:
        log.info("training is gloss-free%s", "" if not weight else ": the corpus has no column `gloss`")
        return []
    return sorted({gloss for text in clips.columns["gloss"] for gloss in text.split()})


def build_tokenizer(cfg: DictConfig, splits: Mapping[str, LsaTMultiStream]) -> Any:
    """The decoder's tokenizer, trained on the sentences of `train` where it is not a ready one.

    Raises:
        ValueError: a sentence of any split that is empty or longer than the decoder allows.
    """
    made = instantiate(cfg.decoder.tokenizer, _convert_="all")
    tokenizer = made(list(splits["train"].texts)) if isinstance(made, functools.partial) else made
    if cfg.decoder.language is not None:
        # Or the targets would begin with the tokenizer's own language (English, for mBART-50) and generation with ours.
        language_id(tokenizer, cfg.decoder.language)
        tokenizer.tgt_lang = cfg.decoder.language
    for clips in splits.values():
        check_lengths(dict(zip(clips.ids, clips.texts, strict=True)), tokenizer, cfg.decoder.max_tokens)
    return tokenizer


def build_translator(
    cfg: DictConfig,
    tokenizer: Any,
    shapes: Shapes,
    *,
    num_glosses: int = 0,
    hf_config: Mapping[str, Any] | None = None,
) -> Translator:
    """The model that `cfg` describes.

    Args:
        cfg: resolved configuration of a training run.
        tokenizer: of the decoder.
        shapes: of one frame of each stream, as `stream_shapes` gives them.
        num_glosses: that the corpus has and training recognises.
        hf_config: the decoder's transformers configuration out of a checkpoint; with it no weights are loaded from
            a hub or file, because those of the checkpoint follow.
    """
    rebuilt = hf_config is not None
    tied = {name: owner for name, owner in cfg.tied.items() if name in shapes and owner is not None}
    backbones = {
        name: build_backbone(cfg.streams[name], name, shape, rebuilt=rebuilt)
        for name, shape in shapes.items()
        if name not in tied
    }
    for name, owner in tied.items():
        if len(shapes[name]) != 3:
            raise ValueError(f"tied.{name}={owner}: only picture streams can be seen in a mirror; set tied.{name}=null")
    backbones |= {name: backbones[owner] for name, owner in tied.items() if owner in backbones}
    ordered = {name: backbones[name] for name in shapes if name in backbones}
    encoder = MultiStreamEncoder(
        backbones=ordered,
        projector=instantiate(cfg.projector, _convert_="all"),
        fusion=instantiate(cfg.fusion, _convert_="all"),
        temporal=instantiate(cfg.temporal, _convert_="all"),
        tied=tied,
    )
    node = OmegaConf.to_container(cfg.decoder, resolve=True)
    assert isinstance(node, dict)
    del node["tokenizer"]
    if hf_config is not None:
        node |= {"pretrained": None, "config": dict(hf_config)}
    decoder = instantiate(node, _convert_="all")(tokenizer=tokenizer)
    return Translator(encoder=encoder, decoder=decoder, num_glosses=num_glosses)


def build_backbone(node: DictConfig, stream: str, shape: list[int], *, rebuilt: bool) -> torch.nn.Module:
    """One backbone; what it must know of its stream (`img_size`, `num_points`, `num_features`) comes from the files.

    Args:
        node: its configuration.
        stream: whose it is.
        shape: of one frame, as `stream_shapes` gives it.
        rebuilt: weights of a checkpoint follow, so none are loaded from a file or hub.
    """
    if rebuilt and "weights" in inspect.signature(locate(node["_target_"])).parameters:
        node = OmegaConf.merge(node, {"weights": None})  # type: ignore[assignment]
    check_stream(node.get("weights"), stream)
    made = instantiate(node, _convert_="all")
    if not isinstance(made, functools.partial):
        return made
    facts = {3: {"img_size": shape[-1]}, 2: {"num_points": shape[0]}, 1: {"num_features": shape[0]}}[len(shape)]
    taken = inspect.signature(made.func).parameters
    return made(**{key: value for key, value in facts.items() if key in taken and key not in made.keywords})


def build_picture_backbone(node: DictConfig, stream: str, size: int) -> ImageBackbone:
    """A backbone of crops of `size` pixels, to be pretrained on `stream`.

    Raises:
        ValueError: a backbone of something else.
    """
    made = build_backbone(node, stream, [3, size, size], rebuilt=False)
    if not isinstance(made, ImageBackbone):
        raise ValueError(f"backbone: {type(made).__name__} does not see pictures; pretraining is of crops")
    return made


def root_of(dataset: DictConfig) -> str:
    """Its folder, which the embedded corpus writes first where it is not there."""
    return str(dataset.root if isinstance(dataset.root, str) else instantiate(dataset.root))


def folders_of(dataset: DictConfig, stream: str) -> dict[str, str]:
    """Folders of the streams of a pool, as the dataset names them."""
    return {part: dataset.streams[part].folder for part, _ in POOLS[stream]}


def build_views(cfg: DictConfig, *, pin_memory: bool) -> tuple[CropPool, ViewBatches]:
    """The crops of a pretraining run, and the batches of views of them."""
    pool = CropPool(
        roots=[root_of(cfg.dataset), *cfg.corpora], folders=folders_of(cfg.dataset, cfg.stream),
        **{key: cfg[key] for key in ("stream", "splits", "seconds", "fps")},
    )  # fmt: skip
    loading = {key: cfg[key] for key in ("drift", "batch_size", "clips", "num_workers", "seed")}
    return pool, ViewBatches(pool, instantiate(cfg.augment, _convert_="all"), **loading, pin_memory=pin_memory)


def build_twins(cfg: DictConfig) -> tuple[StudentTeacher, SelfDistillation]:
    """Student and teacher of a pretraining run, and what they are trained to do."""
    backbone = build_picture_backbone(cfg.backbone, cfg.stream, cfg.augment.size)
    if cfg.adapters is not None:
        add_adapters(backbone, **cfg.adapters)
    loss = instantiate(cfg.objective.loss, _convert_="all")
    if loss.contrast_moments is not None and cfg.clips is None:
        raise ValueError("clips=null: the objective tells apart moments of a clip, so give clips, as clips=8")
    if loss.contrast_moments is not None and cfg.drift > loss.contrast_moments:
        raise ValueError(
            f"drift={cfg.drift} is above objective.loss.contrast_moments={loss.contrast_moments}: a crop would be told "
            "from its own moment; lower drift"
        )
    twins = instantiate(cfg.objective.model, _convert_="all")(backbone, patches=loss.weights["ibot"] > 0)
    twins.check_sizes(cfg.augment.size, cfg.augment.part_size if cfg.augment.parts else None)
    return twins, loss


def build_probe(cfg: DictConfig) -> Probe | None:
    """The probe on the embedded corpus; None where it is switched off."""
    if not cfg.probe.enabled:
        return None
    root = Path(root_of(cfg.probe.dataset))
    same: dict[str, Any] = {
        "stream": cfg.stream,
        "folders": folders_of(cfg.probe.dataset, cfg.stream),
        "seed": cfg.seed,
    }
    return Probe(
        labelled_crops(root, split="train", count=cfg.probe.examples, **same),
        labelled_crops(root, split=cfg.probe.split, count=cfg.probe.questions, **same),
        **{key: cfg.probe[key] for key in ("k", "temperature", "penalty")},
    )


def config_text(cfg: DictConfig) -> str:
    """The resolved configuration as YAML, without the folders of this machine: a checkpoint is given away.

    What lies in the home folder, the suite's own or the working one is named by it, so that it is found here again.
    """
    text = OmegaConf.to_yaml(cfg, resolve=True)
    places = {
        os.environ.get("HOME"): "${oc.env:HOME}/",
        os.environ["SLT_HOME"]: "${oc.env:SLT_HOME}/",
        str(Path.cwd()): "",
    }
    for folder, name in places.items():
        if folder and folder != "/":
            text = re.sub(rf"(?<![\w./-]){re.escape(folder)}/", name, text)
    return text


def carried(
    cfg: DictConfig,
    translator: Translator,
    tokenizer: Any,
    shapes: Shapes,
    glosses: Sequence[str],
    clips: LsaTMultiStream,
) -> dict[str, Any]:
    """The plain values with which `restore` rebuilds a run from its checkpoint alone, and what it was trained on."""
    return {
        "config": config_text(cfg),
        "hf_config": json.dumps(translator.decoder.hf_config),
        "tokenizer": {
            name: torch.frombuffer(bytearray(data), dtype=torch.uint8)
            for name, data in tokenizer_files(tokenizer).items()
        },
        "shapes": shapes,
        "glosses": list(glosses),
        "corpus": clips.fingerprint,
        "extractor": clips.extractor,
    }


def restore(payload: dict[str, Any], source: Path, *, trust: Sequence[str] = ()) -> tuple[DictConfig, Translator, Any]:
    """The configuration, translator and tokenizer of a checkpoint.

    Args:
        payload: as `load_checkpoint` gives it.
        source: its file, for messages.
        trust: packages whose classes its configuration may name beside those of the suite.

    Raises:
        ValueError: the weights do not fit the configuration beside them, it is not whole, or it names what is not to
            be run.
    """
    with rebuilding(source):
        cfg = read_config(payload, source)
        parts: dict[str, Any] = {group: OmegaConf.to_container(cfg[group], resolve=False) for group in REBUILT}
        parts["hf_config"] = json.loads(payload["hf_config"])
        for group, content in parts.items():
            refuse_code(content, f"{source}: {group}", trust)
            refuse_depth(content, f"{source}: {group}", len(payload["model"]))
        with no_larger_than({**payload["tokenizer"], **payload["model"]}):
            files = {name: bytes(data.tolist()) for name, data in payload["tokenizer"].items()}
            tokenizer = tokenizer_from_files(files)
            translator = build_translator(
                cfg,
                tokenizer,
                payload["shapes"],
                num_glosses=len(payload["glosses"]),
                hf_config=parts["hf_config"],
            )
        part(translator, payload["model"])
        load_weights(translator, payload["model"], source=source)
    return cfg, translator, tokenizer


def read_config(payload: Mapping[str, Any], source: Path | str) -> DictConfig:
    """The configuration in a checkpoint.

    Raises:
        ValueError: it is none, or refers back to itself (nine lines of that make a billion values).
    """
    with rebuilding(source):
        text = payload["config"]
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValueError("its configuration has YAML aliases, which none that was written here has")
        cfg = OmegaConf.create(text)
        if not isinstance(cfg, DictConfig):
            raise ValueError(f"its configuration is a {type(cfg).__name__}; expected keys and values")
        rename_targets(cfg)
        return cfg


def resume(trainer: Trainer, cfg: DictConfig, run: Path, *, job: str = "train") -> None:
    """Puts `trainer` where `cfg.resume` says, and the earlier metrics into this run's file.

    A job of a sweep that is started again goes on in its own folder, without being told to.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, or one of another corpus or architecture.
    """
    found = processes.by_first(lambda: _find(cfg, run, job))
    if found is None:
        trainer.record.carry_over(None, 0)
        return
    path, payload = found, load_checkpoint(found)
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
    """What a run goes on from; a job of a sweep that is started again, from what it left in its own folder."""
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
