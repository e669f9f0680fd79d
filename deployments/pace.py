"""How long the next request would wait: what a gateway refuses by, before a wait that ends in nothing."""

from __future__ import annotations

_WEIGHT = 0.2
"""Of the newest pass in the mean: about the last ten passes count."""


class Pace:
    """Seconds from one answer to the next while there is always another to give, as a moving mean."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._ended_s = 0.0

    def passed(self, started_s: float, ended_s: float, requests: int) -> None:
        """Counts a pass of so many requests, times in seconds on one clock.

        Passes that overlap share their time: what counts is the time since the last one ended.
        """
        took = (ended_s - max(started_s, self._ended_s)) / requests
        self._ended_s = ended_s
        self._seconds = (
            took if self._seconds == 0 else _WEIGHT * took + (1 - _WEIGHT) * self._seconds
        )

    def wait_s(self, inside: int) -> float:
        """How long a request would wait that comes after `inside` others; 0 before anything was counted."""
        return inside * self._seconds
