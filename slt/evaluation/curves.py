"""Curves of a run as small line charts: inline SVG for the report."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

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
    # The salt keeps the ids of several charts on one page apart, and equal from run to run.
    inked = ("text.color", "xtick.color", "ytick.color", "axes.edgecolor", "axes.labelcolor")
    look: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9}
    look |= dict.fromkeys(inked, INK)
    with rc_context(look):
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
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _inline(text.getvalue(), name, lines)


def _inline(svg: str, name: str, lines: Mapping[str, Curve]) -> str:
    """A file's SVG -> an element of a page: no prologue, ink from the page, words for those who do not see it."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # group names repeat from chart to chart
    ends = "; ".join(f"{split} {curve[0][1]:.4g} to {curve[-1][1]:.4g}" for split, curve in lines.items())
    label = re.sub(r'[<>&"]', " ", f"{name} over steps: {ends}")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
