"""The pictures of a sweep: parallel coordinates, scores with intervals, learning curves with the seeds shaded.

Each is None where no run has what it shows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slt.drawing.charts import INK, LINES, plain
from slt.sweeps.groups import Group, label_of
from slt.sweeps.runs import Run
from slt.words import say, told

MOST = 10  # groups with a line of their own; of more, the best ones
STYLES = ("-", "--")


def learning_curves(groups: Sequence[Group], metric: str) -> Figure | None:
    """The metric over steps: a line a group, the mean of its seeds, shaded from the lowest to the highest.

    Groups come the best first; the metric is one such as `val/bleu`.
    """
    curves = [(group, _points(group, metric)) for group in groups]
    curves = [(group, points) for group, points in curves if points][:MOST]
    if not curves:
        return None
    labels = _labels([group for group, _ in curves])
    figure = Figure(figsize=(7.6, 3.2 + 0.2 * -(-len(curves) // 2)), layout="constrained")
    axes = figure.add_subplot()
    looks = itertools.product(STYLES, LINES)
    for (_, points), label, (style, colour) in zip(curves, labels, looks, strict=False):
        steps = sorted(points)
        values = [points[step] for step in steps]
        marker = "o" if len(steps) < 30 else None
        axes.plot(steps, [np.mean(v) for v in values], style, color=colour, label=label, lw=1.6, marker=marker, ms=3)
        axes.fill_between(steps, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.16, lw=0)
    axes.set_title(told(f"{metric}, mean of the seeds and their range"), loc="left")
    axes.set_xlabel(say("step"))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    plain(axes)
    figure.legend(loc="outside lower left", frameon=False, ncols=2)
    return figure


def _points(group: Group, metric: str) -> dict[int, list[float]]:
    """Step -> values, at the steps that all runs of the group have reached."""
    curves = [dict(run.curves[metric]) for run in group.runs if run.curves.get(metric)]
    common = set.intersection(*({*curve} for curve in curves)) if curves else set()
    return {step: [curve[step] for curve in curves] for step in common}


def score_bars(groups: Sequence[Group], metrics: Sequence[str]) -> Figure | None:
    """A row a group: a dot a seed, the mean and its 95 % interval; one panel a metric.

    The panel shows the seeds with as much again around them: an interval of two seeds may be ten times as wide.
    """
    metrics = [metric for metric in metrics if any(group.mean(metric) for group in groups)]
    shown = [group for group in groups if any(group.mean(metric) for metric in metrics)]
    if not shown:
        return None
    figure = Figure(figsize=(7.6, 1.0 + 0.3 * len(shown)), layout="constrained")
    panels: Any = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric, colour in zip(panels, metrics, LINES, strict=False):
        dots = []
        for row, group in enumerate(shown):
            found = group.mean(metric)
            if found is None:
                continue
            seeds = [run.metrics[metric] for run in group.finished if metric in run.metrics]
            dots += seeds
            if found.low is not None:
                axes.plot([found.low, found.high], [row, row], color=colour, lw=1.2)
            axes.plot([found.value] * 2, [row - 0.3, row + 0.3], color=colour, lw=2.2)
            axes.plot(seeds, [row] * len(seeds), "o", color=colour, ms=5, alpha=0.55, mew=0)
        margin = float(np.ptp(dots)) / 2 or 1.0
        axes.set_xlim(min(dots) - margin, max(dots) + margin)
        axes.set_title(metric, loc="left")
        axes.set_yticks(range(len(shown)), _labels(shown))
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        plain(axes)
    return figure


def parallel_coordinates(runs: Sequence[Run], keys: Sequence[str], metrics: Sequence[str]) -> Figure | None:
    """A line a finished run over an axis a key, the scores on the right; coloured by the first of `metrics`.

    Numbers are placed by their size (by its logarithm where they span more than a factor of 30), words evenly.
    """
    scored = [run for run in runs if run.finished and math.isfinite(run.metrics.get(metrics[0], math.nan))]
    if not keys or not scored:
        return None
    values = {key: [run.value_of(key) for run in scored] for key in keys}
    columns = [(key, *_axis(each)) for key, each in values.items() if len({*each}) > 1]
    for metric in metrics:
        if all(metric in run.metrics for run in scored):
            columns.append((metric, *_axis([f"{run.metrics[metric]:.4g}" for run in scored], few=True)))
    figure = Figure(figsize=(max(7.6, 1.3 * len(columns)), 3.4), layout="constrained")
    axes = figure.add_subplot()
    last = np.array([run.metrics[metrics[0]] for run in scored])
    spread = float(np.ptp(last)) or 1.0
    colours = colormaps["viridis"](0.1 + 0.75 * (last - last.min()) / spread)
    nudge = np.linspace(-0.012, 0.012, len(scored)) if len(scored) > 1 else [0.0]
    for i in np.argsort(last):  # the best ones on top
        heights = [places[i] + nudge[i] * (len(ticks) < 8) for _, places, ticks in columns]
        axes.plot(range(len(columns)), heights, color=colours[i], lw=1.4, alpha=0.85)
    for x, (_, _, ticks) in enumerate(columns):
        axes.axvline(x, color=INK, lw=0.8, alpha=0.45)
        for height, text in ticks:
            axes.annotate(text, (x, height), (3, 5), textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(columns)), [name.replace(".", ".\n") for name, _, _ in columns])
    axes.set_yticks([])
    axes.set_xlim(-0.15, len(columns) - 0.55)
    axes.set_ylim(-0.06, 1.12)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _labels(groups: Sequence[Group]) -> list[str]:
    """What tells groups of one picture apart, as short as it can be said: `fusion=gated, lr=0.1`."""
    keys = groups[0].keys
    ends = [key.rsplit(".", 1)[-1] for key in keys]
    short = [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]
    telling = [i for i in range(len(keys)) if len({group.values[i] for group in groups}) > 1 or len(keys) == 1]
    labels = [", ".join(label_of(keys[i], group.values[i], shown=short[i]) for i in telling) for group in groups]
    return [_short(label or group.label, 44) for label, group in zip(labels, groups, strict=True)]


def _axis(values: Sequence[str], *, few: bool = False) -> tuple[list[float], list[tuple[float, str]]]:
    """Where values stand on an axis from 0 to 1, and its ticks; `few` = its ends only."""
    distinct = list(dict.fromkeys(values))
    try:
        numbers = [float(value) for value in distinct]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        numbers = [float(place) for place in range(len(distinct))]
    elif min(numbers) > 0 and max(numbers) / min(numbers) > 30:
        numbers = [math.log(number) for number in numbers]
    low, high = min(numbers), max(numbers)
    heights = {v: (n - low) / (high - low) if high > low else 0.5 for v, n in zip(distinct, numbers, strict=True)}
    ordered = sorted(heights.items(), key=lambda pair: pair[1])
    shown = ordered if len(ordered) <= 8 and not few else [ordered[0], ordered[-1]]
    return [heights[value] for value in values], [(height, _short(value)) for value, height in dict(shown).items()]


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
