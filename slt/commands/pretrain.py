"""From a configuration to a pretrained backbone: crops without captions become a backbone."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import build, runs
from slt.config.checks import check, taken
from slt.drawing.charts import save_curves
from slt.models.backbones import ImageBackbone
from slt.pretraining.crops import POOLS, CropPool, ViewBatches
from slt.pretraining.evaluator import PretrainingEvaluator
from slt.pretraining.networks import StudentTeacher
from slt.pretraining.objective import SelfDistillation
from slt.pretraining.probe import Probe, labelled_crops
from slt.pretraining.weights import adapt_vit, write_backbone
from slt.training import lineage, processes
from slt.training.loop import Trainer, parameter_groups
from slt.training.settings import LoopSettings

log = logging.getLogger(__name__)


def build_views(cfg: DictConfig, *, pin_memory: bool) -> tuple[CropPool, ViewBatches]:
    """The crops of a pretraining run, and the batches of views of them."""
    pool = CropPool(
        roots=[_root(cfg.dataset), *cfg.corpora], folders=_folders(cfg.dataset, cfg.stream),
        **{key: cfg[key] for key in ("stream", "splits", "seconds", "fps")},
    )  # fmt: skip
    loading = {key: cfg[key] for key in ("drift", "batch_size", "clips", "num_workers", "seed")}
    return pool, ViewBatches(pool, instantiate(cfg.augment, _convert_="all"), **loading, pin_memory=pin_memory)


def build_twins(cfg: DictConfig) -> tuple[StudentTeacher, SelfDistillation]:
    """Student and teacher of a pretraining run, and what they are trained to do.

    Raises:
        ValueError: a backbone of something else than crops, or an objective that asks for more than batches give.
    """
    size = cfg.augment.size
    backbone = build.build_backbone(cfg.backbone, cfg.stream, [3, size, size], rebuilt=False)
    if not isinstance(backbone, ImageBackbone):
        raise ValueError(f"backbone: {type(backbone).__name__} does not see pictures; pretraining is of crops")
    if cfg.adapters is not None:
        adapt_vit(backbone, **cfg.adapters)
    loss = instantiate(cfg.objective.loss, _convert_="all")
    if loss.contrast_moments is not None and cfg.clips is None:
        raise ValueError("clips=null: the objective tells apart moments of a clip, so give clips, as clips=8")
    if loss.contrast_moments is not None and cfg.drift > loss.contrast_moments:
        raise ValueError(
            f"drift={cfg.drift} is above objective.loss.contrast_moments={loss.contrast_moments}: a crop would be told "
            "from its own moment; lower drift"
        )
    twins = instantiate(cfg.objective.model, _convert_="all")(backbone, patches=loss.weights["ibot"] > 0)
    twins.check_sizes(size, cfg.augment.part_size if cfg.augment.parts else None)
    return twins, loss


def build_probe(cfg: DictConfig) -> Probe | None:
    """The probe on the embedded corpus; None where it is switched off."""
    if not cfg.probe.enabled:
        return None
    root, folders = Path(_root(cfg.probe.dataset)), _folders(cfg.probe.dataset, cfg.stream)
    draw = partial(labelled_crops, root, stream=cfg.stream, folders=folders, seed=cfg.seed)
    return Probe(
        draw(split="train", count=cfg.probe.examples), draw(split=cfg.probe.split, count=cfg.probe.questions),
        **{key: cfg.probe[key] for key in ("k", "temperature", "penalty")},
    )  # fmt: skip


def _root(dataset: DictConfig) -> str:
    """Its folder, which the embedded corpus writes first where it is not there."""
    return str(dataset.root if isinstance(dataset.root, str) else instantiate(dataset.root))


def _folders(dataset: DictConfig, stream: str) -> dict[str, str]:
    """Folders of the streams of a pool, as the dataset names them."""
    return {part: dataset.streams[part].folder for part, _ in POOLS[stream]}


@runs.in_processes
def pretrain(cfg: DictConfig) -> float:
    """Pretrains, and returns the best share of labels that neighbours got right (without a probe: the best rank)."""
    check(cfg)
    folder, device = runs.begin_training(cfg)
    with processes.first_per_machine():  # who writes the embedded corpus, where it is not there yet
        pool, batches = build_views(cfg, pin_memory=device.type == "cuda")
        probe = build_probe(cfg)
    twins, loss = build_twins(cfg)
    twins = twins.to(device)
    log.info("%d crops of %d pixels, %s parameters in the backbone", len(pool), pool.size,
             f"{sum(p.numel() for p in twins.exported().parameters()):,}")  # fmt: skip
    dashboard = runs.open_dashboard(cfg, folder, "pretrain", uses=lambda: [
        *runs.corpus_items(*(part.root for part in pool.parts)), *runs.backbone_items(cfg.backbone)
    ])  # fmt: skip
    run = runs.follow(cfg, folder, device, dashboard, {
        "config": build.config_text(cfg), "corpus": pool.fingerprint,
        "objective": HydraConfig.get().runtime.choices.get("objective"),
    })  # fmt: skip
    evaluator = None if not processes.first() else PretrainingEvaluator(
        twins.exported(), pool, probe, size=cfg.augment.size, compute=run.compute, folder=folder,
        show=lambda name, picture: dashboard.picture(loss.step, name, picture), seed=cfg.seed,
    )  # fmt: skip
    groups = parameter_groups(twins, lr=cfg.optimizer.lr, rates={})
    trainer = Trainer(
        model=twins, objective=loss, optimizer=build.build_optimizer(cfg.optimizer, groups),
        schedule=instantiate(cfg.schedule, _convert_="all"), batches=batches,
        evaluate=lambda: processes.on_rank_zero(evaluator), run=run,
        settings=taken(LoopSettings, cfg, select="val/knn" if probe else "val/rank", unit="crops"),
    )  # fmt: skip
    runs.resume(trainer, cfg, folder, job="pretrain")
    trainer.run()
    if not processes.first():
        return trainer.best
    save_curves(run.record.curves, folder / "curves.png")
    made = {"objective": trainer.carried["objective"], "steps": trainer.step_count}
    made |= {"backbone": OmegaConf.to_container(cfg.backbone, resolve=True), "data": pool.fingerprint}
    path = write_backbone(folder, twins.exported(), stream=cfg.stream, about={**made, "img_size": cfg.augment.size})
    dashboard.makes(lineage.backbone(path))
    dashboard.close()
    print(f"backbone: {path}")
    return trainer.best
