"""How long the next request would wait: what a gateway refuses by, before a wait that ends in nothing."""

from __future__ import annotations

_WEIGHT = 0.2
"""Of the newest pass in the mean: about the last ten passes count."""


class Pace:
    """Seconds from one answer to the next while there is always another to give, as a moving mean.

    Only a pass after which somebody waits shows that pace. One of few requests took as long as it took: perhaps it
    computed, perhaps it waited for a rewriter that is away, and more requests would have waited no longer. So it is a
    bound from above; and before any pass showed the pace, a full one is taken to last as long.
    """

    def __init__(self, most: int) -> None:
        """Takes how many requests a pass may have."""
        self._most = most
        self._seconds = 0.0
        self._shown = False
        self._ended_s = 0.0

    def passed(self, started_s: float, ended_s: float, requests: int, waiting: int) -> None:
        """Counts a pass of so many requests, after which `waiting` others wait; times in seconds on one clock.

        Passes that overlap share their time: what counts is the time since the last one ended.
        """
        took = ended_s - max(started_s, self._ended_s)
        self._ended_s = ended_s
        if waiting and not self._shown:
            self._seconds, self._shown = took / requests, True
        elif not self._shown:
            self._seconds = took / self._most
        elif waiting or took / requests < self._seconds:
            self._seconds = _WEIGHT * took / requests + (1 - _WEIGHT) * self._seconds

    def wait_s(self, inside: int) -> float:
        """How long a request would wait that comes after `inside` others; 0 before anything was counted."""
        return inside * self._seconds
