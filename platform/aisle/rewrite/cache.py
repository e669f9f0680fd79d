"""Rewrites that were computed already, so that a shop's frequent queries skip the model.

One cache belongs to one loaded model, so a new model starts empty and an entry never outlives the weights that made
it. Only complete, parsed answers are kept; what a deadline cut off is asked again.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from aisle.stages import Rewrite


class RewriteCache:
    """A bounded map from a normalised query to its rewrite; the least recently used entry goes first.

    Safe to use from several threads. With `entries` 0 nothing is kept and every look-up is a miss.

    Args:
        entries: rewrites kept at most.
        fingerprint: the model whose answers these are.
    """

    def __init__(self, entries: int, fingerprint: str = "") -> None:
        if entries < 0:
            raise ValueError(
                f"cache of {entries} entries: give 0 to switch it off, or a positive number"
            )
        self.fingerprint = fingerprint
        self.hits = 0
        self.misses = 0
        self._entries = entries
        self._kept: OrderedDict[str, Rewrite] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, normalised: str) -> Rewrite | None:
        """The rewrite of a normalised query, which thereby becomes the most recently used, or None."""
        with self._lock:
            found = self._kept.get(normalised)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            self._kept.move_to_end(normalised)
            return found

    def put(self, normalised: str, rewrite: Rewrite) -> None:
        """Keeps a rewrite, dropping the least recently used one where the cache is full."""
        if self._entries == 0:
            return
        with self._lock:
            self._kept[normalised] = rewrite
            self._kept.move_to_end(normalised)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)
