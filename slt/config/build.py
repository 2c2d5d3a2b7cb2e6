"""From a resolved configuration to built parts: splits, tokenizer, model, and the same again from a checkpoint."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config.checks import locate, taken
from slt.config.foreign import leaves, refuse_code, refuse_depth
from slt.config.moved import rename_targets
from slt.corpora.clips import Clips
from slt.corpora.provenance import stated_of
from slt.files import rebuilding
from slt.models import MultiStreamEncoder, Translator
from slt.models.backbones import check_stream
from slt.models.confidence import Confidence
from slt.models.decoder import language_id
from slt.models.search import Search
from slt.models.tokenizer import add_languages, check_lengths, tokenizer_files, tokenizer_from_files
from slt.models.trained import Model
from slt.streams.skeleton import spell_out
from slt.text import tagged
from slt.training import lineage, processes
from slt.training.checkpoint import load_weights, no_larger_than, part

log = logging.getLogger(__name__)

Shapes = dict[str, list[int]]  # stream -> shape of one frame: crops [3, R, R], pose [K, 3], features [F]

# Groups of a checkpoint's configuration that are built again out of it.
REBUILT = ("dataset", "streams", "projector", "fusion", "temporal", "decoder", "objective")


def build_splits(
    cfg: DictConfig, names: Collection[str], *, augment: bool, named_by: str | None = None
) -> dict[str, Clips]:
    """The splits of `cfg.dataset`, named by the keys `named_by`; `train` is augmented where `augment`, others never."""
    with processes.first_per_machine():  # who writes the embedded corpus, where it is not there yet
        make = instantiate(cfg.dataset, _convert_="all")
        plain = functools.partial(make, augment=None)
        try:
            return {name: (make if augment and name == "train" else plain)(split=name) for name in sorted(names)}
        except FileNotFoundError as error:
            if named_by is None:
                raise
            raise FileNotFoundError(f"{error}; splits are named by {named_by}") from error


def take_other_extractor(dataset: DictConfig) -> None:
    """Have a corpus in the suite's layout take clips of several extractors; others do not say what made theirs."""
    if "corpus" not in dataset and "parts" not in dataset:
        dataset.mixed_extractors = True


def stream_shapes(clips: Clips) -> Shapes:
    """The shape of one frame of each stream."""
    return {name: list(x.shape[1:]) for name, x in clips[0].streams.items()}


def check_streams(clips: Clips, shapes: Shapes, drop: Sequence[str]) -> None:
    """Refuses clips with a stream of another shape than trained on, and a dropped stream that there is not."""
    for name in drop:
        if name not in shapes:
            raise ValueError(f"streams.drop: there is no stream {name!r}; the model has {', '.join(shapes)}")
    for name, shape in stream_shapes(clips).items():
        if shape != shapes[name]:
            raise ValueError(
                f"{clips.root}: stream {name!r} has frames of {shape}, the model was trained on {shapes[name]}"
            )


def build_tokenizer(cfg: DictConfig, splits: Mapping[str, Clips]) -> Any:
    """The decoder's tokenizer, trained on the sentences of `train` where it is not a ready one.

    A sentence of any split that is empty or longer than the decoder allows is a ValueError.
    """
    made = instantiate(cfg.decoder.tokenizer, _convert_="all")
    tokenizer = made(list(splits["train"].texts)) if isinstance(made, functools.partial) else made
    if cfg.decoder.language is not None:
        # Or the targets would begin with the tokenizer's own language (English, for mBART-50) and generation with ours.
        language_id(tokenizer, cfg.decoder.language)
        tokenizer.tgt_lang = cfg.decoder.language
    for clips in splits.values():
        told = clips.columns.get("language", [""] * len(clips))
        add_languages(tokenizer, told)
        texts = map(tagged, clips.texts, told)
        check_lengths(dict(zip(clips.ids, texts, strict=True)), tokenizer, cfg.decoder.max_tokens)
    return tokenizer


def build_translator(
    cfg: DictConfig,
    tokenizer: Any,
    shapes: Shapes,
    *,
    labels: Sequence[str] = (),
    hf_config: Mapping[str, Any] | None = None,
) -> Translator:
    """The model that `cfg` describes, for streams of these shapes, its objective's heads for these `labels`.

    `hf_config` is the decoder's transformers configuration out of a checkpoint; with it no weights are loaded from a
    hub or file, because those of the checkpoint follow.
    """
    rebuilt = hf_config is not None
    tied = {name: owner for name, owner in cfg.tied.items() if name in shapes and owner is not None}
    for name, owner in tied.items():
        if len(shapes[name]) != 3:
            raise ValueError(f"tied.{name}={owner}: only picture streams can be seen in a mirror; set tied.{name}=null")
    own = {
        name: build_backbone(cfg.streams[name], name, shape, rebuilt=rebuilt)
        for name, shape in shapes.items()
        if name not in tied
    }
    owners = {name: tied.get(name, name) for name in shapes}
    built = {key: instantiate(cfg[key], _convert_="all") for key in ("projector", "fusion", "temporal")}
    backbones = {name: own[owner] for name, owner in owners.items() if owner in own}
    encoder = MultiStreamEncoder(backbones=backbones, tied=tied, **built)
    node = OmegaConf.to_container(cfg.decoder, resolve=True)
    assert isinstance(node, dict)
    del node["tokenizer"]
    if hf_config is not None:
        node |= {"pretrained": None, "config": dict(hf_config)} | ({"weights": None} if "weights" in node else {})
    decoder = instantiate(node, _convert_="all")(tokenizer=tokenizer)
    translator = Translator(encoder=encoder, decoder=decoder, heads={})
    translator.heads.update(instantiate(cfg.objective, _convert_="all").heads(translator, labels))
    return translator


def build_backbone(node: DictConfig, stream: str, shape: list[int], *, rebuilt: bool) -> torch.nn.Module:
    """A stream's backbone; what it must know of it (`img_size`, `num_points`, `num_features`) is in the frame's shape.

    Where it is `rebuilt`, weights of a checkpoint follow, so none are loaded from a file or hub.
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


def build_optimizer(node: DictConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer over parameter groups, in one kernel where it has such a form and nothing else is said."""
    make = instantiate(node, _convert_="all")
    fused = "fused" in inspect.signature(make.func).parameters and node.get("fused") is None
    return make(groups, fused=True) if fused else make(groups)


def as_model(
    trained: DictConfig,
    translator: Translator,
    tokenizer: Any,
    glosses: Sequence[str],
    search: DictConfig,
    *,
    confidence: Confidence | None = None,
) -> Model:
    beams = taken(Search, search, max_tokens=trained.decoder.max_tokens)
    return Model(
        translator=translator, tokenizer=tokenizer, search=beams, glosses=tuple(glosses), confidence=confidence
    )


def config_text(cfg: DictConfig) -> str:
    """The resolved configuration as YAML, without the folders of this machine: a checkpoint is given away.

    What lies in the home folder, the suite's own or the working one is named by it, so that it is found here again.
    """
    text = OmegaConf.to_yaml(_spelled_out(cfg), resolve=True)
    places = {
        os.environ.get("HOME"): "${oc.env:HOME}/",
        os.environ["SLT_HOME"]: "${oc.env:SLT_HOME}/",
        str(Path.cwd()): "",
    }
    for folder, name in places.items():
        if folder and folder != "/":
            text = re.sub(rf"(?<![\w./-]){re.escape(folder)}/", name, text)
    return text


def _spelled_out(cfg: DictConfig) -> DictConfig:
    """The configuration with what files of this folder say of skeletons in place of their names."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    named = OmegaConf.create(plain)
    assert isinstance(named, DictConfig)
    for path, key, value in leaves(plain, ""):
        if key == "points" and ".streams." in path and isinstance(value, str):
            OmegaConf.update(named, path[1:], spell_out(OmegaConf.select(cfg, path[1:])))
    return named


def carried(
    cfg: DictConfig,
    translator: Translator,
    tokenizer: Any,
    shapes: Shapes,
    glosses: Sequence[str],
    clips: Clips,
) -> dict[str, Any]:
    """The plain values with which `restore` rebuilds a run from its checkpoint alone, and what it was trained on."""
    files = tokenizer_files(tokenizer)
    return {
        "config": config_text(cfg),
        "hf_config": json.dumps(translator.decoder.hf_config),
        "tokenizer": {name: torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in files.items()},
        "shapes": shapes,
        "glosses": list(glosses),
        "corpus": clips.fingerprint,
        "extractor": clips.extractor,
        "signers": lineage.signer_marks(clips.signers),
        "data": stated_of(clips.root, clips.columns, len(clips)),
    }


def restore(payload: dict[str, Any], source: Path, *, trust: Sequence[str] = ()) -> tuple[DictConfig, Translator, Any]:
    """The configuration, translator and tokenizer of a checkpoint as `load_checkpoint` gives it.

    `trust` names packages whose classes its configuration may name beside those of the suite.
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
                cfg, tokenizer, payload["shapes"], labels=payload["glosses"], hf_config=parts["hf_config"]
            )
        part(translator, payload["model"])
        load_weights(translator, payload["model"], source=source)
    return cfg, translator, tokenizer


def read_config(payload: Mapping[str, Any], source: Path | str) -> DictConfig:
    """The configuration in a checkpoint."""
    with rebuilding(source):
        text = payload["config"]
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValueError("its configuration has YAML aliases, which none that was written here has")
        cfg = OmegaConf.create(text)
        if not isinstance(cfg, DictConfig):
            raise ValueError(f"its configuration is a {type(cfg).__name__}; expected keys and values")
        rename_targets(cfg)
        return cfg
