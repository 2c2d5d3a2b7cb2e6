"""What configurations of before do not say is what there was."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import OmegaConf

from slt.config.moved import rename_targets


def test_poses_of_before_are_normalised_by_the_shoulders_and_others_as_they_say() -> None:
    old = {"_target_": "slt.data.streams.Landmarks", "folder": "pose", "points": "lips", "jitter": 0, "noise": 0}
    new = old | {"_target_": "slt.data.Landmarks", "normalise": "unit"}
    cfg = OmegaConf.create({"dataset": {"streams": {"old": old, "new": new}}})
    rename_targets(cfg)
    assert [instantiate(cfg.dataset.streams[name]).normalise for name in ("old", "new")] == ["shoulders", "unit"]
