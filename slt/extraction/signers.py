"""Who signs: before a clip's landmarks, a few of its pictures are searched for people and one is chosen for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from slt.extraction.geometry import WRISTS, Box, Picture, Points, distance, extent, in_pixels, middle, shoulder_width

Pictures = Callable[[Sequence[float]], Iterable[tuple[float, Picture]]]
FindPeople = Callable[[Picture], list[Points]]
MODES = ("auto", "largest", "box")

# Motion is measured between two pictures so many seconds apart: a hand moves visibly, and does not yet come back.
PAIR_SECONDS = 0.2
# A first look at every clip: its first picture and one for so many seconds; with one person in them that was all.
GLANCE_SECONDS, FEWEST_GLANCES, MOST_GLANCES = 5.0, 2, 6
# The thorough look at clips with several people, in pairs of pictures.
PAIR_EVERY, FEWEST_PAIRS, MOST_PAIRS = 1.5, 4, 12
# What a wrist of a person in a frozen picture seems to move by, in shoulder widths a second, and more than any moves.
STILL, FASTEST = 0.1, 8.0
# One person in two pictures: so near, in shoulder widths, and of a size that differs by no more than this factor.
SAME_REACH, SAME_SIZE = 1.0, 1.6


@dataclass(frozen=True)
class Signer:
    """Who signs in a clip."""

    box: Box | None  # where the signer moves in the clip; None = nobody else is there, look anywhere
    # The signer's score over that and the runner-up's, in [0, 1]; 1 for one person or a given box, 0 for nobody.
    certainty: float
    persons: int  # most people found in one of the pictures
    unsure: bool  # the certainty is below the least that was asked for


@dataclass
class Track:
    """One person over the pictures of a clip."""

    last: Points  # where they were last, (33, 3) in pixels
    boxes: list[Box] = field(default_factory=list)  # around them, in each picture
    widths: list[float] = field(default_factory=list)  # of their shoulders, in each picture, pixels
    # Of their visible hands in each pair of pictures, in shoulder widths a second.
    motion: list[float] = field(default_factory=list)

    def add(self, person: Points) -> None:
        self.last = person
        self.boxes.append(extent(person))
        self.widths.append(shoulder_width(person))


def find_signer(
    pictures: Pictures, find_people: FindPeople, *, duration: float, box: Box | None, mode: str, least: float
) -> Signer:
    """Choose the signer of a clip of `duration` seconds.

    `pictures` gives pictures (H, W, 3) at some seconds, lazily; `find_people` everyone in one, (33, 3) each, x and y as
    shares of it. Mode "auto": who moves visible hands most, the larger the better; "largest"; "box": who is in `box`.
    """
    if mode == "box":
        if box is None:
            raise ValueError("signer=box: this clip has no box; add its row to the table boxes=, or choose signer=auto")
        return Signer(box, 1.0, 1, unsure=False)
    count = _count(duration, GLANCE_SECONDS, FEWEST_GLANCES, MOST_GLANCES)
    # Whoever is found in the first picture is followed from there: it is one of them.
    moments = [duration * n / count for n in range(count)]
    persons = [len(find_people(picture)) for _, picture in pictures(moments)]
    if (found := max(persons, default=0)) <= 1:
        return Signer(None, float(found), found, unsure=found < least)
    tracks, pairs, most = follow(pictures, find_people, duration)
    # Somebody in one picture alone is more often a fault of the detector's than a person.
    tracks = [track for track in tracks if len(track.boxes) > 1]
    most = max(found, most)
    if len(tracks) < 2:
        return Signer(None, float(len(tracks)), most, unsure=len(tracks) < least)
    scores = score(tracks, pairs, mode)
    first, second = sorted(range(len(tracks)), key=lambda n: -scores[n])[:2]
    certainty = scores[first] / max(scores[first] + scores[second], 1e-9)
    return Signer(around(tracks[first]), certainty, most, unsure=certainty < least)


def follow(pictures: Pictures, find_people: FindPeople, duration: float) -> tuple[list[Track], int, int]:
    """Follow everyone over pairs of pictures of a clip; return them, the number of pairs, the most in one picture."""
    count = min(_count(duration, PAIR_EVERY, FEWEST_PAIRS, MOST_PAIRS), max(int(duration / (2 * PAIR_SECONDS)), 1))
    starts = [max(duration - PAIR_SECONDS, 0.0) * (n + 0.5) / count for n in range(count)]
    asked = [moment for start in starts for moment in (start, min(start + PAIR_SECONDS, duration))]
    tracks: list[Track] = []
    pairs = most = 0
    before: list[tuple[Track, Points]] = []
    seconds_before = 0.0
    for n, (seconds, picture) in enumerate(pictures(asked)):
        people = [in_pixels(person, picture) for person in find_people(picture)]
        now = link(tracks, people)
        most = max(most, len(people))
        if n % 2 and seconds > seconds_before:
            pairs += 1
            for track, person in now:
                for earlier in (body for one, body in before if one is track):
                    track.motion.append(motion(earlier, person, picture) / (seconds - seconds_before))
        before, seconds_before = now, seconds
    return tracks, pairs, most


def link(tracks: list[Track], people: list[Points]) -> list[tuple[Track, Points]]:
    """Give each person of a picture, (33, 3) in pixels, to their track, nearest first, or to a new one; return both."""
    near = []
    for n, person in enumerate(people):
        for m, track in enumerate(tracks):
            width, before = shoulder_width(person), shoulder_width(track.last)
            apart = distance(person, track.last) / max(before, 1.0)
            if apart <= SAME_REACH and before / SAME_SIZE <= width <= before * SAME_SIZE:
                near.append((apart, n, m))
    owner: dict[int, int] = {}
    for _, n, m in sorted(near):
        if n not in owner and m not in owner.values():
            owner[n] = m
    owners = [tracks[owner[n]] if n in owner else Track(person) for n, person in enumerate(people)]
    tracks += [track for n, track in enumerate(owners) if n not in owner]
    for track, person in zip(owners, people, strict=True):
        track.add(person)
    return list(zip(owners, people, strict=True))


def motion(one: Points, other: Points, picture: Picture) -> float:
    """Return how far a person's hands move between two pictures, (33, 3) in pixels, in their shoulder widths.

    The mean of both wrists from the middle of the shoulders; a wrist hidden, or out of the picture, counts as still.
    """
    size = picture.shape[1::-1]
    visible = np.ones(len(WRISTS), bool)
    for person in (one, other):
        places = person[WRISTS]
        visible &= (places[:, 2] >= 0.5) & ((places[:, :2] >= 0) & (places[:, :2] <= size)).all(1)
    moved = (other[WRISTS, :2] - middle(other)) - (one[WRISTS, :2] - middle(one))
    unit = max((shoulder_width(one) + shoulder_width(other)) / 2, 1.0)
    return float((np.linalg.norm(moved, axis=1) * visible).mean()) / unit


def score(tracks: list[Track], pairs: int, mode: str) -> list[float]:
    """Return what speaks for each person as the signer, over `pairs` pairs of pictures.

    `largest` goes by the shoulders; `auto` by the mean motion of the hands times the square root of the relative size.
    """
    sizes = np.array([float(np.median(track.widths)) for track in tracks])
    there = np.array([len(track.widths) for track in tracks]) / max(2 * pairs, 1)
    if mode == "largest":
        return [float(value) for value in sizes * there.clip(0, 1)]
    moved = [sum(min(max(value - STILL, 0.0), FASTEST) for value in track.motion) / max(pairs, 1) for track in tracks]
    # Of people who all keep still none is the signer for sure: a little for each lets the size decide, unsurely.
    return [float(value) for value in (np.array(moved) + 0.02 * there) * np.sqrt(sizes / sizes.max(initial=1e-9))]


def around(track: Track) -> Box:
    """Return the box in which a person was in all pictures, half a shoulder width larger on each side."""
    boxes = np.array(track.boxes)
    margin = 0.5 * float(np.median(track.widths))
    low, high = boxes[:, :2].min(0) - margin, boxes[:, 2:].max(0) + margin
    return tuple(round(float(value), 1) for value in (*low, *high))  # type: ignore[return-value]


def _count(duration: float, every: float, fewest: int, most: int) -> int:
    return min(max(math.ceil(duration / every), fewest), most)
