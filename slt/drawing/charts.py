"""Curves of a run and histograms of a corpus as small charts: inline SVG for the pages, a PNG beside a run."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slt.words import say, told

LINES = ("#3b82d6", "#e07b28", "#2a9d63", "#a65bc4", "#c2453f")  # readable on white and on black
INK = "#010203"  # stands for the page's text colour until the SVG is made
Curve = Sequence[tuple[float, float]]


def draw_curves(curves: Mapping[str, Curve]) -> dict[str, str]:
    """Draws one chart a metric, with a line for each split: name -> SVG text in the ink of the page around it.

    `curves` are `split/name` -> (step, value) pairs, as logged; points that are not finite break the line.
    """
    return {name: _chart(name, lines) for name, lines in _by_name(curves).items()}


def _by_name(curves: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Name -> split -> curve, of the curves that have a point."""
    charts: dict[str, dict[str, Curve]] = {}
    for key, curve in curves.items():
        split, _, name = key.rpartition("/")
        if curve:
            charts.setdefault(name, {})[split or name] = curve
    return charts


def _chart(name: str, lines: Mapping[str, Curve]) -> str:
    with look(name):
        figure = _panels(4.4, 2.5)
        axes = figure.add_subplot()
        _plot(axes, name, lines)
        if len(lines) > 1:
            axes.legend(frameon=False)
        to = say("{low} to {high}")
        ends = "; ".join(
            f"{split} {to.format(low=f'{curve[0][1]:.4g}', high=f'{curve[-1][1]:.4g}')}"
            for split, curve in lines.items()
        )
        return inline(figure, say("{metric} over steps").format(metric=name) + f": {ends}")


def save_curves(curves: Mapping[str, Curve], path: Path) -> None:
    """Writes `curves.png`: one panel a metric name, splits together."""
    charts = sorted(_by_name(curves).items())
    rows, columns = -(-len(charts) // 3), min(len(charts), 3)
    with look("curves"):
        figure = _panels(4 * columns, 2.8 * rows)
        for place, (name, lines) in enumerate(charts, 1):
            axes = figure.add_subplot(rows, columns, place)
            _plot(axes, name, lines)
            axes.legend(frameon=False)
        figure.savefig(path, dpi=110)


def _plot(axes: Axes, name: str, lines: Mapping[str, Curve]) -> None:
    for (split, curve), colour in zip(lines.items(), LINES * len(lines), strict=False):
        steps, values = zip(*curve, strict=True)
        marker = "o" if len(curve) < 30 else None
        axes.plot(steps, values, color=colour, label=split, linewidth=1.6, marker=marker, markersize=3)
    axes.set_title(name)
    axes.set_xlabel(say("step"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    plain(axes)


def _panels(width: float, height: float) -> Figure:
    """A figure of so many inches with fixed margins: a layout engine draws everything twice."""
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.55 / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - 0.35 / height, wspace=0.2, hspace=0.45
    )
    return figure


def draw_against(title: str, lines: Mapping[str, Curve], *, axis: str, upright: str, dotted: str | None = None) -> str:
    """Draws lines of (x, y) pairs in percent against each other: SVG text as of `draw_curves`.

    `axis` says what x is and `upright` what y is; the line named `dotted` is one to compare with.
    """
    with look(title):
        figure = Figure(figsize=(4.4, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for (name, line), colour in zip(lines.items(), LINES, strict=False):
            x, y = zip(*line, strict=True)
            marker = "o" if name != dotted and len(line) < 30 else None
            how: Any = {"color": INK, "linestyle": ":"} if name == dotted else {"color": colour}
            axes.plot(x, y, label=name, linewidth=1.6, marker=marker, markersize=4, clip_on=False, **how)
        axes.set_title(title)
        axes.set_xlabel(axis)
        axes.set_ylabel(upright)
        axes.set_xlim(0, 100)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        plain(axes)
        ends = "; ".join(
            f"{name}: {line[0][1]:.4g} at {line[0][0]:.4g} to {line[-1][1]:.4g} at {line[-1][0]:.4g}"
            for name, line in lines.items()
        )
        return inline(figure, f"{title}, {upright} by {axis}: {ends}")


def draw_histogram(
    title: str, values: Sequence[float], *, axis: str, counted: str, limits: tuple[float, float] | None, bins: int
) -> str:
    """Draws how many of something there are of each value: SVG text as of `draw_curves`; "" where there are no values.

    `axis` says what values are, with the unit, `counted` what is counted, such as "clips"; `limits` are the lowest and
    highest value of the axis, None = those of the values.
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
        plain(axes, grid="y")
        low, middle, high = np.quantile(data, (0, 0.5, 1))
        label = told(f"{title}: {len(data)} {counted}, {axis} from {low:.4g} to {high:.4g}, median {middle:.4g}")
        return inline(figure, label)


@contextmanager
def look(name: str) -> Iterator[None]:
    """The style of all charts; `name` is this one's, of which no other on the page has the like."""
    # The salt keeps the ids of several charts on one page apart, and equal from run to run.
    inked = ("text.color", "xtick.color", "ytick.color", "axes.edgecolor", "axes.labelcolor")
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9}
    with rc_context(style | dict.fromkeys(inked, INK)):
        yield


def plain(axes: Axes, *, grid: Any = "both") -> None:
    """Two spines and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=INK, alpha=0.12)


def inline(figure: Figure, label: str) -> str:
    """A chart -> an element of a page: no prologue, ink from the page, words for those who do not see it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # group names repeat from chart to chart
    for edge in ("width", "height"):  # the page's own
        svg = re.sub(rf'(<svg[^>]*?) {edge}="[^"]*"', r"\1", svg, count=1)
    label = re.sub(r'[<>&"]', " ", label)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
