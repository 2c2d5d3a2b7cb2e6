"""What raters sent back -> attention, agreement, and a mean of each system with its interval and its place.

R raters, I items, N clips, B resamples. Ratings are 0 to 100; with several raters a clip's rating is their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slt.evaluation.rating import REFERENCE
from slt.evaluation.resampling import Counted, Counts, Difference, Paired, Resamples, Score
from slt.files import needing, read_json

SCALES = ("adequacy", "fluency")
LEVEL = 0.05  # a p below it tells two systems apart
FEW = 20  # clips below which a bootstrap over them says little

Ratings = Mapping[str, Mapping[int, Mapping[str, float]]]  # rater -> item -> scale -> 0 to 100


@dataclass(frozen=True)
class Attention:
    """How a rater met the catch items; adequacy in points of 100, None where none of them was rated.

    Attributes:
        items: how many the rater rated, catch items among them.
        repeats: mean distance of the two ratings of a sentence that was shown twice.
        spoiled: share of the spoiled references that were rated lower than the intact one.
        attentive: False where half of them or more were not.
    """

    items: int
    repeats: float | None
    spoiled: float | None

    @property
    def attentive(self) -> bool:
        return self.spoiled is None or self.spoiled > 0.5


@dataclass(frozen=True)
class Rated:
    """A system by its raters: means over clips with their interval, raw (0 to 100) and in each rater's own z."""

    clips: int
    raw: Mapping[str, Score]
    z: Mapping[str, Score]
    place: int  # by adequacy in z, see `Paired.places`
    difference: Difference | None  # of adequacy in z to the system that is best by it; None of that one


def read_ratings(folder: Path, key: Mapping[str, Any]) -> dict[str, dict[int, dict[str, float]]]:
    """The ratings of a folder of files as the page saves them, each of another rater and all of the key's page."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*.json")):
        told = read_json(path)
        if "ratings" not in told:  # such as the key
            continue
        rater = str(told.get("rater"))
        if told.get("page") != key["page"]:
            raise ValueError(f"{path}: ratings of page {told.get('page')}, and the key is of page {key['page']}")
        if rater in files:
            raise ValueError(f"{files[rater]} and {path}: both of rater {rater!r}; leave the older one out")
        files[rater] = path
        found[rater] = {each["item"]: _checked(each, len(key["items"]), path) for each in told["ratings"]}
    if not any(found.values()):
        raise FileNotFoundError(f"{folder}: no ratings; expected the files that raters saved, ratings-PAGE-NAME.json")
    return found


def _checked(rating: Mapping[str, Any], items: int, path: Path) -> dict[str, float]:
    values = {scale: rating.get(scale) for scale in SCALES}
    fits = all(isinstance(value, int | float) and 0 <= value <= 100 for value in values.values())
    if not fits or not isinstance(rating.get("item"), int) or not 1 <= rating["item"] <= items:
        raise ValueError(f"{path}: a rating from 0 to 100 of one of {items} items expected, came {dict(rating)}")
    return {scale: float(value) for scale, value in values.items() if value is not None}


def attention(rated: Mapping[int, Mapping[str, float]], items: Sequence[Mapping[str, Any]]) -> Attention:
    """One rater's."""
    pairs: dict[str, list[tuple[float, float]]] = {"repeat": [], "spoiled": []}
    for number, item in enumerate(items, 1):
        if item["catch"] and number in rated and item["beside"] in rated:
            pairs[item["catch"]].append((rated[number]["adequacy"], rated[item["beside"]]["adequacy"]))
    return Attention(
        len(rated),
        float(np.mean([abs(one - other) for one, other in pairs["repeat"]])) if pairs["repeat"] else None,
        float(np.mean([spoiled < intact for spoiled, intact in pairs["spoiled"]])) if pairs["spoiled"] else None,
    )


def agreement(ratings: Ratings, items: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Krippendorff's alpha of each scale, for intervals (Krippendorff 2011); catch items do not count.

    None where no two raters share an item, or where all ratings are one.
    """
    with needing("agreement of raters", extra="rating"):
        import krippendorff
    found: dict[str, float | None] = {}
    numbers = _counting(items)
    for scale in SCALES:
        table = np.array([[rated.get(n, {}).get(scale, np.nan) for n in numbers] for rated in ratings.values()])
        shared = table[:, np.isfinite(table).sum(0) > 1]
        varied = shared.size > 0 and np.nanmin(shared) < np.nanmax(shared)
        found[scale] = float(krippendorff.alpha(table, level_of_measurement="interval")) if varied else None
    return found


def systems(ratings: Ratings, items: Sequence[Mapping[str, Any]], *, bootstrap: int, seed: int) -> dict[str, Rated]:
    """Each system, the best first; the references are one of them, `reference`, and are compared as the others are."""
    rated = {number for own in ratings.values() for number in own}
    clips = sorted({items[number - 1]["clip"] for number in _counting(items) if number in rated})
    drawn = Resamples(len(clips), bootstrap, seed)
    tested = {
        (kind, scale): _paired(values, scale, items, clips, drawn)
        for kind, values in (("raw", ratings), ("z", _standardised(ratings, items)))
        for scale in SCALES
    }
    judged = tested["z", "adequacy"]
    names = sorted(judged.scores, key=lambda name: -judged.scores[name][0])
    places = judged.places(LEVEL)
    means = {
        (kind, name): {scale: tested[kind, scale].score(name, f"mean:{kind}{drawn.about}") for scale in SCALES}
        for kind in ("raw", "z")
        for name in names
    }
    return {
        name: Rated(
            clips=len({item["clip"] for n, item in enumerate(items, 1) if n in rated and name in item["systems"]}),
            raw=means["raw", name],
            z=means["z", name],
            place=places[name],
            difference=None if name == names[0] else judged.difference(name, names[0]),
        )
        for name in names
    }


def _counting(items: Sequence[Mapping[str, Any]]) -> list[int]:
    """The numbers of the items that are no catch items."""
    return [number for number, item in enumerate(items, 1) if not item["catch"]]


def _standardised(ratings: Ratings, items: Sequence[Mapping[str, Any]]) -> Ratings:
    """Each rater's ratings less their mean, over their deviation, as WMT has it (Bojar et al. 2016): strict and mild
    raters then count alike.
    """
    own = _counting(items)
    found: dict[str, dict[int, dict[str, float]]] = {}
    for rater, rated in ratings.items():
        about = {}
        for scale in SCALES:
            values = [rated[number][scale] for number in own if number in rated] or [0.0]
            about[scale] = float(np.mean(values)), float(np.std(values)) or 1.0
        found[rater] = {
            number: {scale: (each[scale] - about[scale][0]) / about[scale][1] for scale in SCALES}
            for number, each in rated.items()
        }
    return found


def _paired(
    ratings: Ratings, scale: str, items: Sequence[Mapping[str, Any]], clips: Sequence[str], drawn: Resamples
) -> Paired:
    """Every system's mean over clips, on the same resamples of them."""
    place = {clip: i for i, clip in enumerate(clips)}
    counts: dict[str, Counts] = {}  # system -> (N, 2): a clip's rating and whether it has one
    for number, item in enumerate(items, 1):
        values = [rated[number][scale] for rated in ratings.values() if number in rated]
        for name in item["systems"] if values else ():  # none of a catch item
            own = counts.setdefault(name, np.zeros((len(clips), 2)))
            own[place[item["clip"]]] = np.mean(values), 1
    return Paired({name: drawn.values(Counted(own, _mean(own.sum(0)), "")) for name, own in counts.items()})


def _mean(whole: Counts) -> Callable[[list[Any]], float]:
    """The mean of what was drawn; a resample without a rated clip of the system has the mean of all."""
    return lambda total: float(total[0] / total[1] if total[1] else whole[0] / whole[1])


def lines(found: Mapping[str, Rated], raters: Mapping[str, Attention], alphas: Mapping[str, float | None]) -> list[str]:
    """What the terminal shows."""
    width = max(map(len, [*raters, *found, REFERENCE]))
    said = [f"{'rater':{width}s}  items  repeats differ by  spoiled rated lower"]
    for name, own in raters.items():
        spoiled = "–" if own.spoiled is None else f"{own.spoiled:.0%}"
        repeats = "–" if own.repeats is None else f"{own.repeats:.1f}"
        mark = "" if own.attentive else "  not attentive"
        said.append(f"{name:{width}s}  {own.items:5d}  {repeats:>17s}  {spoiled:>19s}{mark}")
    told = ", ".join(f"{scale} {'–' if value is None else f'{value:.2f}'}" for scale, value in alphas.items())
    said.append(f"agreement (Krippendorff's alpha, interval): {told}")
    said.append(f"{'system':{width}s}  place  {'adequacy':24s}{'fluency':24s}{'adequacy z':24s}less the best, z")
    for name, rated in found.items():
        cells = [str(rated.raw[scale]) for scale in SCALES] + [str(rated.z["adequacy"])]
        d = rated.difference
        beside = "" if d is None else f"{d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}], p {d.p:.3f}"
        said.append(f"{name:{width}s}  {rated.place:5d}  " + "".join(f"{cell:24s}" for cell in cells) + beside)
    if (fewest := min(rated.clips for rated in found.values())) < FEW:
        said.append(f"only {fewest} clips of a system are rated: intervals, places and p say little")
    return said
