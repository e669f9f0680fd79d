"""What people see of a nightly run: progress while it runs, a table of steps at its end; both on standard error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from aisle.nightly.run import Item

logger = logging.getLogger("jobs.reindex")

_COUNTS = ("rows_in", "rows_out", "reused", "quarantined")


class Progress:
    """Logs a line every few seconds: parts done, rows, rows a second, time left.

    Rows, rate and time left are those of this attempt: parts that an earlier one did are counted as done, but took no
    time. Time left supposes that a part that is left takes as long as one that was done.
    """

    def __init__(self, every_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._begun_s = self._logged_s = clock()
        self._rows = self._earlier = 0

    def __call__(self, step: str, done: int, total: int, result: Item) -> None:
        """Called when a step begins, with an empty result, and with each finished part of it."""
        now_s = self._clock()
        if not result:
            self._begun_s, self._rows, self._earlier = now_s, 0, done
            if done:
                logger.info("%s: %d of %d parts were done by an earlier attempt", step, done, total)
            return
        # A part without a row is a part all the same; of `rows`, the step, what counts is the products it compared.
        rows = result["rows"] if "rows" in result else result["products"]
        self._rows += int(rows)
        if now_s - self._logged_s < self._every_s and done < total:
            return
        self._logged_s = now_s
        took_s = max(now_s - self._begun_s, 1e-3)
        left_s = took_s / (done - self._earlier) * (total - done)
        logger.info(
            "%s: %d of %d parts, %d rows, %.0f rows/s, %s left",
            step,
            done,
            total,
            self._rows,
            self._rows / took_s,
            duration(left_s),
        )


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def steps_table(rows: Sequence[dict[str, Any]], attempts: int = 1) -> str:
    """The steps of a night for a terminal; see `aisle.nightly.cost` for what the costs hold."""
    gpu = any(row["gpu_s"] for row in rows)
    head = ["step", "rows in", "rows out", "reused", "quarantined", "seconds", "rows/s"]
    head += ["core-s", "core-s/M"] + (["GPU-s", "GPU-s/M"] if gpu else [])
    lines = ["".join(f"{name:>12}" if i else f"{name:9}" for i, name in enumerate(head))]
    for row in rows:
        cells = [_cell(row[name], 0) for name in _COUNTS]
        cells += [_cell(row["seconds"], 1), _cell(row["rows_s"], 0)]
        cells += [_cell(row["core_s"], 1), _cell(row["core_s_per_million"], 0)]
        if gpu:
            cells += [_cell(row["gpu_s"], 1), _cell(row["gpu_s_per_million"], 0)]
        lines.append(f"{row['step']:9}" + "".join(f"{cell:>12}" for cell in cells))
    notes = ["/M: for a million products of the catalogue", "evaluate counts judged queries"]
    if attempts > 1:
        notes.insert(0, f"sums over {attempts} attempts")
    return "\n".join([*lines, f"({'; '.join(notes)})"])


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
