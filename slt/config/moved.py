"""Names that parts of the suite had before, and keys that they had not: what was written then keeps working."""

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
# Class -> keys that came later, with the values by which all is as it was.
LATER = {"slt.models.TextSeq2SeqDecoder": {"prompt": None}}


def rename_targets(cfg: DictConfig) -> None:
    """Puts today's name in place of each `_target_` of before, at any depth, and adds the keys that came later."""
    for path, key, value in [*leaves(OmegaConf.to_container(cfg, resolve=False), "")]:
        if key == "_target_" and str(value) in MOVED:
            OmegaConf.update(cfg, path[1:], MOVED[value])
        if key == "_target_" and str(value) in LATER:
            place = path.rpartition(".")[0][1:]
            node = OmegaConf.select(cfg, place) if place else cfg
            for later, as_before in LATER[str(value)].items():
                if later not in node:
                    OmegaConf.update(cfg, f"{place}.{later}", as_before, force_add=True)
