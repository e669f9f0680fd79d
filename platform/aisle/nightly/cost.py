"""What a night cost, step by step: CPU seconds measured in the process that spent them, not wall time times cores.

Workers report their process's CPU time with the marker of each part, from one part to the next; the first report of a
worker reaches back to the start of its process, so imports and opening the encoder count. The driver keeps its own in
the run's folder. So a run that was killed and continued shows the sum of all its attempts.

Not in it: Ray's daemons (GCS, raylet, object store), what a worker does after its last part, and what was killed before
it was written down: a part without its marker, and of the driver at most the last `SAVE_EVERY_S`. GPU-seconds are how
long workers were embedding, times the share of a GPU that each held; not how busy it was.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aisle.errors import StoreError
from aisle.nightly.cpu import spent_s
from aisle.nightly.run import Item, Run

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 10.0

Row = dict[str, Any]


@dataclass
class Spent:
    """Of the driver in one step."""

    seconds: float = 0.0
    """Wall time."""
    core_s: float = 0.0

    def add(self, seconds: float, core_s: float) -> None:
        """Books some more."""
        self.seconds += seconds
        self.core_s += core_s


@dataclass
class Steps:
    """What the driver spent in each step, in this attempt and those before, and what the parts of each step gave."""

    clock: Callable[[], float] = time.perf_counter
    results: dict[str, list[Item]] = field(default_factory=dict)
    """By step: results of all its parts, whichever attempt did them."""
    attempts: int = 1
    _now: dict[str, Spent] = field(default_factory=dict)
    _before: dict[str, Spent] = field(default_factory=dict)
    _file: tuple[Run, str] | None = None
    _step: str | None = None
    _since_s: float = 0.0
    _saved_s: float = 0.0

    def __post_init__(self) -> None:
        spent_s()  # what this process did earlier is no cost of the night, unless somebody books it

    def book(self, step: str, seconds: float, core_s: float) -> None:
        """Adds to a step what was measured elsewhere."""
        self._now.setdefault(step, Spent()).add(seconds, core_s)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Books a block on a step."""
        self._step, self._since_s = step, self.clock()
        try:
            yield
        finally:
            self._book_so_far()
            self._step = None
            self._save()

    def join(self, run: Run, attempt: str) -> None:
        """Keeps this attempt's share in the run's folder from here on, and adds that of the attempts before it.

        Args:
            run: which one.
            attempt: names this attempt; no two of a run have the same name.
        """
        folder = f"{run.folder}/attempts"
        self._file = (run, f"{folder}/{attempt}.json")
        others = [path for path in run.store.list(folder) if path != self._file[1]]
        self.attempts = 1 + len(others)
        for path in others:
            try:
                spent = {k: Spent(**v) for k, v in json.loads(run.store.read_bytes(path)).items()}
            except (ValueError, TypeError, AttributeError) as error:
                logger.warning("%s: damaged (%s); what it cost is left out", path, error)
                continue
            for step, each in spent.items():
                self._before.setdefault(step, Spent()).add(each.seconds, each.core_s)
        self._save()

    def leave(self) -> None:
        """The run's folder is about to go: writes nothing there any more."""
        self._file = None

    def keep(self) -> None:
        """Called now and then inside a step: writes down what was spent, should this process be killed."""
        if self._step is not None and self.clock() - self._saved_s >= SAVE_EVERY_S:
            self._book_so_far()
            self._save()

    def table(self) -> list[Row]:
        """A row a step and one for all of them; see `_ROWS` for what the counts of a step mean.

        `rows_in, rows_out, reused, quarantined` are none where a step has no rows; `seconds` is the driver's wall time,
        `rows_s` rows worked on a second of it; `core_s` and `gpu_s` are sums over driver and workers, and
        `core_s_per_million` and `gpu_s_per_million` those for a million products of the catalogue, so that they add up.
        """
        counted = {step: _ROWS[step](self.results) for step in self.results if step in _ROWS}
        products = _sum(self.results.get("rows", self.results.get("read", [])), "products")
        rows = []
        for step in dict.fromkeys([*self._before, *self._now]):
            total = Spent()
            for part in (self._before, self._now):
                if step in part:
                    total.add(part[step].seconds, part[step].core_s)
            done = self.results.get(step, [])
            core_s, gpu_s = total.core_s + _sum(done, "core_s"), _sum(done, "gpu_s")
            rows.append(_row(step, counted.get(step, {}), total.seconds, core_s, gpu_s, products))
        seconds, core_s, gpu_s = (
            sum(row[name] or 0.0 for row in rows) for name in ("seconds", "core_s", "gpu_s")
        )
        everything = _all_rows(counted)
        return [*rows, _row("all", everything, seconds, core_s, gpu_s, products)]

    def _book_so_far(self) -> None:
        assert self._step is not None
        now_s = self.clock()
        self.book(self._step, now_s - self._since_s, spent_s())
        self._since_s = now_s

    def _save(self) -> None:
        self._saved_s = self.clock()
        if self._file is not None:
            run, path = self._file
            spent = {step: vars(each) for step, each in self._now.items()}
            try:
                run.store.write_bytes(path, json.dumps(spent, sort_keys=True).encode())
            except StoreError as error:  # no reason to end a night, nor to hide why one ended
                logger.warning("what the night cost so far is not written down: %s", error)


def _read(done: dict[str, list[Item]]) -> Row:
    """Source rows in, products out; every row is worked on."""
    rows = _sum(done["read"], "rows")
    return {
        "rows_in": rows,
        "rows_out": _sum(done["read"], "products"),
        "quarantined": _sum(done["read"], "rejected"),
        "worked": rows,
    }


def _rows(done: dict[str, list[Item]]) -> Row:
    """Products in, rows for new segments out; unchanged ones are reused, but every product is compared."""
    rows = _sum(done["read"], "products")
    fresh = _sum(done["rows"], "fresh")
    return {
        "rows_in": rows,
        "rows_out": fresh,
        "reused": _sum(done["rows"], "products") - fresh,
        "worked": rows,
    }


def _embed(done: dict[str, list[Item]]) -> Row:
    """Rows for new segments in, distinct texts embedded out; the others' vectors are known."""
    embedded = _sum(done["embed"], "rows")
    return {
        "rows_in": _sum(done["rows"], "fresh"),
        "rows_out": embedded,
        "reused": _sum(done["rows"], "reused"),
        "worked": embedded,
    }


def _index(done: dict[str, list[Item]]) -> Row:
    """Rows for new segments in, products served out; those of carried segments are reused."""
    fresh, products = _sum(done["rows"], "fresh"), _sum(done["rows"], "products")
    return {
        "rows_in": fresh,
        "rows_out": products,
        "reused": products - fresh,
        "worked": fresh,
    }


def _evaluate(done: dict[str, list[Item]]) -> Row:
    """Judged queries, not products."""
    queries = _sum(done["evaluate"], "queries")
    return {"rows_in": queries, "worked": queries}


_ROWS: dict[str, Callable[[dict[str, list[Item]]], Row]] = {
    "read": _read,
    "rows": _rows,
    "embed": _embed,
    "index": _index,
    "evaluate": _evaluate,
}


def _all_rows(counted: dict[str, Row]) -> Row:
    """The night as a whole: source rows in, products out, those that were neither embedded nor indexed reused."""
    if "read" not in counted:
        return {}
    last = counted.get("index", counted["read"])
    return {
        **counted["read"],
        "rows_out": last["rows_out"],
        "reused": counted.get("rows", {}).get("reused"),
    }


def _row(step: str, counts: Row, seconds: float, core_s: float, gpu_s: float, products: int) -> Row:
    worked = counts.get("worked")
    row: Row = {
        "step": step,
        **{name: counts.get(name) for name in ("rows_in", "rows_out", "reused", "quarantined")},
        "seconds": round(seconds, 2),
        "rows_s": None if worked is None or not seconds else round(worked / seconds, 1),
        "core_s": round(core_s, 2),
        "core_s_per_million": round(core_s / products * 1e6, 1) if products else None,
        "gpu_s": round(gpu_s, 2) if gpu_s else None,
    }
    row["gpu_s_per_million"] = round(gpu_s / products * 1e6, 1) if gpu_s and products else None
    return row


def _sum(done: list[Item], name: str) -> Any:
    return sum(each.get(name, 0) for each in done)
