"""The nightly job: catalogue in, one judged and published snapshot out.

    python -m jobs.reindex --config configs/local.yaml [--until read|rows|embed|index|evaluate|publish] [--fresh]
        [--force]

Started again after a crash, it goes on where it stopped; every step is a Ray Data pipeline over parts that are done
once. `--until` stops after a step; the next run, without it, continues from there. `--fresh` forgets an unfinished run.

While it runs, a line every few seconds says how far it is; at its end a table shows each step's rows, seconds and cost,
summed over the attempts of the run, and the last line holds the same (`steps`).

One run at a time: a lease in the store says who is at work (section `nightly`). A candidate that lost too much against
the live snapshot is not published (section `gate`); `--force` publishes it all the same.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import Any

import psutil

from aisle.config import Settings
from aisle.evaluation.measure import text_table
from aisle.evaluation.pinned import pin
from aisle.evaluation.probe import evenly, probe
from aisle.evaluation.report import pairing_of, report_of
from aisle.evaluation.systems import ladder
from aisle.nightly.cost import Steps
from aisle.nightly.lease import require_free
from aisle.nightly.publish import require_publishable
from aisle.nightly.reindex import STEPS, Night
from aisle.snapshot import Library, LoadedSnapshot, Manifest
from aisle.store import Store
from jobs import command
from jobs.evaluate import measure_systems, read_judgments
from jobs.night_view import Progress, steps_table
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
        # The probe below loads the whole snapshot into this process in any case.
        rows = measure_systems(settings, snapshot, judgments, ladder(settings)[-1:], here=True)
        print(text_table(rows), file=sys.stderr)
        loaded = LoadedSnapshot.load(Library(store), snapshot, settings)
        sample = evenly(judgments.texts, settings.gate.sample_queries)
        return {
            **report_of(rows, judgments, snapshot.snapshot_id),
            **pairing_of(rows[-1], judgments),
            **pin(rows[-1].run, evenly(judgments.queries, settings.gate.sample_queries)),
            **probe(loaded, settings, sample),
        }

    steps = Steps()
    with cluster(settings.ray):
        steps.book("start", time.time() - psutil.Process().create_time(), time.process_time())
        night = Night(settings, RayMapper(settings.ray), judge, Progress(), steps)
        try:
            return night.run(until=arguments.until, fresh=arguments.fresh, force=arguments.force)
        finally:
            if steps.results:
                print(steps_table(steps.table(), steps.attempts), file=sys.stderr)


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
