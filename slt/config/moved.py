"""Names that parts of the suite had before: recipes and checkpoints that say them keep working."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

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

LANDMARKS = "slt.data.Landmarks"  # before there was a choice, its poses were normalised by the shoulders

TRANSLATION = "slt.training.objective.TranslationLoss"  # once the only objective, by these keys of its run
KEYS = ("label_smoothing", "gloss_weight", "flat_start")


def rename_targets(cfg: DictConfig) -> None:
    """Puts today's name in place of each `_target_` of before, at any depth, and says what went without saying."""
    for path, key, value in [*leaves(OmegaConf.to_container(cfg, resolve=False), "")]:
        if key != "_target_":
            continue
        if str(value) in MOVED:
            OmegaConf.update(cfg, path[1:], MOVED[value])
        node = path[1:].removesuffix("._target_")
        if MOVED.get(str(value), value) == LANDMARKS and "normalise" not in OmegaConf.select(cfg, node):
            OmegaConf.update(cfg, f"{node}.normalise", "shoulders", force_add=True)
    if "gloss_weight" in cfg and "objective" not in cfg:
        known = {key: cfg[key] for key in KEYS}
        OmegaConf.update(cfg, "objective", {"_target_": TRANSLATION, **known}, force_add=True)
