"""A fixed handful of a split's clips on the dashboard: their translations at each evaluation, beside filmstrips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slt.corpora.folder import LsaTMultiStream
from slt.evaluation.assessment import draw_clips
from slt.evaluation.prediction import Prediction
from slt.training.dashboard import Dashboard

COLUMNS = 12  # frames of a filmstrip


class Examples:
    """As many clips as the dashboard wants, evenly spaced over a split: the same ones at every evaluation.

    Args:
        clips: the split.
        dashboard: that shows them.
    """

    def __init__(self, clips: LsaTMultiStream, dashboard: Dashboard) -> None:
        self.clips, self.dashboard = clips, dashboard
        places = np.linspace(0, len(clips) - 1, min(dashboard.examples, len(clips))).astype(int)
        self.names = [clips.ids[int(place)] for place in places]
        self.drawn = False

    def show(self, step: int, predictions: Sequence[Prediction]) -> None:
        """Shows the translations of the handful among `predictions`, of a model trained `step` steps."""
        if not self.names:
            return
        # The dashboard keeps the filmstrips: a clip looks the same at every step.
        pictures = {} if self.drawn else draw_clips(self.clips, self.names, columns=COLUMNS)
        chosen = [p for p in predictions if p.id in self.names]
        self.dashboard.translations(f"{self.clips.split}/examples", step, chosen, pictures)
        self.drawn = True
