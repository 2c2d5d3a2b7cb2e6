"""In what share of the frames a model sees each stream: said in a line a stream, and what is too little to train on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """How often a stream is seen: frames in which it is, frames and clips that were looked at."""

    seen: float = 0.0
    frames: int = 0
    clips: int = 0

    @property
    def share(self) -> float:
        return self.seen / self.frames if self.frames else 0.0

    def add(self, seen: float, frames: int) -> Share:
        """Return this with another clip in it."""
        return Share(self.seen + seen, self.frames + frames, self.clips + 1)

    def __add__(self, other: Share) -> Share:
        return Share(self.seen + other.seen, self.frames + other.frames, self.clips + other.clips)

    def __str__(self) -> str:
        return f"{self.frames:,} frames ({self.clips:,} clips)"


def seen_lines(shares: Mapping[str, Share]) -> list[str]:
    """Return a line a stream, as `seen: left_hand 0.71 of 8,123 frames (60 clips)`."""
    return [f"seen: {name} {one.share:.2f} of {one}" for name, one in shares.items()]


def seen_faults(shares: Mapping[str, Share], min_seen: float, *, key: str) -> list[str]:
    """Return a fault for each stream that is seen in a smaller share than `min_seen`, which `key` sets, or never."""
    return [
        f"stream {name!r} is {f'seen in {one.share:.2%}' if one.seen else 'never seen in any'} of {one}; "
        f"expected at least {key}={min_seen:g}. Likely causes: a hand that is hidden or rests, as of who signs with "
        "one; faces that are blurred; marks the wrong way round; for a pose, shoulders that are missing, outside the "
        "picture or not shares of it, as of key points that were normalised before they were saved. Look at "
        "report.html and extract anew; or train without this stream (dataset.only=[...] names the others); or lower "
        f"{key}, where it is seen at all"
        for name, one in shares.items()
        if one.frames and (not one.seen or one.share < min_seen)
    ]
