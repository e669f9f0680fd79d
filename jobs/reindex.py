"""The nightly job: catalogue in, one judged and published snapshot out.

    python -m jobs.reindex --config configs/local.yaml [--until read|rows|embed|index|evaluate|publish] [--fresh]
        [--force]

Started again after a crash, it goes on where it stopped; every step is a Ray Data pipeline over parts that are done
once. `--until` stops after a step; the next run, without it, continues from there. `--fresh` forgets an unfinished run.

One run at a time: a lease in the store says who is at work (section `nightly`). A candidate that lost too much against
the live snapshot is not published (section `gate`); `--force` publishes it all the same.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import Any

from aisle.config import Settings
from aisle.evaluation.measure import text_table
from aisle.evaluation.probe import evenly, probe
from aisle.evaluation.report import pairing_of, report_of
from aisle.evaluation.systems import ladder
from aisle.nightly.lease import require_free
from aisle.nightly.publish import require_publishable
from aisle.nightly.reindex import STEPS, Night
from aisle.nightly.run import Item
from aisle.snapshot import Library, LoadedSnapshot, Manifest
from aisle.store import Store
from jobs import command
from jobs.evaluate import measure_systems, read_judgments
from jobs.on_ray import RayMapper, cluster

logger = logging.getLogger("jobs.reindex")


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs the night on a cluster; one that could not begin does not start it."""
    store = Store.open(settings.store, settings.store_options)
    require_publishable(store)
    require_free(store, settings.nightly)

    def judge(snapshot: Manifest) -> dict[str, Any] | None:
        if settings.evaluation.judgments is None:
            logger.warning(
                "evaluation.judgments is not set: only the catalogue's counts are judged"
            )
            return None
        judgments = read_judgments(settings, settings.evaluation.gate_split)
        rows = measure_systems(settings, snapshot, judgments, ladder(settings)[-1:])
        print(text_table(rows), file=sys.stderr)
        loaded = LoadedSnapshot.load(Library(store), snapshot, settings)
        sample = evenly(judgments.texts, settings.gate.sample_queries)
        return {
            **report_of(rows, judgments, snapshot.snapshot_id),
            **pairing_of(rows[-1], judgments),
            **probe(loaded, settings, sample),
        }

    with cluster(settings.ray):
        night = Night(settings, RayMapper(settings.ray), judge, Progress())
        return night.run(until=arguments.until, fresh=arguments.fresh, force=arguments.force)


class Progress:
    """Logs a line every few seconds: parts done, rows a second, time left."""

    def __init__(self, every_s: float = 5.0) -> None:
        self._every_s = every_s
        self._step = ""
        self._started = self._logged = 0.0
        self._rows = self._first_done = 0

    def __call__(self, step: str, done: int, total: int, result: Item) -> None:
        """Called with each finished part of a step."""
        now = time.monotonic()
        if step != self._step:
            self._step, self._started, self._rows, self._first_done = step, now, 0, done - 1
        self._rows += int(result.get("rows") or result.get("products") or 0)
        if now - self._logged < self._every_s and done < total:
            return
        self._logged = now
        took = max(now - self._started, 1e-3)
        left = took / max(done - self._first_done, 1) * (total - done)
        logger.info(
            "%s: %d of %d parts, %d rows, %.0f rows/s, %.0f s left",
            step,
            done,
            total,
            self._rows,
            self._rows / took,
            left,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--until", choices=STEPS, default="publish", help="last step to do")
    parser.add_argument(
        "--fresh", action="store_true", help="forget an unfinished run instead of continuing it"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish although rules of the gate are broken; the manifest records which",
    )


if __name__ == "__main__":
    command.main("reindex", __doc__, run, add_arguments)
