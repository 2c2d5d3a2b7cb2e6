"""`python -m slt.pretrain stream=hands objective=dinov2`: crops without captions become a backbone."""

from __future__ import annotations

import logging
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import assemble
from slt.config.checks import check
from slt.config.entry import main
from slt.drawing.charts import save_curves
from slt.pretraining.evaluator import PretrainingEvaluator
from slt.pretraining.weights import write_backbone
from slt.training import lineage, processes
from slt.training.loop import Trainer, parameter_groups
from slt.training.machine import Compute, choose_device
from slt.training.randomness import fix_randomness
from slt.training.record import Record

log = logging.getLogger(__name__)

KEYS = ("strategy", "precision", "accumulate", "grad_clip", "weight_decay_end", "max_steps", "eval_every", "log_every")


@main("pretrain")
@assemble.in_processes
def pretrain(cfg: DictConfig) -> float:
    """Pretrains, and returns the best share of labels that neighbours got right (without a probe: the best rank)."""
    check(cfg)
    run = assemble.begin_run(cfg)
    device = choose_device(cfg.device)
    fix_randomness(cfg.seed, deterministic=cfg.deterministic)
    with processes.one_ahead():  # who writes the embedded corpus, where it is not there yet
        pool, batches = assemble.build_views(cfg, pin_memory=device.type == "cuda")
        probe = assemble.build_probe(cfg)
    twins, loss = assemble.build_twins(cfg)
    twins = twins.to(device)
    log.info("%d crops of %d pixels, %s parameters in the backbone", len(pool), pool.size,
             f"{sum(p.numel() for p in twins.exported().parameters()):,}")  # fmt: skip
    dashboard = assemble.open_dashboard(cfg, run, "pretrain", uses=lambda: [
        *assemble.corpus_items(*(part.root for part in pool.parts)), *assemble.backbone_items(cfg.backbone)
    ])  # fmt: skip
    record = Record(run, [dashboard])
    plain: dict[str, Any] = {"device": device, **{key: cfg[key] for key in KEYS}}
    evaluator = None if not processes.first() else PretrainingEvaluator(
        twins.exported(), pool, probe, size=cfg.augment.size, compute=Compute(device, cfg.precision), folder=run,
        show=lambda name, picture: dashboard.picture(loss.step, name, picture), seed=cfg.seed,
    )  # fmt: skip
    trainer = Trainer(
        unit="crops", model=twins, objective=loss,
        optimizer=instantiate(cfg.optimizer, _convert_="all")(
            parameter_groups(twins, lr=cfg.optimizer.lr, backbone_lr=None, decoder_lr=None)
        ),
        schedule=instantiate(cfg.schedule, _convert_="all"),
        batches=batches,
        evaluate=lambda: processes.by_first(evaluator), select="val/knn" if probe else "val/rank", patience=None,
        record=record, folder=run / "checkpoints", profiler=assemble.build_profiler(cfg, run, device),
        carried={"config": assemble.config_text(cfg), "corpus": pool.fingerprint,
                 "objective": HydraConfig.get().runtime.choices.get("objective")},
        **plain,
    )  # fmt: skip
    assemble.resume(trainer, cfg, run, job="pretrain")
    trainer.run()
    if not processes.first():
        return trainer.best
    save_curves(record.curves, run / "curves.png")
    made = {"objective": trainer.carried["objective"], "steps": trainer.step_count}
    made |= {"backbone": OmegaConf.to_container(cfg.backbone, resolve=True), "data": pool.fingerprint}
    path = write_backbone(run, twins.exported(), stream=cfg.stream, about={**made, "img_size": cfg.augment.size})
    dashboard.makes(lineage.backbone(path))
    dashboard.close()
    print(f"backbone: {path}")
    return trainer.best


if __name__ == "__main__":
    pretrain()
