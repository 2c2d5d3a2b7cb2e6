"""What the K points of a pose are: names, parts, sides, bones and centre; each skeleton and subset is one YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from slt.text import near

_PACKAGE = Path(__file__).resolve().parents[1]
# In a checkout `conf/` stands beside the package; a wheel carries it inside.
OWN = next(folder for home in (_PACKAGE.parent, _PACKAGE) if (folder := home / "conf" / "skeleton").is_dir())

Points = str | Mapping[str, Any]  # how a configuration says it: the name of a file, or what such a file holds


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The points of a pose, in the order of its arrays."""

    name: str  # of its file
    points: tuple[str, ...]  # names; those that differ in LEFT and RIGHT alone change places in a mirror
    parts: Mapping[str, tuple[int, ...]]  # part -> places of its points
    edges: Mapping[str, Sequence[tuple[int, int]]]  # `part.group` -> the two places that each bone joins
    centre: tuple[int, int]  # the two points that a pose is centred on, LEFT then RIGHT
    anchors: Mapping[str, int]  # part -> the point that it may be centred on: a hand's wrist, the tip of the nose
    mirror_order: NDArray[np.int64]  # for each point the one on the other side, itself where there is none, (K,)
    places: NDArray[np.int64]  # where its points stand in `whole`, (K,)
    of: Skeleton | None = None  # what a subset is taken out of

    @property
    def whole(self) -> Skeleton:
        """The skeleton of the files."""
        return self.of or self

    def __len__(self) -> int:
        return len(self.points)

    def subset(self, name: str, points: Sequence[str]) -> Skeleton:
        """Return the skeleton of some points, each named by itself, its part or the lines it is on (`face.lips`)."""
        lines = {group: tuple(sorted({*chain(*bones)})) for group, bones in self.edges.items()}
        known = lines | dict(self.parts) | {point: (n,) for n, point in enumerate(self.points)}
        if strange := [point for point in points if point not in known]:
            raise ValueError(f"skeleton {name!r}: {self.name} has no point {strange[0]!r}{near(strange[0], known)}")
        places = [place for point in points for place in known[point]]
        order = {place: n for n, place in enumerate(places)}
        if len(order) < len(places) or not set(self.centre) <= set(order):
            centre = " and ".join(self.points[place] for place in self.centre)
            raise ValueError(f"skeleton {name!r}: expected each point once, {centre} among them, came {list(points)}")
        return Skeleton(
            name=name,
            points=tuple(self.points[place] for place in places),
            parts={part: kept for part, every in self.parts.items()
                   if (kept := tuple(order[place] for place in every if place in order))},
            edges={group: [(order[a], order[b]) for a, b in pairs if a in order and b in order]
                   for group, pairs in self.edges.items()},
            centre=(order[self.centre[0]], order[self.centre[1]]),
            anchors={part: order[place] for part, place in self.anchors.items() if place in order},
            mirror_order=np.array([order.get(int(self.mirror_order[place]), n) for n, place in enumerate(places)]),
            places=self.places[places],
            of=self.whole,
        )  # fmt: skip

    def columns(self, file: Skeleton, where: str) -> NDArray[np.int64]:
        """Return where its points stand in a file's skeleton, (K,); ValueError, naming `where`, for one without them.

        Points are the same where their names are, in skeletons of which one holds all points of the other.
        """
        ours, theirs = {*self.whole.points}, {*file.points}
        place = {name: n for n, name in enumerate(file.points)} if ours <= theirs or theirs <= ours else {}
        if lacks := [name for name in self.points if name not in place]:
            raise ValueError(
                f"{where}: its {len(file)} points are of the skeleton {file.name}, points={self.name} takes "
                f"{lacks[0]} of {self.whole.name}; choose points that it has, or extract it anew"
            )
        return np.array([place[name] for name in self.points])

    def own_origin(self, part: str) -> str | None:
        """Return the name of the point that a part may be centred on by itself; None = it is of the body."""
        place = self.whole.anchors.get(part)
        return None if place is None else self.whole.points[place]

    @cached_property
    def apart(self) -> list[tuple[int, ...]]:
        """The places of points that have an origin of their own: of each hand, and of face and irises together."""
        groups: dict[str, tuple[int, ...]] = {}
        for part, places in self.parts.items():
            if (name := self.own_origin(part)) is not None:
                groups[name] = groups.get(name, ()) + places
        return [*groups.values()]


def file_skeleton(stated: str, landmarks: int, where: str) -> Skeleton:
    """Return the skeleton of a file's points, by the name that it states, "" = none.

    Files of before state none: those are MediaPipe's 75 points, or its 33 of the body.
    ValueError, naming `where`, for a name or number that cannot be.
    """
    if not stated:
        if landmarks not in (len(MEDIAPIPE), BODY):
            raise ValueError(
                f"{where}: a pose of {MEDIAPIPE.name} has {BODY} landmarks (body) or {len(MEDIAPIPE)} "
                f"({', '.join(MEDIAPIPE.parts)}), came {landmarks}; convert it to this numbering, or state another in "
                "its key `skeleton`"
            )
        return MEDIAPIPE if landmarks == len(MEDIAPIPE) else find_skeleton("body")
    try:
        skeleton = _here(stated, Path.cwd())
    except ValueError as error:
        raise ValueError(f"{where}: key `skeleton`: {error}") from error
    if landmarks != len(skeleton):
        raise ValueError(
            f"{where}: its skeleton {stated} has {len(skeleton)} landmarks, came {landmarks}; write it anew"
        )
    return skeleton


@lru_cache(maxsize=64)
def _here(name: str, folder: Path) -> Skeleton:
    """A skeleton by the name that many files state, from `folder`."""
    return find_skeleton(name)


def find_skeleton(points: Points) -> Skeleton:
    """Return the skeleton of a name, or of what its file holds."""
    points = spell_out(points)
    return _own(points) if isinstance(points, str) else _built(points)


@cache
def _own(name: str) -> Skeleton:
    return _built({"name": name, **_content(OWN / f"{name}.yaml")})


def _built(content: Mapping[str, Any]) -> Skeleton:
    name = str(content.get("name"))
    try:
        if "of" in content:
            taken = find_skeleton(content["of"]).subset(name, content["points"])
            return replace(taken, edges={**taken.edges, **_own_edges(taken, content.get("edges", {}))})
        return _whole(name, content)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"skeleton {name!r}: expected `of` and `points`, or `parts`, `edges` and `centre` as in {OWN}; came "
            f"{sorted(map(str, content))} ({type(error).__name__}: {error})"
        ) from error


def spell_out(points: Points) -> str | dict[str, Any]:
    """Return a name of the suite's own as it is, and instead of any other what its file holds.

    Such files stand in `conf/skeleton` or `skeleton` of the working folder. So a checkpoint or an export is whole
    without the files of whoever trained it.
    """
    if isinstance(points, Mapping):
        return dict(points) | ({"of": spell_out(points["of"])} if "of" in points else {})
    if (OWN / f"{points}.yaml").is_file():
        return points
    folders = (OWN, Path.cwd() / "conf" / "skeleton", Path.cwd() / "skeleton")
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
    if points not in files:
        raise ValueError(f"points must be one of {', '.join(files)}, came {points!r}{near(str(points), files)}")
    return spell_out({"name": points, **_content(files[points])})


def _content(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: keys with values expected, came {type(content).__name__}")
    return content


def _whole(name: str, content: Mapping[str, Any]) -> Skeleton:
    points: list[str] = []
    parts: dict[str, tuple[int, ...]] = {}
    edges: dict[str, list[tuple[int, int]]] = {}
    anchors: dict[str, str] = {}
    pairs: list[tuple[int, int]] = []
    for part, what in content["parts"].items():
        first, own = len(points), content.get("edges", {}).get(part, {})
        if isinstance(what, str):  # the part of another skeleton
            other = find_skeleton(what)
            names: Sequence[str] = [other.points[place] for place in other.parts[part]]
            moved = {place: first + n for n, place in enumerate(other.parts[part])}
            edges |= {group: [(moved[a], moved[b]) for a, b in bones] for group, bones in other.edges.items()
                      if group.startswith(f"{part}.")}  # fmt: skip
            if part in other.anchors:
                anchors[part] = other.points[other.anchors[part]]
        else:
            names = [f"{part.upper()}_{n}" for n in range(what)] if isinstance(what, int) else what
        points += names
        parts[part] = tuple(range(first, len(points)))
        for group, lines in own.items():
            edges[f"{part}.{group}"] = [(parts[part][a], parts[part][b]) for line in lines for a, b in pairwise(line)]
        pairs += [(parts[part][a], parts[part][b]) for a, b in content.get("mirror", {}).get(part, ())]
    left, right = (points.index(point) for point in content["centre"])
    anchors |= content.get("anchors", {})
    return Skeleton(
        name, tuple(points), parts, edges, (left, right), {part: points.index(name) for part, name in anchors.items()},
        _mirrored(points, pairs), np.arange(len(points)),
    )  # fmt: skip


def _own_edges(taken: Skeleton, lines: Mapping[str, Any]) -> dict[str, list[tuple[int, int]]]:
    """The bones that a subset joins its points by, in place of the whole's; parts that it says nothing of keep theirs.

    Its lines number the points of a part in the subset's order.
    """
    edges: dict[str, list[tuple[int, int]]] = {group: [] for group in taken.edges if group.split(".")[0] in lines}
    for part, groups in lines.items():
        places = sorted(taken.parts[part])
        for group, own in groups.items():
            edges[f"{part}.{group}"] = [(places[a], places[b]) for line in own for a, b in pairwise(line)]
    return edges


def _mirrored(points: Sequence[str], pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The order of a mirror: names that differ in LEFT and RIGHT alone change places, and so do `pairs`."""
    place = {name: n for n, name in enumerate(points)}
    swapped = {"LEFT": "RIGHT", "RIGHT": "LEFT"}
    others = ("_".join(swapped.get(word, word) for word in name.split("_")) for name in points)
    order = np.array([place.get(other, n) for n, other in enumerate(others)])
    for a, b in pairs:
        order[[a, b]] = b, a
    return order


MEDIAPIPE = find_skeleton("mediapipe_75")
BODY, HAND = (len(MEDIAPIPE.parts[part]) for part in ("body", "left_hand"))
