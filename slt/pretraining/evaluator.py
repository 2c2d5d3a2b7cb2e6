"""Evaluation without captions: what can be read off features, whether they collapse, which crops they hold alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slt.models.backbones import ImageBackbone
from slt.pretraining.crops import CropPool
from slt.pretraining.probe import Probe, feature_std, in_parts, neighbour_sheet, rank, raw_pixels
from slt.training.machine import Compute


class PretrainingEvaluator:
    """What the training loop calls to evaluate: metrics named `val/...`, and a sheet of nearest neighbours.

    Args:
        backbone: the teacher's.
        pool: of the crops that are trained on; some of them are looked at, chosen by `seed`.
        probe: on labels; None = there are none.
        size: side in pixels at which crops are shown to the backbone.
        compute: of the run.
        folder: where the sheets go.
        show: takes (name, picture) too, such as a dashboard.
    """

    def __init__(
        self,
        backbone: ImageBackbone,
        pool: CropPool,
        probe: Probe | None,
        *,
        size: int,
        compute: Compute,
        folder: Path,
        show: Callable[[str, np.ndarray], object],  # type: ignore[type-arg]
        seed: int,
    ) -> None:
        self.backbone, self.probe, self.size, self.compute = backbone, probe, size, compute
        self.folder, self.show = folder, show
        chosen = np.random.default_rng(seed).choice(len(pool), min(len(pool), 512), replace=False)
        self.crops = torch.stack([pool[int(place)] for place in chosen])
        self.floor: dict[str, float] = {}
        if probe is not None:
            # What this very backbone gives before it has learned anything, and the pictures themselves.
            self.floor = {f"val/{name}_random": value for name, value in probe(self.features).items()}
            self.floor |= {f"val/{name}_pixels": value for name, value in probe(raw_pixels).items()}
            self.floor["val/most_frequent"] = probe.most_frequent()

    def features(self, crops: Tensor) -> Tensor:
        """(N, 3, R, R) uint8 crops of any side -> (N, F)."""
        if crops.shape[-1] != self.size:
            crops = functional.interpolate(crops.float(), size=self.size, mode="area").round().byte()
        seen = torch.ones(len(crops), 1, dtype=torch.bool, device=self.compute.device)
        with self.compute.autocast():
            return self.backbone(crops.to(self.compute.device)[:, None], seen)[:, 0]

    def __call__(self) -> dict[str, float]:
        self.backbone.eval()
        features = in_parts(self.features, self.crops)
        metrics = {"val/rank": rank(features), "val/feature_std": float(feature_std(features))}
        if self.probe is not None:
            metrics |= {f"val/{name}": value for name, value in self.probe(self.features).items()} | self.floor
        sheet = neighbour_sheet(features, self.crops, queries=min(12, len(self.crops)), k=min(8, len(self.crops) - 1))
        self.folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(self.folder / "neighbours.png"), sheet[..., ::-1])
        self.show("val/neighbours", sheet)
        return metrics
