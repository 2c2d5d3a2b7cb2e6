"""The last stage of a run: a model's scores on a split as files, on the dashboard and on the screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slt.corpora.clips import Clips
from slt.drawing.strip import filmstrip
from slt.evaluation.assessment import Assessment
from slt.evaluation.breakdown import worst
from slt.evaluation.prediction import Prediction, headline, spread, write_predictions, write_scores
from slt.evaluation.report import Shown, write_report
from slt.streams.pose import Landmarks
from slt.training import lineage
from slt.training.dashboard import Dashboard

COLUMNS = 12  # frames of a filmstrip


class Examples:
    """As many clips as the dashboard wants, evenly spaced over a split: the same ones at every evaluation."""

    def __init__(self, clips: Clips, dashboard: Dashboard) -> None:
        self.clips, self.dashboard = clips, dashboard
        self.names = [clips.ids[place] for place in spread(range(len(clips)), dashboard.examples)]
        self.drawn = False

    def show(self, step: int, predictions: Sequence[Prediction]) -> None:
        if not self.names:
            return
        # The dashboard keeps the filmstrips: a clip looks the same at every step.
        pictures = {} if self.drawn else draw_clips(self.clips, self.names)
        chosen = [p for p in predictions if p.id in self.names]
        self.dashboard.translations(f"{self.clips.split}/examples", step, chosen, pictures)
        self.drawn = True


def draw_clips(clips: Clips, names: Sequence[str]) -> dict[str, Any]:
    """Clip id -> filmstrip (H, W, 3) uint8 of the named clips."""
    place = {name: i for i, name in enumerate(clips.ids)}
    skeletons = {name: reader.skeleton for name, reader in clips.streams.items() if isinstance(reader, Landmarks)}
    samples = (clips[place[name]] for name in names)
    return {each.id: filmstrip(each.streams, each.seen, columns=COLUMNS, skeletons=skeletons) for each in samples}


def write_results(
    found: Assessment,
    clips: Clips,
    folder: Path,
    *,
    about: Mapping[str, Any],
    shown: Shown,
    strips: int,
    dashboard: Dashboard,
) -> None:
    """Writes scores.json, predictions.tsv and report.html, tells the dashboard and prints the summary.

    `about` is kept with the scores: checkpoint, its step, corpus fingerprint. `strips` filmstrips are in the report.
    """
    # `blanked` is a part of `controls`, under the name that readers of scores.json know.
    write_scores(
        folder / "scores.json", found.scores, loss=found.loss, floor=found.floor, neighbour=found.neighbour,
        controls=found.controls, blanked=found.blanked, groups=found.groups,
        worst={kind: worst(each) for kind, each in found.groups.items()}, variety=found.variety, leaks=found.leaks,
        calibration=found.calibration, split=found.split, **about,
    )  # fmt: skip
    write_predictions(folder / "predictions.tsv", found.predictions)
    ranked = sorted(found.predictions, key=lambda p: (p.score, p.id))  # filmstrips are of good and bad ones
    pictures = draw_clips(clips, sorted(p.id for p in spread(ranked, strips)))
    write_report(folder / "report.html", found, pictures, shown, about)
    dashboard.translations(f"{clips.split}/translations", about["step"], found.predictions, pictures)
    written = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    dashboard.summary({f"{clips.split}/{name}": value for name, value in headline(written).items()})
    dashboard.makes(lineage.predictions(folder, split=clips.split))
    print(found.summary(examples=5))
    print(f"report: {folder / 'report.html'}")
