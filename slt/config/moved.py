"""Names that parts of the suite had before, and keys that they had not: what was written then keeps working."""

from __future__ import annotations

from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from slt.config import CONF
from slt.config.foreign import leaves

MOVED = {
    "slt.data.landmarks.MediaPipeLandmarker": "slt.extraction.landmarks.MediaPipeLandmarker",
    "slt.data.lsa_t.LsaTMultiStream": "slt.data.LsaTMultiStream",
    "slt.data.rois.Extractor": "slt.extraction.regions.Extractor",
    "slt.data.streams.Crops": "slt.data.Crops",
    "slt.data.streams.Features": "slt.data.Features",
    "slt.data.streams.Landmarks": "slt.data.Landmarks",
    "slt.pretraining.augmentation.CropViews": "slt.pretraining.views.CropViews",
    "slt.pretraining.networks.Twins": "slt.pretraining.networks.StudentTeacher",
    "slt.text.load_tokenizer": "slt.models.tokenizer.load_tokenizer",
    "slt.text.train_tokenizer": "slt.models.tokenizer.train_tokenizer",
}
# Class -> keys that came later, with the values that went without saying.
LATER: dict[str, dict[str, Any]] = {
    "slt.data.Landmarks": {"normalise": "shoulders"},  # before there was a choice
    "slt.models.TextSeq2SeqDecoder": {"prompt": None},
    "slt.training.mska.MskaLoss": {
        "published": {"_target_": "slt.training.mska.Published", "weights": None, "classes": None}
    },
}

TRANSLATION = "slt.training.objective.TranslationLoss"  # once the only objective, by these keys of its run
NO_BOARD, WANDB = "slt.training.dashboard.NoBoard", "slt.training.boards.wandb.WandbBoard"
KEYS = ("label_smoothing", "gloss_weight", "flat_start")


def rename_targets(cfg: DictConfig) -> None:
    """Puts today's name in place of each `_target_` of before, at any depth, and says what went without saying."""
    for path, key, value in [*leaves(OmegaConf.to_container(cfg, resolve=False), "")]:
        if key != "_target_":
            continue
        target = MOVED.get(str(value), str(value))
        if target != value:
            OmegaConf.update(cfg, path[1:], target)
        node = path[1:].rpartition(".")[0]
        for later, before in LATER.get(target, {}).items():
            if later not in OmegaConf.select(cfg, node):
                OmegaConf.update(cfg, f"{node}.{later}", before, force_add=True)
    if "gloss_weight" in cfg and "objective" not in cfg:
        known = {key: cfg[key] for key in KEYS}
        OmegaConf.update(cfg, "objective", {"_target_": TRANSLATION, **known}, force_add=True)
    take_wandb(cfg)


def take_wandb(cfg: DictConfig) -> None:
    """Puts what is given as `wandb.KEY` into `board`, which had that name when wandb was the only one.

    `wandb.mode` other than disabled chooses board=wandb; ValueError where another board is chosen beside it.
    """
    given = {key: value for key, value in (cfg.get("wandb") or {}).items() if value is not None}
    if not given:
        return
    mode, chosen = given.get("mode"), (cfg.get("board") or {}).get("_target_", NO_BOARD)
    wanted = mode in ("offline", "online")
    if not wanted and mode not in (None, "disabled"):
        return  # which its own check refuses, by the name that it was given
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if wanted and (chosen not in (NO_BOARD, WANDB) or (hydra and "board=none" in hydra.overrides.task)):
        board = hydra.runtime.choices.get("board") if hydra else chosen
        raise ValueError(f"board={board} and wandb.mode={mode}: a run is told to one board; leave one of the two out")
    if wanted and chosen == NO_BOARD:
        OmegaConf.update(cfg, "board", OmegaConf.load(CONF / "board" / "wandb.yaml"), merge=False, force_add=True)
    if wanted or chosen == WANDB:
        for key, value in given.items():
            OmegaConf.update(cfg, f"board.{key}", value)
    for key in given:
        cfg.wandb[key] = None
