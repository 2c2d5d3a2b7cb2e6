"""`python -m slt.pretrain stream=hands objective=dinov2`: crops without captions become a backbone."""

from __future__ import annotations

import logging
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt import assemble
from slt.config import check, main
from slt.pretraining.crops import CropPool, ViewBatches
from slt.pretraining.watching import Watch
from slt.pretraining.weights import add_adapters, write_backbone
from slt.training import processes
from slt.training.dashboard import Dashboard
from slt.training.loop import Trainer, parameter_groups
from slt.training.record import Record, draw_curves

log = logging.getLogger(__name__)

KEYS = ("strategy", "precision", "accumulate", "grad_clip", "max_steps", "eval_every", "log_every")


@main("pretrain")
@assemble.in_processes
def pretrain(cfg: DictConfig) -> float:
    """Pretrains, and returns the best share of labels that neighbours got right (without a probe: the best rank)."""
    check(cfg)
    run = assemble.begin_run(cfg)
    device = assemble.choose_device(cfg.device)
    torch.manual_seed(cfg.seed)
    with processes.one_ahead():  # who writes the embedded corpus, where it is not there yet
        root = assemble.root_of(cfg.dataset)
        probe = assemble.build_probe(cfg)
    pool = CropPool(
        roots=[root, *cfg.corpora], folders=assemble.folders_of(cfg.dataset, cfg.stream),
        **{key: cfg[key] for key in ("stream", "splits", "seconds", "fps")},
    )  # fmt: skip
    views = instantiate(cfg.augment, _convert_="all")
    backbone = assemble.build_picture_backbone(cfg.backbone, cfg.stream, cfg.augment.size)
    if cfg.adapters is not None:
        add_adapters(backbone, **cfg.adapters)
    loss = instantiate(cfg.objective.loss, _convert_="all")
    twins = instantiate(cfg.objective.model, _convert_="all")(backbone, patches=loss.weights["ibot"] > 0).to(device)
    twins.check_sizes(cfg.augment.size, cfg.augment.part_size if cfg.augment.parts else None)
    log.info("%d crops of %d pixels, %s parameters in the backbone", len(pool), pool.size,
             f"{sum(p.numel() for p in twins.exported().parameters()):,}")  # fmt: skip
    loading = {key: cfg[key] for key in ("drift", "batch_size", "num_workers", "seed")}
    batches = ViewBatches(pool, views, **loading, pin_memory=device.type == "cuda")
    dashboard = Dashboard(run, OmegaConf.to_container(cfg, resolve=True), job_type="pretrain", **cfg.wandb)
    record = Record(run, [dashboard])
    plain: dict[str, Any] = {"device": device, **{key: cfg[key] for key in KEYS}}
    watch = None if not processes.first() else Watch(
        twins.exported(), pool, probe, size=cfg.augment.size, device=device, precision=cfg.precision, folder=run,
        show=lambda name, picture: dashboard.picture(loss.step, name, picture), seed=cfg.seed,
    )  # fmt: skip
    trainer = Trainer(
        model=twins, objective=loss,
        optimizer=instantiate(cfg.optimizer, _convert_="all")(
            parameter_groups(twins, lr=cfg.optimizer.lr, backbone_lr=None, decoder_lr=None)
        ),
        schedule=instantiate(cfg.schedule, _convert_="all"),
        batches=batches,
        evaluate=lambda: processes.by_first(watch), select="val/knn" if probe else "val/rank", patience=None,
        record=record,
        folder=run / "checkpoints",
        carried={"config": OmegaConf.to_yaml(cfg, resolve=True), "corpus": pool.fingerprint},
        **plain,
    )  # fmt: skip
    assemble.resume(trainer, cfg, run, job="pretrain")
    trainer.run()
    if not processes.first():
        return trainer.best
    draw_curves(record.curves, run / "curves.png")
    made = {"objective": HydraConfig.get().runtime.choices.get("objective"), "steps": trainer.step_count}
    made |= {"backbone": OmegaConf.to_container(cfg.backbone, resolve=True), "data": pool.fingerprint}
    path = write_backbone(run, twins.exported(), stream=cfg.stream, about={**made, "img_size": cfg.augment.size})
    dashboard.checkpoints([path, path.with_suffix(".json")])
    dashboard.close()
    print(f"backbone: {path}")
    return trainer.best


if __name__ == "__main__":
    pretrain()
