"""Signed sentences as moving bodies: arms, hands and face over time in MediaPipe's layout (T frames, J joints).

Space of the signer: x to the right of the picture, y down, z towards the camera, in shoulder widths; the middle of the
shoulders is the origin. All signers are built right-handed (the right hand is on the left of the picture); a
left-handed one is mirrored as a whole at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slt.synthetic.grammar import Performed
from slt.synthetic.hands import hand_points, handshape_angles
from slt.synthetic.phonology import BROWS, HANDSHAPES, MOUTHS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Where the middle of the right hand is, per location of the lexicon. Neighbours lie at least half a shoulder apart.
_LOCATIONS = {
    "forehead": (-0.15, -1.15, 0.45),
    "chin": (-0.1, -0.5, 0.5),
    "ear": (-0.85, -0.75, 0.3),
    "shoulder": (0.5, 0.0, 0.45),
    "chest": (-0.15, 0.3, 0.55),
    "waist": (-0.2, 0.95, 0.55),
    "side": (-1.05, 0.25, 0.4),
}
_REST = (-0.5, 1.3, 0.25)
_TWO_HANDED_GAP = 0.3  # two-handed signs stand this far from the midline, or the hands would meet
# Rotation of a hand in the picture (degrees, 0 = fingers up, positive = towards the other hand) and about its own
# length (0 = palm to the camera, 180 = back to the camera).
_ORIENTATIONS = {
    "up_palm": (5.0, 0.0),
    "up_back": (5.0, 180.0),
    "tilt_palm": (-40.0, 0.0),
    "side_back": (65.0, 180.0),
    "rest": (150.0, 180.0),
}
_HAND = 0.5  # length of a hand in shoulder widths
# MediaPipe's body points that do not move of themselves: x, y in shoulder widths from the middle of the head.
_HEAD = {
    0: (0.0, 0.06), 1: (0.05, -0.08), 2: (0.1, -0.08), 3: (0.15, -0.08), 4: (-0.05, -0.08), 5: (-0.1, -0.08),
    6: (-0.15, -0.08), 7: (0.24, -0.03), 8: (-0.24, -0.03), 9: (0.08, 0.17), 10: (-0.08, 0.17),
}  # fmt: skip
_LEGS = {23: (0.32, 1.5), 24: (-0.32, 1.5), 25: (0.33, 2.6), 26: (-0.33, 2.6), 27: (0.33, 3.6), 28: (-0.33, 3.6),
         29: (0.33, 3.7), 30: (-0.33, 3.7), 31: (0.36, 3.75), 32: (-0.36, 3.75)}  # fmt: skip
_MIRRORED_BODY = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9] + [k + 1 if k % 2 else k - 1 for k in range(11, 33)]


@dataclass(frozen=True)
class Signer:
    """What stays with a signer from film to film: how they move, are built and stand before the camera."""

    name: str
    left_handed: bool  # mirrored as a whole
    speed: float  # factor on the duration of everything
    amplitude: float  # factor on the size of movements
    reach: float  # factor on how far places lie from the body's middle
    arms: float  # factor on arm lengths
    head: float  # shift of the head and everything at it, downwards
    scale: float  # shoulder width as a share of the picture's height
    look: int  # seed of the signer's appearance, for `drawing.Look`

    @classmethod
    def draw(cls, name: str, *, left_handed: bool, rng: np.random.Generator) -> Signer:
        return cls(
            name=name,
            left_handed=left_handed,
            speed=rng.uniform(0.88, 1.14),
            amplitude=rng.uniform(0.85, 1.2),
            reach=rng.uniform(0.93, 1.07),
            arms=rng.uniform(0.95, 1.06),
            head=rng.uniform(-0.06, 0.06),
            scale=rng.uniform(0.25, 0.29),
            look=int(rng.integers(2**31)),
        )


@dataclass(frozen=True)
class Film:
    """One performance of a sentence."""

    # (T, 75, 2): x, y as shares of the picture's width and height; 33 body, 21 left, 21 right hand points.
    pose: Floats
    # (T, 2, 21, 3), left and right, to be drawn: hand lengths, x right, y up, z towards the camera, from the wrist.
    hands: Floats
    handshape: Ints  # (T, 2), codes of left and right hand, as `phonology.HANDSHAPES`
    mouth: Ints  # (T,), codes as `phonology.MOUTHS`
    brows: Ints  # (T,), codes as `phonology.BROWS`
    mouth_mix: Floats  # (T, len(MOUTHS)), how far the mouth is in each state
    brows_mix: Floats
    spans: list[tuple[int, int]]  # first and last frame of every sign


def ease(share: Floats) -> Floats:
    """Return the minimum-jerk course of a reach (Flash and Hogan 1985) at a `share` of its time, clipped to 0..1."""
    share = np.clip(share, 0, 1)
    return share**3 * (10 - 15 * share + 6 * share**2)


# ---------------------------------------------------------------- a sentence

PICTURE = (640, 480)  # width and height of the imagined film, pixels
_LEAD, _TRANSITION, _STROKE, _TAIL = 0.22, 0.19, 0.25, 0.3  # seconds, for a signer of speed 1
_AMPLITUDE = 0.4  # length of a straight movement in shoulder widths


@dataclass(frozen=True)
class _Keys:
    """What the two hands and the face hold from `begin` to `end` (K,) seconds; entries 0 and K-1 are rest.

    places (K, 2, 3), movements K names, angles (K, 2, 16), turns (K, 2, 2) = picture and roll degrees, shapes (K, 2),
    mouth and brows (K,); hand 0 is the signer's stronger one, and all is written as if that were the right.
    """

    begin: Floats
    end: Floats
    places: Floats
    movements: list[tuple[str, str]]
    angles: Floats
    turns: Floats
    shapes: Ints
    mouth: Ints
    brows: Ints


def film(
    signs: Sequence[Performed],
    signer: Signer,
    *,
    fps: float,
    rng: np.random.Generator,
    camera: np.random.Generator | None = None,
) -> Film:
    """Let a signer perform a sentence once; every take varies a little in timing, place, size and camera.

    The camera is drawn from `camera` where it is given: takes before one camera give generators of one seed.
    """
    if not fps * (_STROKE + _TRANSITION) >= 3:
        raise ValueError(f"fps={fps:g}: a sign must last at least three frames, which takes 7 frames a second or more")
    keys = _keys(signs, signer, rng)
    count = int(np.ceil(keys.begin[-1] * fps)) + 1
    times = np.arange(count) / fps
    now = np.clip(np.searchsorted(keys.begin, times, side="right") - 1, 0, len(keys.begin) - 2)
    share = ease((times - keys.end[now]) / (keys.begin[now + 1] - keys.end[now]))
    near = np.where(share < 0.5, now, now + 1)

    turns = _blend(keys.turns, now, share) + _wander(count, fps, 3.0, (2, 2), rng)
    angles = _blend(keys.angles, now, share)
    drawn = [hand_points(angles[:, hand], turns[:, hand, 0], turns[:, hand, 1]) for hand in (0, 1)]
    centres = _centres(keys, signer, times, now, share) + _wander(count, fps, 0.012, (2, 3), rng)
    body, wrists = _body(centres, turns, signer, _wander(count, fps, 0.02, (2, 2), rng))

    right, left = drawn[0], drawn[1] * (-1, 1, 1)
    scale = _HAND * np.array([1, -1])
    points = np.concatenate(
        [body, wrists[:, 1, None, :2] + scale * left[..., :2], wrists[:, 0, None, :2] + scale * right[..., :2]], 1
    )
    hands, shapes = np.stack([left, right], 1), keys.shapes[near][:, ::-1]
    if signer.left_handed:
        points = points[:, [*_MIRRORED_BODY, *range(54, 75), *range(33, 54)]] * (-1, 1)
        hands, shapes = hands[:, ::-1] * (-1, 1, 1), shapes[:, ::-1]
    return Film(
        pose=_photograph(points, signer, rng if camera is None else camera),
        hands=hands,
        handshape=shapes,
        mouth=keys.mouth[near],
        brows=keys.brows[near],
        mouth_mix=_blend(np.eye(len(MOUTHS))[keys.mouth], now, share),
        brows_mix=_blend(np.eye(len(BROWS))[keys.brows], now, share),
        spans=_spans(keys, times),
    )


def _keys(signs: Sequence[Performed], signer: Signer, rng: np.random.Generator) -> _Keys:
    count = len(signs) + 2
    pace = signer.speed * rng.uniform(0.93, 1.07)
    stroke = pace * _STROKE * rng.uniform(0.85, 1.2, len(signs))
    gaps = pace * np.array([_LEAD, *[_TRANSITION] * (len(signs) - 1), _TAIL]) * rng.uniform(0.88, 1.15, len(signs) + 1)
    begin, end = np.zeros(count), np.zeros(count)
    end[0] = rng.uniform(0.0, 0.06)  # so that frames fall on other moments of a sign in every take
    for k in range(1, count):
        begin[k] = end[k - 1] + gaps[k - 1]
        end[k] = begin[k] + (stroke[k - 1] if k < count - 1 else 1.0)

    places = np.tile(np.array(_REST), (count, 2, 1))
    movements = [("hold", "hold")] * count
    names = [["rest", "rest"] for _ in range(count)]
    turns = np.tile(np.array(_ORIENTATIONS["rest"]), (count, 2, 1))
    for k, performed in enumerate(signs, 1):
        sign = performed.sign
        place = np.array(_LOCATIONS[sign.location])
        if sign.hands == 2:
            place[0] = min(place[0], -_TWO_HANDED_GAP)
        for hand in range(sign.hands):
            places[k, hand], turns[k, hand], names[k][hand] = place, _ORIENTATIONS[sign.orientation], sign.handshape
        movements[k] = (sign.movement, sign.movement if sign.hands == 2 else "hold")
    head = np.array([signer.reach, signer.reach, 1.0])
    places = places * head + (0, 0.5 * signer.head, 0) + rng.normal(0, 0.035, places.shape)
    angles = np.array([[handshape_angles(name) for name in pair] for pair in names])
    resting_mouth = "smile" if any(one.mouth == "smile" for one in signs) else "closed"
    resting_brows = "raised" if any(one.brows == "raised" for one in signs) else "neutral"
    return _Keys(
        begin=begin,
        end=end,
        places=places,
        movements=movements,
        angles=angles + rng.normal(0, 2.5, angles.shape),
        turns=turns + rng.normal(0, 1, turns.shape) * (7, 8),
        shapes=np.array([[HANDSHAPES.index(name) for name in pair] for pair in names]),
        mouth=np.array([MOUTHS.index(m) for m in [resting_mouth, *(one.mouth for one in signs), resting_mouth]]),
        brows=np.array([BROWS.index(b) for b in [resting_brows, *(one.brows for one in signs), resting_brows]]),
    )


def _blend(values: Floats, now: Ints, share: Floats) -> Floats:
    """Return (T, ...) values: those of key `now` (T,), gone over to the next by `share` (T,)."""
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (1 - share) * values[now] + share * values[now + 1]


def _centres(keys: _Keys, signer: Signer, times: Floats, now: Ints, share: Floats) -> Floats:
    """Return the middle of both hands (T, 2, 3), each in the space of a right hand."""
    u = np.clip((times - keys.begin[now]) / (keys.end[now] - keys.begin[now]), 0, 1)
    centres = np.zeros((len(times), 2, 3))
    for hand in (0, 1):
        here, ahead = keys.places[now, hand], keys.places[now + 1, hand]
        for k, names in enumerate(keys.movements):
            size = _AMPLITUDE * signer.amplitude
            here[now == k] += size * _movement(names[hand], u[now == k])
            ahead[now + 1 == k] += size * _movement(names[hand], np.zeros(1))
        centres[:, hand] = here + share[:, None] * (ahead - here)
    return centres


def _movement(name: str, u: Floats) -> Floats:
    """Return the offset (n, 3) of a movement of length 1 at `u` (n,) of its time."""
    course, turn, still = ease(u) - 0.5, 2 * np.pi * u, np.zeros_like(u)
    x, y = {
        "down": (still, course),
        "up": (still, -course),
        "out": (-course, still),
        "circle": (0.5 * np.sin(turn), -0.5 * np.cos(turn)),
        "shake": (0.5 * np.sin(turn), still),
        "hold": (still, still),
    }[name]
    return np.stack([x, y, still], 1)


def _wander(count: int, fps: float, size: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return a slow random course (T, *shape) of standard deviation about `size`."""
    times = np.arange(count).reshape(-1, *[1] * len(shape)) / fps
    phase, rate = rng.uniform(0, 2 * np.pi, (2, *shape)), rng.uniform(0.3, 1.4, (2, *shape))
    return np.asarray(size * np.sin(2 * np.pi * rate[:, None] * times + phase[:, None]).sum(0))


def _body(centres: Floats, turns: Floats, signer: Signer, sway: Floats) -> tuple[Floats, Floats]:
    """Return a right-handed signer's 33 body points (T, 33, 2) and wrists (T, 2, 3) from the middles of their hands."""
    frames = len(centres)
    body = np.zeros((frames, 33, 2))
    for k, (x, y) in _HEAD.items():
        body[:, k] = (x, y - 0.78 + signer.head)
    body[:, :11] += 1.5 * sway[:, None, 1]
    for k, point in _LEGS.items():
        body[:, k] = point
    wrists = np.zeros((frames, 2, 3))
    for hand in (0, 1):
        side = (-1, 1)[hand]  # the right arm is on the left of the picture
        turn, roll = np.deg2rad(turns[:, hand, 0]), np.deg2rad(turns[:, hand, 1])
        along = np.stack([side * -np.sin(turn), -np.cos(turn)], 1)
        across = np.stack([-side * np.cos(turn), np.sin(turn)], 1) * np.cos(roll)[:, None]
        wrist = centres[:, hand] * (-side, 1, 1)
        wrist[:, :2] -= 0.5 * _HAND * along
        elbow, wrist = _reach(np.array([0.5 * side, 0.0, 0.0]), wrist, side, signer.arms)
        wrists[:, hand] = wrist
        own = 12 - hand  # MediaPipe: odd numbers are the signer's left
        body[:, own] = (0.5 * side, 0)
        body[:, own + 2], body[:, own + 4] = elbow[:, :2], wrist[:, :2]
        # Pinky, index and thumb of the body model go with the wrist alone: they must not tell the handshape.
        for offset, (far, wide) in ((6, (0.45, -0.15)), (8, (0.5, 0.12)), (10, (0.28, 0.2))):
            body[:, own + offset] = wrist[:, :2] + _HAND * (far * along + wide * across)
    body[:, :23] += sway[:, None, 0]
    wrists[..., :2] += sway[:, None, 0]
    return body, wrists


def _reach(shoulder: Floats, wrist: Floats, side: int, arms: float) -> tuple[Floats, Floats]:
    """Return elbows and wrists (T, 3) of a two-bone arm; elbows hang down and outwards, far wrists come nearer."""
    upper, lower = 0.85 * arms, 0.78 * arms
    span = wrist - shoulder
    length = np.linalg.norm(span, axis=1, keepdims=True)
    along = span / length
    length = np.clip(length, 0.25, 0.99 * (upper + lower))
    down = np.array([0.7 * side, 1.0, -0.3])
    down = down - (along @ down)[:, None] * along
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    # Law of cosines: where on the line from shoulder to wrist the elbow stands, and how far off it.
    foot = (upper**2 - lower**2 + length**2) / (2 * length)
    height = np.sqrt(np.maximum(upper**2 - foot**2, 0))
    return shoulder + foot * along + height * down, shoulder + length * along


def _photograph(points: Floats, signer: Signer, rng: np.random.Generator) -> Floats:
    """Return points (T, K, 2) as shares of picture width and height: one camera a take."""
    scale = signer.scale * PICTURE[1] * rng.uniform(0.95, 1.05)
    roll = np.deg2rad(rng.normal(0, 2))
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    middle = np.array([0.5, 0.45]) * PICTURE + rng.normal(0, 1, 2) * (20, 8)
    return np.asarray((points @ turn * scale + middle) / PICTURE)


def _spans(keys: _Keys, times: Floats) -> list[tuple[int, int]]:
    """Return first and last frame of every sign, halves of the transitions around it counted in."""
    spans = []
    for k in range(1, len(keys.begin) - 1):
        low = (keys.end[k - 1] + keys.begin[k]) / 2
        high = (keys.end[k] + keys.begin[k + 1]) / 2
        inside = np.flatnonzero((times >= low) & (times < high))
        spans.append((int(inside[0]), int(inside[-1])))
    return spans
