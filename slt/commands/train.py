"""From a configuration to a trained model: parse, build, train, score the best checkpoint, close."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import build, runs
from slt.config.checks import check, taken
from slt.corpora.clips import Clips
from slt.drawing.charts import save_curves
from slt.evaluation.assessment import score_split
from slt.evaluation.confidence import learn_confidence
from slt.evaluation.metrics import LOWER_IS_BETTER
from slt.evaluation.report import Shown
from slt.evaluation.results import Examples, write_results
from slt.evaluation.settings import Conventions, Scoring
from slt.evaluation.translation import validate
from slt.models.tokenizer import Tokenize
from slt.models.trained import Model
from slt.streams.batch import Batching
from slt.training.batches import TrainBatches, evaluation_batches
from slt.training.checkpoint import begin_with, load_checkpoint, load_weights, save_checkpoint
from slt.training.dashboard import Dashboard
from slt.training.energy import metered
from slt.training.loop import Run, Trainer, parameter_groups
from slt.training.processes import first
from slt.training.settings import LoopSettings

log = logging.getLogger(__name__)


@runs.in_processes
def train(cfg: DictConfig) -> float:
    """Trains, and returns the best validation score, which sweeps maximise."""
    check(cfg)
    objective: Any = instantiate(cfg.objective, _convert_="all")
    cfg.select = cfg.select or objective.measures[0]
    folder, device = runs.begin_training(cfg)
    splits = build.build_splits(cfg, {"train", cfg.val, cfg.final} - {None}, augment=True, named_by="val and final")
    for name in sorted(splits, key=lambda name: name != "train"):
        splits[name].check_seen(strict=name == "train")
    clips, val = splits["train"], splits[cfg.val]
    shapes = build.stream_shapes(clips)
    model = new_model(cfg, splits, shapes, objective)
    translator = model.translator.to(device)
    objective.begin(model, clips)
    dashboard = runs.open_dashboard(cfg, folder, "train", uses=lambda: [
        runs.clips_item(clips), *runs.backbone_items(*cfg.streams.values())
    ])  # fmt: skip
    carried = build.carried(cfg, translator, model.tokenizer, shapes, model.glosses, clips)
    run = runs.follow(cfg, folder, device, dashboard, carried)
    tokenize, batching = Tokenize(model.tokenizer, cfg.decoder.max_tokens), taken(Batching, cfg)
    looking = evaluation_batches(val, tokenize, batching, by_film=translator.reads_context)
    examples = Examples(val, dashboard)
    scored = partial(validate, conventions=Conventions.of(val.scoring),
                     show=lambda predictions: examples.show(trainer.step_count, predictions))  # fmt: skip
    looked = scored if objective.translates else objective.validate
    rates = {"encoder.backbones.": cfg.backbone_lr, "decoder.model.": cfg.decoder_lr}
    groups = parameter_groups(translator, lr=cfg.optimizer.lr, rates=rates)
    trainer: Trainer = Trainer(
        model=translator,
        objective=objective,
        optimizer=build.build_optimizer(cfg.optimizer, groups),
        schedule=instantiate(cfg.schedule, _convert_="all"),
        batches=TrainBatches(clips, tokenize, batching, seed=cfg.seed, pin_memory=device.type == "cuda"),
        evaluate=partial(looked, model, looking, run.compute),
        run=run,
        settings=taken(LoopSettings, cfg, select=f"val/{cfg.select}", lowest=cfg.select in LOWER_IS_BETTER),
    )  # fmt: skip
    if cfg.compile:
        translator.compile()
    runs.resume(trainer, cfg, folder)
    with metered(folder):
        trainer.run()
    if first():
        save_curves(run.record.curves, folder / "curves.png")
    # A profile is of updates, not of a model, and a stage without sentences ends with its validation.
    if not cfg.profile.steps and objective.translates:
        examine(cfg, model, splits, run, dashboard)
    dashboard.checkpoints(run.folder, **{f"val/{cfg.select}": trainer.best})
    dashboard.close()
    return trainer.best


def new_model(cfg: DictConfig, splits: Mapping[str, Clips], shapes: build.Shapes, objective: Any) -> Model:
    """The model at its start: drawn at random, or with the weights of the run that `start` names."""
    labels = objective.labels(splits["train"])
    if cfg.select == "gloss_wer" and not labels:
        raise ValueError("select=gloss_wer: no glosses are recognised; give the corpus a column `gloss`, or take bleu")
    tokenizer = build.build_tokenizer(cfg, splits)
    translator = build.build_translator(cfg, tokenizer, shapes, labels=labels)
    if cfg.start is not None:
        begin_with(translator, Path(cfg.start))
    weights = sum(p.numel() for p in translator.parameters())
    log.info("%d training clips, %s parameters", len(splits["train"]), f"{weights:,}")
    return build.as_model(cfg, translator, tokenizer, labels, cfg.evaluation)


def examine(cfg: DictConfig, model: Model, splits: Mapping[str, Clips], run: Run, dashboard: Dashboard) -> None:
    """Fits the confidence of the best checkpoint on `cfg.val`, keeps it there, and scores it on `cfg.final`."""
    if cfg.good_chrf is None and cfg.final is None:
        return
    best = load_checkpoint(run.folder / "best.pt")
    load_weights(model.translator.to(run.compute.device), best["model"], source=run.folder.parent)
    batching = taken(Batching, cfg)
    if cfg.good_chrf is not None:
        confidence = learn_confidence(model, splits[cfg.val], batching, run.compute, good_chrf=cfg.good_chrf)
        model = replace(model, confidence=confidence)
        if first():
            save_checkpoint(run.folder / "best.pt", {**best, "confidence": asdict(confidence)})
    if cfg.final is not None:
        score_best(cfg, model, splits, run, dashboard, step=best["step"])


def score_best(
    cfg: DictConfig, model: Model, splits: Mapping[str, Clips], run: Run, dashboard: Dashboard, *, step: int
) -> None:
    """Scores the model of the best checkpoint, made at a step, on `cfg.final`."""
    folder, clips, train = run.folder.parent, splits[cfg.final], splits["train"]
    scoring = taken(Scoring, cfg.evaluation, seed=cfg.seed)
    if found := score_split(model, clips, train, taken(Batching, cfg), scoring, run.compute):
        write_results(
            found, clips, folder, strips=scoring.report_strips, dashboard=dashboard,
            about={"checkpoint": "checkpoints/best.pt", "corpus": train.fingerprint, "step": step},
            shown=Shown(run.record.curves, OmegaConf.to_yaml(cfg, resolve=True)),
        )  # fmt: skip
