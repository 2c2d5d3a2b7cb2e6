"""What the web page says and draws: `texts.yaml` in each language and the parts of `parts.html` (T frames)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from slt.drawing.page import templates
from slt.inference.films import Update
from slt.inference.overlay import COLOURS
from slt.inference.subtitles import Caption, clock, composed
from slt.streams.pose import DETECTED, FOLLOWED, NOT_SEEN
from slt.words import LANGUAGES, say

HERE = Path(__file__).parent
_OURS: dict[str, str] = yaml.safe_load((HERE / "texts.yaml").read_text(encoding="utf-8"))["en"]
TEXTS = {name: {"language": name} | {key: say(text, name) for key, text in _OURS.items()} for name in LANGUAGES}
CSS = (HERE / "page.css").read_text(encoding="utf-8")

# Texts that the page's script says itself.
SCRIPTED = ("server_gone", "server_back", "server_new", "reload")

# Shares of the whole that the two passes over a film take; only for the bar.
LANDMARKS_SHARE = 0.8

# The timeline, in units that are pixels on a wide screen.
WIDTH, LEFT, RIGHT, ROW, BAR, TOP = 720, 92, 56, 32, 18, 8
MOST_TICKS = 9

_environment = templates("slt.inference.page")
_environment.filters |= {"clock": clock, "composed": lambda text: composed(text).strip()}
_environment.globals["row"] = {"width": WIDTH, "left": LEFT, "right": RIGHT, "height": ROW, "bar": BAR, "top": TOP}
_parts = _environment.get_template("parts.html").module


def part(name: str, *values: object) -> str:
    """Return a part of `parts.html`, filled in."""
    return str(getattr(_parts, name)(*values)).strip()


def script() -> str:
    """Return `page.js` as a function without arguments, with its texts in all languages."""
    words = {name: {key: text[key] for key in SCRIPTED} for name, text in TEXTS.items()}
    return f"() => ({(HERE / 'page.js').read_text(encoding='utf-8')})({json.dumps(words)})"


def language(accepted: str | None) -> str:
    """Return the language to write in, by what a browser accepts (`es-AR,es;q=0.9,en;q=0.8`): its first one of ours."""
    wishes = []
    for place, wish in enumerate((accepted or "").split(",")):
        name, _, quality = wish.strip().partition(";q=")
        try:
            wishes.append((-float(quality or 1), place, name.split("-")[0].lower()))
        except ValueError:
            continue
    return next((name for _, _, name in sorted(wishes) if name in LANGUAGES), LANGUAGES[0])


def progress(update: Update, text: Mapping[str, str], *, name: str) -> str:
    """Return how far the film `name` is, which is gone through twice: for its sentences, and to be drawn on."""
    share = min(update.seconds / max(update.duration, 1e-9), 1.0)
    whole = LANDMARKS_SHARE * share
    if update.stage == "drawing":
        whole = LANDMARKS_SHARE + (1 - LANDMARKS_SHARE) * share
    far = text["of"].format(done=clock(min(update.seconds, update.duration)), all=clock(update.duration))
    return part("progress", name, text[update.stage], far, whole)


def runs(marks: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """Return marks (T,) as (mark, first frame, frame after the last), one after the other."""
    if not len(marks):
        return []
    edges = [0, *(np.flatnonzero(np.diff(marks.astype(int))) + 1).tolist(), len(marks)]
    return [(int(marks[a]), a, b) for a, b in pairwise(edges)]


def ticks(duration: float) -> list[float]:
    """Return the seconds at which the axis is marked, at most ten of them, from 0 on."""
    steps = [unit * ten for ten in (0.1, 1, 10) for unit in (1, 2, 5)] + [60.0 * n for n in (1, 2, 5, 10, 20, 60, 120)]
    step = next((step for step in steps if duration / step <= MOST_TICKS), steps[-1])
    return [round(n * step, 6) for n in range(int(duration / step + 1e-6) + 1)]


def timeline(
    seen: Mapping[str, NDArray[np.uint8]], captions: Sequence[Caption], duration: float, text: Mapping[str, str]
) -> str:
    """Draw when each stream was seen, stream -> marks (T,), and the numbered segments, against seconds."""
    inner = WIDTH - LEFT - RIGHT
    per_second = inner / max(duration, 1e-9)
    streams, about = [], []
    for name, marks in seen.items():
        share = float((marks > 0).mean()) if len(marks) else 0.0
        frame = inner / max(len(marks), 1)
        bars = [(LEFT + first * frame, (after - first) * frame, mark) for mark, first, after in runs(marks)]
        streams.append((name, _colour(name), share, bars))
        about.append(f"{text[name]} {share:.0%}")
    legend, x = [], float(LEFT)
    for mark in (DETECTED, FOLLOWED, NOT_SEEN):
        legend.append((mark, x))
        x += 33 + 7.5 * len(text[f"seen_{mark}"]) + 26
    drawn = {
        "bottom": TOP + ROW * (len(seen) + 1),
        "title": f"{text['timeline']}: {', '.join(about)}; {duration:.1f} {text['seconds']}",
        "ticks": [(second, LEFT + second * per_second) for second in ticks(duration)],
        "segments": [
            (one, LEFT + one.start * per_second, max((one.end - one.start) * per_second, 1.0)) for one in captions
        ],
        "streams": streams,
        "legend": legend,
        "legend_colour": _colour("right_hand"),
    }
    return part("timeline", drawn, text)


def _colour(name: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*COLOURS[name] if name != "pose" else (150, 150, 150))
