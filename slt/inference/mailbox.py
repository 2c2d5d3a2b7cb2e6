"""What one thread gives another while time goes by: the newest, at the price of the oldest."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """At most `length` items wait, and of more the oldest is dropped and counted."""

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"queue={length}: expected at least 1")
        self.count = 0  # items that were put in
        self.dropped = 0  # of these, that nobody took
        self._items: deque[Item] = deque(maxlen=length)
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Put an item in, at once."""
        with self._changed:
            self.dropped += len(self._items) == self._items.maxlen
            self._items.append(item)
            self.count += 1
            self._changed.notify()

    def close(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes, or that it ended by an error, which whoever takes out is told."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> Item | None:
        """Take an item out; None where it is closed and empty, or nothing came for `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout)
            if self._items:
                return self._items.popleft()
            if self._error is not None:
                raise self._error
            return None

    def __iter__(self) -> Iterator[Item]:
        while (item := self.take()) is not None:
            yield item
