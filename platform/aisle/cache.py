"""A bounded cache in memory, with its hits and misses: what a shop asks for often is not computed again.

Where an entry depends on a model or a snapshot, its cache belongs to that, or the key names it: nothing ever expires,
because what it was computed from never changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """A bounded map; the least recently used entry goes first.

    Safe to use from several threads. With `entries` 0 nothing is kept and every look-up is a miss.

    Args:
        entries: kept at most.
    """

    def __init__(self, entries: int) -> None:
        if entries < 0:
            raise ValueError(
                f"cache of {entries} entries: give 0 to switch it off, or a positive number"
            )
        self.hits = 0
        self.misses = 0
        self._entries = entries
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """What was kept under a key, which thereby becomes the most recently used, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            self._kept.move_to_end(key)
            return found

    def put(self, key: K, value: V) -> None:
        """Keeps a value, dropping the least recently used one where the cache is full."""
        if self._entries == 0:
            return
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)
