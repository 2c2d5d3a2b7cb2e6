"""What is changed at random in a training clip as a whole: its speed, its frames, its side, its signs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.text import near

KNOT = 15  # frames in which a signer's speed changes where a clip is warped


@dataclass(frozen=True)
class Augment:
    """What is changed at random in a clip as a whole; each stream has its own keys beside."""

    speed: tuple[float, float]  # slowest and fastest signing, (0.8, 1.25) = from 20 % slower to 25 % faster
    frame_dropout: float  # chance of each frame to be left out
    stream_dropout: float  # chance of each stream to be not seen in the whole clip; one always stays
    mirror: float  # chance of a signer of the other handedness: pictures flipped, sides of the pose and hands exchanged
    # Nothing where nothing is said: what checkpoints of before mean.
    warp: float = 0.0  # deviation of the logarithm of the speed within a clip, drawn every `KNOT` frames; 0 = even
    stitch: float = 0.0  # chance of each sign to be shown by another clip that has it; needs the column `pieces`
    context_dropout: float = 0.0  # chance that a decoder which reads the sentence before is not told it

    def __post_init__(self) -> None:
        if len(self.speed) != 2 or not 0 < self.speed[0] <= self.speed[1]:
            raise ValueError(f"augment.speed must be two numbers, 0 < slowest <= fastest, came {list(self.speed)}")
        if not 0 <= self.warp <= 1:
            raise ValueError(f"augment.warp must be from 0 to 1, came {self.warp}")
        for key in ("frame_dropout", "stream_dropout", "mirror", "stitch", "context_dropout"):
            if not 0 <= getattr(self, key) <= 1 - (key == "frame_dropout") * 1e-9:
                raise ValueError(f"augment.{key} is a chance from 0 to 1, came {getattr(self, key)}")

    @classmethod
    def of(cls, value: Mapping[str, Any] | Augment | None) -> Augment | None:
        """Return an `Augment` from a mapping of exactly its keys."""
        if value is None or isinstance(value, Augment):
            return value
        keys = [field.name for field in fields(cls)]
        if unknown := [key for key in value if key not in keys]:
            raise ValueError(f"augment: unknown key {unknown[0]!r}; expected {keys}{near(str(unknown[0]), keys)}")
        if missing := [part.name for part in fields(cls) if part.default is MISSING and part.name not in value]:
            raise ValueError(f"augment: missing {missing}; expected all of {keys}, or augment=null for none")
        return cls(**{**value, "speed": tuple(value["speed"])})


def warped(frames: int, deviation: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which of `frames` to show at each of as many times, int64 (frames,): in order, the first and the last as before.

    The speed is drawn at knots some `KNOT` frames apart, and is that between them in between.
    """
    knots = max(2, round(frames / KNOT) + 1)
    speeds = np.exp(rng.normal(0, deviation, knots))
    times = np.interp(np.linspace(0, knots - 1, frames), np.arange(knots), speeds)[1:].cumsum()
    return np.concatenate([[0], np.rint(times / times[-1] * (frames - 1)) if frames > 1 else []]).astype(np.int64)
