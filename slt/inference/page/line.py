"""The queue before the one extractor of the page: who comes first has it, and everybody sees their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Full(Exception):
    """As many wait as are let in."""


class Line:
    """Visitors in the order in which they came; the first of them has the extractor.

    Args:
        most: so many may wait; who comes then is refused.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._places: list[Place] = []
        self._moved = threading.Condition()

    def __len__(self) -> int:
        """How many there are, whoever has the extractor among them."""
        return len(self._places)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Stand in line, and leave it in the end; raises `Full`."""
        place = Place(self)
        with self._moved:
            if len(self._places) > self.most:
                raise Full
            self._places.append(place)
        try:
            yield place
        finally:
            with self._moved:
                self._places.remove(place)
                self._moved.notify_all()


class Place:
    """Where somebody stands in line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def ahead(self) -> int:
        """How many come before; 0 = it is this one's turn."""
        return self._line._places.index(self)

    @property
    def waiting(self) -> int:
        """How many wait in all, this one among them."""
        return len(self._line) - 1

    def wait(self, seconds: float) -> bool:
        """Wait so long at most for the turn; return whether it has come."""
        with self._line._moved:
            return self._line._moved.wait_for(lambda: self.ahead == 0, seconds)
