"""CPU time of this process, told in pieces that add up: each second is reported once, by whoever asks next.

One mark a process, because that is what the operating system counts by; processes that do one thing at a time (a
driver, a Ray worker) can tell with it what each thing cost, without telling anything twice.
"""

from __future__ import annotations

import time


class _Meter:
    """The mark, and what other processes spent for this one."""

    told_s = 0.0
    handed_s = 0.0


def spent_s() -> float:
    """CPU seconds, user and system over all threads, since the last call; since the process began, the first time.

    What was handed over with `hand_over` since then is included.
    """
    now_s = time.process_time()
    spent = max(0.0, now_s - _Meter.told_s) + _Meter.handed_s
    _Meter.told_s, _Meter.handed_s = now_s, 0.0
    return spent


def hand_over(cpu_s: float) -> None:
    """Adds what another process spent for this one to the next answer of `spent_s`."""
    _Meter.handed_s += cpu_s
