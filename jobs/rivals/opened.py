"""What every rival starts from: the live snapshot's pipeline, and the queries of the environment's judgments."""

from __future__ import annotations

from aisle.config import Settings
from aisle.local import local_pipeline
from aisle.pipeline import Pipeline
from aisle.snapshot import Library, LoadedSnapshot
from aisle.store import Store
from jobs.evaluate import read_judgments


def open_snapshot(settings: Settings) -> LoadedSnapshot:
    """The live snapshot, whole and warm."""
    library = Library(Store.open(settings.store, settings.store_options))
    snapshot = LoadedSnapshot.load(library, library.manifest(library.current()), settings)
    snapshot.warm_up()
    return snapshot


def open_pipeline(settings: Settings) -> Pipeline:
    """The reference pipeline over it, blocking work where it is."""
    return local_pipeline(open_snapshot(settings), settings)


def bench_queries(settings: Settings) -> list[str]:
    """Queries of the split that is reported; JudgmentError where the environment names no judgments."""
    return list(read_judgments(settings, settings.evaluation.split).texts)
