"""Curves of a run as small line charts, and histograms of a corpus: inline SVG for the reports."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

LINES = ("#3b82d6", "#e07b28", "#2a9d63", "#a65bc4", "#c2453f")  # readable on white and on black
INK = "#010203"  # stands for the page's text colour until the SVG is made
Curve = Sequence[tuple[float, float]]


def draw_curves(curves: Mapping[str, Curve]) -> dict[str, str]:
    """Draws one chart a metric, with a line for each split.

    Args:
        curves: `split/name` -> (step, value) pairs, as logged. Points that are not finite break the line.

    Returns:
        name -> SVG text, its ink the colour of the text around it; curves without a point are left out.
    """
    charts: dict[str, dict[str, Curve]] = {}
    for key, curve in curves.items():
        split, _, name = key.rpartition("/")
        if curve:
            charts.setdefault(name, {})[split or name] = curve
    return {name: _chart(name, lines) for name, lines in charts.items()}


def _chart(name: str, lines: Mapping[str, Curve]) -> str:
    with look(name):
        figure = Figure(figsize=(4.4, 2.5), layout="constrained")
        axes = figure.add_subplot()
        for (split, curve), colour in zip(lines.items(), LINES * len(lines), strict=False):
            steps, values = zip(*curve, strict=True)
            marker = "o" if len(curve) < 30 else None
            axes.plot(steps, values, color=colour, label=split, linewidth=1.6, marker=marker, markersize=3)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=INK, alpha=0.12)
        if len(lines) > 1:
            axes.legend(frameon=False)
        ends = "; ".join(f"{split} {curve[0][1]:.4g} to {curve[-1][1]:.4g}" for split, curve in lines.items())
        return inline(figure, f"{name} over steps: {ends}")


def draw_histogram(
    title: str, values: Sequence[float], *, axis: str, counted: str, limits: tuple[float, float] | None, bins: int
) -> str:
    """Draws how many of something there are of each value.

    Args:
        title: of the chart.
        values: one each.
        axis: what they are, with the unit.
        counted: what is counted, such as "clips".
        limits: lowest and highest value of the axis; None = those of the values.
        bins: bars.

    Returns:
        SVG text as `draw_curves` gives it; "" where there are no values.
    """
    if not len(values):
        return ""
    data = np.asarray(values, float)
    counts, edges = np.histogram(data, bins=bins, range=limits)
    with look(title):
        figure = Figure(figsize=(4.4, 2.1), layout="constrained")
        axes = figure.add_subplot()
        axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=LINES[0])
        axes.set_title(title)
        axes.set_xlabel(axis)
        axes.set_ylabel(counted)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=INK, alpha=0.12)
        low, middle, high = np.quantile(data, (0, 0.5, 1))
        return inline(
            figure, f"{title}: {len(data)} {counted}, {axis} from {low:.4g} to {high:.4g}, median {middle:.4g}"
        )


@contextmanager
def look(name: str) -> Iterator[None]:
    """The style of all charts; `name` is this one's, of which no other on the page has the like."""
    # The salt keeps the ids of several charts on one page apart, and equal from run to run.
    inked = ("text.color", "xtick.color", "ytick.color", "axes.edgecolor", "axes.labelcolor")
    look: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9}
    with rc_context(look | dict.fromkeys(inked, INK)):
        yield


def inline(figure: Figure, label: str) -> str:
    """A chart -> an element of a page: no prologue, ink from the page, words for those who do not see it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # group names repeat from chart to chart
    label = re.sub(r'[<>&"]', " ", label)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
