"""From a checkpoint to scores: rebuild everything from it alone, translate a split, score it, report."""

from __future__ import annotations

import copy
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from slt.config import build, runs
from slt.config.checks import check, taken
from slt.corpora.clips import Clips
from slt.corpora.provenance import refuse_other_extractor
from slt.evaluation.assessment import score_split
from slt.evaluation.report import Shown
from slt.evaluation.results import write_results
from slt.evaluation.settings import Scoring
from slt.files import rebuilding
from slt.models.confidence import Confidence
from slt.streams.batch import Batching
from slt.training import lineage
from slt.training.checkpoint import find_checkpoint, load_checkpoint
from slt.training.machine import Compute, choose_device
from slt.training.record import read_metrics


def evaluate(cfg: DictConfig) -> float:
    """Evaluates, and returns BLEU."""
    check(cfg)
    folder, device = runs.begin_run(cfg), choose_device(cfg.device)
    path = find_checkpoint(Path(cfg.checkpoint), "best.pt")
    payload = load_checkpoint(path)
    trained, translator, tokenizer = build.restore(payload, path, trust=cfg.trust)
    if cfg.dataset.root is not None:
        trained.dataset.root = cfg.dataset.root
    if cfg.other_extractor:
        build.take_other_extractor(trained.dataset)
    splits = build.build_splits(trained, ["train", cfg.split], augment=False, named_by="split")
    clips, where = splits[cfg.split], str(splits[cfg.split].root)
    refuse_other_extractor(payload.get("extractor"), clips.extractor, where=where, allowed=cfg.other_extractor)
    build.check_streams(clips, payload["shapes"], cfg.streams.drop)
    clips.check_seen(strict=False)
    dashboard = runs.open_dashboard(
        cfg, folder, "eval", uses=lambda: [runs.clips_item(clips), lineage.checkpoint(path)]
    )
    with rebuilding(path):
        confidence = Confidence.of(payload.get("confidence"))
    model = build.as_model(
        trained, translator.to(device), tokenizer, payload["glosses"], cfg.evaluation, confidence=confidence
    )
    scoring = taken(Scoring, cfg.evaluation, seed=cfg.seed, drop=list(cfg.streams.drop))
    compute = Compute(device, cfg.precision or trained.precision)
    found = score_split(
        model, clips, splits["train"], taken(Batching, cfg), scoring, compute, foreign=foreign_clips(cfg, trained)
    )
    assert found is not None
    history = path.parent.parent / "metrics.csv"
    write_results(
        found, clips, folder, strips=scoring.report_strips, dashboard=dashboard,
        about={"checkpoint": str(path), "corpus": clips.fingerprint, "step": payload["step"]},
        shown=Shown(read_metrics(history) if history.is_file() else {}, OmegaConf.to_yaml(trained)),
    )  # fmt: skip
    dashboard.close()
    return found.scores["bleu"].value


def foreign_clips(cfg: DictConfig, trained: DictConfig) -> Clips | None:
    """The split of the corpus that `foreign` names, read as that of the training; None without one."""
    if cfg.foreign is None:
        return None
    other = copy.deepcopy(trained)
    other.dataset.root = cfg.foreign
    build.take_other_extractor(other.dataset)
    clips: Clips = build.build_splits(other, [cfg.split], augment=False, named_by="split")[cfg.split]
    return clips
