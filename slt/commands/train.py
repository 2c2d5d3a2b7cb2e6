"""From a configuration to a trained model: parse, build, train, score the best checkpoint, close."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import build, runs
from slt.config.checks import check, taken
from slt.corpora.clips import Clips
from slt.drawing.charts import save_curves
from slt.evaluation.assessment import score_split
from slt.evaluation.metrics import LOWER_IS_BETTER
from slt.evaluation.report import Shown
from slt.evaluation.results import Examples, write_results
from slt.evaluation.settings import Conventions, Scoring
from slt.evaluation.translation import validate
from slt.models.tokenizer import Tokenize
from slt.models.trained import Model
from slt.streams.batch import Batching
from slt.training.batches import TrainBatches, evaluation_batches
from slt.training.checkpoint import load_checkpoint, load_weights
from slt.training.dashboard import Dashboard
from slt.training.loop import Run, Trainer, parameter_groups
from slt.training.objective import TranslationLoss, name_too_short
from slt.training.processes import first
from slt.training.settings import LoopSettings

log = logging.getLogger(__name__)


@runs.in_processes
def train(cfg: DictConfig) -> float:
    """Trains, and returns the best validation score, which sweeps maximise."""
    check(cfg)
    folder, device = runs.begin_training(cfg)
    splits = build.build_splits(cfg, {"train", cfg.val, cfg.final} - {None}, augment=True, named_by="val and final")
    for name in sorted(splits, key=lambda name: name != "train"):
        splits[name].check_seen(strict=name == "train")
    clips, val = splits["train"], splits[cfg.val]
    shapes, glosses = build.stream_shapes(clips), build.gloss_inventory(clips, cfg.gloss_weight)
    tokenizer = build.build_tokenizer(cfg, splits)
    translator = build.build_translator(cfg, tokenizer, shapes, num_glosses=len(glosses)).to(device)
    log.info("%d training clips, %s parameters", len(clips), f"{sum(p.numel() for p in translator.parameters()):,}")
    if cfg.select == "gloss_wer" and not glosses:
        raise ValueError("select=gloss_wer: no glosses are recognised; give the corpus a column `gloss`, or take bleu")
    if glosses:
        name_too_short(clips, translator.encoder.temporal)
    model = build.as_model(cfg, translator, tokenizer, glosses, cfg.evaluation)
    dashboard = runs.open_dashboard(cfg, folder, "train", uses=lambda: [
        runs.clips_item(clips), *runs.backbone_items(*cfg.streams.values())
    ])  # fmt: skip
    carried = build.carried(cfg, translator, tokenizer, shapes, glosses, clips)
    run = runs.follow(cfg, folder, device, dashboard, carried)
    tokenize, batching = Tokenize(tokenizer, cfg.decoder.max_tokens), taken(Batching, cfg)
    examples = Examples(val, dashboard)
    rates = {"encoder.backbones.": cfg.backbone_lr, "decoder.model.": cfg.decoder_lr}
    groups = parameter_groups(translator, lr=cfg.optimizer.lr, rates=rates)
    trainer: Trainer = Trainer(
        model=translator,
        objective=TranslationLoss(label_smoothing=cfg.label_smoothing, glosses=glosses, gloss_weight=cfg.gloss_weight,
                                  flat_start=cfg.flat_start),
        optimizer=build.build_optimizer(cfg.optimizer, groups),
        schedule=instantiate(cfg.schedule, _convert_="all"),
        batches=TrainBatches(clips, tokenize, batching, seed=cfg.seed, pin_memory=device.type == "cuda"),
        evaluate=partial(validate, model, evaluation_batches(val, tokenize, batching), run.compute,
                         conventions=Conventions.of(val.scoring),
                         show=lambda predictions: examples.show(trainer.step_count, predictions)),
        run=run,
        settings=taken(LoopSettings, cfg, select=f"val/{cfg.select}", lowest=cfg.select in LOWER_IS_BETTER),
    )  # fmt: skip
    if cfg.compile:
        translator.compile()
    runs.resume(trainer, cfg, folder)
    trainer.run()
    if first():
        save_curves(run.record.curves, folder / "curves.png")
    if cfg.final and not cfg.profile.steps:  # a profile is of updates, not of a model
        score_best(cfg, model, splits, run, dashboard)
    dashboard.checkpoints(run.folder, **{f"val/{cfg.select}": trainer.best})
    dashboard.close()
    return trainer.best


def score_best(cfg: DictConfig, model: Model, splits: Mapping[str, Clips], run: Run, dashboard: Dashboard) -> None:
    """Scores the best checkpoint of a run on `cfg.final`."""
    folder, clips, train = run.folder.parent, splits[cfg.final], splits["train"]
    best = load_checkpoint(run.folder / "best.pt")
    load_weights(model.translator.to(run.compute.device), best["model"], source=folder)
    scoring = taken(Scoring, cfg.evaluation, seed=cfg.seed)
    if found := score_split(model, clips, train, taken(Batching, cfg), scoring, run.compute):
        write_results(
            found, clips, folder, strips=scoring.report_strips, dashboard=dashboard,
            about={"checkpoint": "checkpoints/best.pt", "corpus": train.fingerprint, "step": best["step"]},
            shown=Shown(run.record.curves, OmegaConf.to_yaml(cfg, resolve=True)),
        )  # fmt: skip
