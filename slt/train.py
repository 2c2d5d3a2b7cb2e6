"""`python -m slt.train`: parse, build, train, score the best checkpoint, close."""

from __future__ import annotations

import logging
from functools import partial

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import assemble
from slt.config.checks import check
from slt.config.entry import main
from slt.drawing.charts import save_curves
from slt.evaluation.assessment import examine
from slt.evaluation.examples import Examples
from slt.evaluation.translation import validate
from slt.models.tokenizer import Tokenize
from slt.streams.batch import LengthBatches
from slt.training.batches import TrainBatches, evaluation_batches
from slt.training.checkpoint import load_checkpoint, load_weights
from slt.training.loop import Trainer, parameter_groups
from slt.training.machine import choose_device
from slt.training.objective import TranslationLoss, name_too_short
from slt.training.processes import first
from slt.training.randomness import fix_randomness
from slt.training.record import Record

log = logging.getLogger(__name__)

KEYS = ("strategy", "patience", "precision", "accumulate", "grad_clip", "max_steps", "eval_every", "log_every")


@main("train")
@assemble.in_processes
def train(cfg: DictConfig) -> float:
    """Trains, and returns the best validation score, which sweeps maximise."""
    check(cfg)
    run = assemble.begin_run(cfg)
    device = choose_device(cfg.device)
    fix_randomness(cfg.seed, deterministic=cfg.deterministic)
    splits = assemble.build_splits(cfg, {"train", cfg.val, cfg.final} - {None}, augment=True, named_by="val and final")
    for name in sorted(splits, key=lambda name: name != "train"):
        splits[name].check_seen(strict=name == "train")
    shapes = assemble.stream_shapes(splits["train"])
    tokenizer = assemble.build_tokenizer(cfg, splits)
    tokenize = Tokenize(tokenizer, cfg.decoder.max_tokens)
    glosses = assemble.gloss_inventory(splits["train"], cfg.gloss_weight)
    translator = assemble.build_translator(cfg, tokenizer, shapes, num_glosses=len(glosses)).to(device)
    log.info(
        "%d training clips, %s parameters", len(splits["train"]), f"{sum(p.numel() for p in translator.parameters()):,}"
    )
    if glosses:
        name_too_short(splits["train"], translator.encoder.temporal)
    dashboard = assemble.open_dashboard(cfg, run, "train", uses=lambda: [
        *assemble.corpus_items(splits["train"].root), *assemble.backbone_items(*cfg.streams.values())
    ])  # fmt: skip
    examples = Examples(splits[cfg.val], dashboard)
    record = Record(run, [dashboard])
    limits = {"batch_size": cfg.batch_size, "batch_frames": cfg.batch_frames}
    sampler = LengthBatches(splits["train"].lengths, **limits, shuffle=True, seed=cfg.seed)
    groups = parameter_groups(translator, lr=cfg.optimizer.lr, backbone_lr=cfg.backbone_lr, decoder_lr=cfg.decoder_lr)
    val = evaluation_batches(splits[cfg.val], tokenize, **limits, num_workers=cfg.num_workers)
    trainer: Trainer = Trainer(
        model=translator,
        objective=TranslationLoss(glosses=glosses, gloss_weight=cfg.gloss_weight, flat_start=cfg.flat_start,
                                  label_smoothing=cfg.label_smoothing),
        optimizer=instantiate(cfg.optimizer, _convert_="all")(groups),
        schedule=instantiate(cfg.schedule, _convert_="all"),
        batches=TrainBatches(splits["train"], sampler, tokenize, num_workers=cfg.num_workers, seed=cfg.seed,
                             pin_memory=device.type == "cuda"),
        evaluate=partial(validate, translator, val, tokenizer, device=device, precision=cfg.precision,
                         max_tokens=cfg.decoder.max_tokens, glosses=glosses,
                         show=lambda said: examples.show(trainer.step_count, said)),
        record=record,
        folder=run / "checkpoints",
        carried=assemble.carried(cfg, translator, tokenizer, shapes, glosses, splits["train"]),
        device=device,
        select=f"val/{cfg.select}",
        profiler=assemble.build_profiler(cfg, run, device),
        **{key: cfg[key] for key in KEYS},
    )  # fmt: skip
    if cfg.compile:
        translator.compile()
    assemble.resume(trainer, cfg, run)
    trainer.run()
    if first():
        save_curves(record.curves, run / "curves.png")
    if cfg.final and not cfg.profile.steps:  # a profile is of updates, not of a model
        best = load_checkpoint(run / "checkpoints" / "best.pt")
        load_weights(translator.to(device), best["model"], source=run)
        examine(
            translator, splits[cfg.final], splits["train"], tokenizer, tokenize, folder=run, curves=record.curves,
            config_text=OmegaConf.to_yaml(cfg, resolve=True), dashboard=dashboard, device=device, seed=cfg.seed,
            precision=cfg.precision, num_workers=cfg.num_workers, max_tokens=cfg.decoder.max_tokens, drop=[],
            about={"checkpoint": "checkpoints/best.pt", "corpus": splits["train"].fingerprint, "step": best["step"]},
            glosses=glosses, **limits, **cfg.evaluation,
        )  # fmt: skip
    dashboard.checkpoints(run / "checkpoints", **{f"val/{cfg.select}": trainer.best})
    dashboard.close()
    return trainer.best


if __name__ == "__main__":
    train()
