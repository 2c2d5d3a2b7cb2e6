"""Hard cuts of a film: pictures become shots, each of which is extracted by itself (H, W of a picture)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from slt.extraction.geometry import Picture

# A picture is compared with the one before at this width and height: noise and the motion of hands go under.
SMALL = (32, 24)
# A cut differs by so many grey levels on average, and by so many times the most of the pictures before it. On six films
# of people who sign, at 8 to 50 pictures a second, no picture differs by more than 13, or where it is 4 and more by
# more than 2.5 times the most before; joined, these films differ by 25 to 97, 15 to 50 times.
LEAST, TIMES = 5.0, 3.0
FEWEST, BEFORE = 3, 16  # differences that are known before a cut, and of which the most is taken


class Cuts:
    """Looks at the pictures of a film, one after the other."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._differences: deque[float] = deque(maxlen=BEFORE)

    def begins(self, picture: Picture) -> bool:
        """Take the next RGB picture (H, W, 3); tell whether it begins another shot."""
        step = max(1, min(picture.shape[0] // (4 * SMALL[1]), picture.shape[1] // (4 * SMALL[0])))
        small = cv2.resize(np.ascontiguousarray(picture[::step, ::step]), SMALL, interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32)
        before, self._before = self._before, small
        if before is None:
            return False
        difference = float(np.abs(small - before).mean())
        known = len(self._differences) >= FEWEST
        cut = known and difference >= max(LEAST, TIMES * max(self._differences))
        if cut:
            self._differences.clear()
        else:
            self._differences.append(difference)
        return cut


def shots(pictures: Iterable[tuple[float, Picture]]) -> Iterator[Iterator[tuple[float, Picture]]]:
    """Give the shots of (seconds, RGB picture (H, W, 3)), each an iterator that must be at its end before the next."""
    cuts, source = Cuts(), iter(pictures)
    ahead: list[tuple[float, Picture]] = []

    def shot() -> Iterator[tuple[float, Picture]]:
        yield ahead.pop()
        for seconds, picture in source:
            if cuts.begins(picture):
                ahead.append((seconds, picture))
                return
            yield seconds, picture

    for first in source:
        cuts.begins(first[1])
        ahead.append(first)
        while ahead:
            yield shot()
