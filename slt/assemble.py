"""From a resolved configuration to built parts: shared by the entry points, which are the only callers.

T frames, R crop side, K landmarks, F feature width.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import locate
from slt.data import LsaTMultiStream
from slt.models import MultiStreamEncoder, Translator
from slt.models.backbones import ImageBackbone, check_stream
from slt.models.decoder import language_id
from slt.pretraining.crops import POOLS
from slt.pretraining.probe import Probe, labelled_crops
from slt.text import check_lengths, tokenizer_files, tokenizer_from_files
from slt.training.checkpoint import load_weights
from slt.training.loop import Trainer
from slt.training.record import write_origin
from slt.training.resume import find_resume

log = logging.getLogger(__name__)

Shapes = dict[str, list[int]]

# Keys that may change between a run and its continuation.
FREE = ("resume", "num_workers", "wandb", "final", "evaluation", "backbone", "debug", "study")


def begin_run(cfg: DictConfig) -> Path:
    """The run folder, with the resolved configuration in it and where the run came from."""
    run = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
    write_origin(run)
    OmegaConf.save(cfg, run / "config.yaml", resolve=True)
    return run


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one; a device that was asked for and is not there is an error.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(
            f"device={name}: there are {torch.cuda.device_count()} CUDA devices here; use device=cpu or auto"
        )
    return device


def build_splits(cfg: DictConfig, names: Collection[str], *, augment: bool) -> dict[str, LsaTMultiStream]:
    """The splits of `cfg.dataset`; `train` is augmented in training, everything else never."""
    make = instantiate(cfg.dataset, _convert_="all")
    plain = functools.partial(make, augment=None)
    return {name: (make if augment and name == "train" else plain)(split=name) for name in sorted(names)}


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
        "config": OmegaConf.to_yaml(cfg, resolve=True),
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


def restore(payload: dict[str, Any], source: Path) -> tuple[DictConfig, Translator, Any]:
    """The configuration, translator and tokenizer of a checkpoint.

    Raises:
        ValueError: the weights do not fit the configuration beside them.
    """
    cfg = OmegaConf.create(payload["config"])
    assert isinstance(cfg, DictConfig)
    tokenizer = tokenizer_from_files({name: bytes(data.tolist()) for name, data in payload["tokenizer"].items()})
    translator = build_translator(
        cfg, tokenizer, payload["shapes"], num_glosses=len(payload["glosses"]),
        hf_config=json.loads(payload["hf_config"]),
    )  # fmt: skip
    load_weights(translator, payload["model"], source=source)
    return cfg, translator, tokenizer


def resume(trainer: Trainer, cfg: DictConfig, run: Path, *, job: str = "train") -> None:
    """Puts `trainer` where `cfg.resume` says, and the earlier metrics into this run's file.

    A job of a sweep that is started again goes on in its own folder, without being told to.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, or one of another corpus or architecture.
    """
    wanted = cfg.resume
    if HydraConfig.get().mode == RunMode.MULTIRUN and (run / "checkpoints" / "last.pt").is_file():
        wanted = str(run)
    found = find_resume(
        wanted, run=run, runs=Path("outputs") / job, max_steps=cfg.max_steps,
        same=lambda payload: _same_run(OmegaConf.create(payload["config"]), cfg),
    )  # fmt: skip
    if found is None:
        return
    path, payload = found
    if wanted != cfg.resume and not _same_run(OmegaConf.create(payload["config"]), cfg):
        raise ValueError(
            f"{path}: of another configuration than this job now has, though its overrides are the same: conf/ or the "
            "recipe has changed; give the sweep another hydra.sweep.dir"
        )
    if payload["corpus"] != trainer.carried["corpus"]:
        raise ValueError(
            f"resume={path}: trained on another corpus (its fingerprint differs); give that one, or start anew"
        )
    trainer.resume(payload, source=path)
    trainer.record.carry_over(path.parent.parent / "metrics.csv", trainer.step_count)
    best = path.parent / "best.pt"
    if best.is_file() and path.parent != trainer.folder:
        trainer.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(best, trainer.folder / "best.pt")
    log.info("resumed %s at step %d", path, trainer.step_count)


def _same_run(one: DictConfig, other: DictConfig) -> bool:
    """Whether two configurations describe the same training, whatever its machine or dashboard."""
    plain = []
    for cfg in (one, other):
        values = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(values, dict)
        # A permission and not a value of the training: the corpus fingerprint says what is trained on.
        values["dataset"].pop("mixed_extractors", None)
        plain.append({key: value for key, value in values.items() if key not in FREE})
    return plain[0] == plain[1]
