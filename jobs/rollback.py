"""Makes the live snapshot's parent, or a named one, the live one again.

python -m jobs.rollback --config configs/local.yaml [--snapshot ID]
"""

from __future__ import annotations

import argparse
from typing import Any

from aisle.config import Settings
from aisle.errors import SnapshotError
from aisle.nightly.publish import publish
from aisle.nightly.report import broken_rules, read_report
from aisle.snapshot import Library
from aisle.store import Store
from jobs import command


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Swaps CURRENT back."""
    library = Library(Store.open(settings.store, settings.store_options))
    live = library.current()
    target = arguments.snapshot or _predecessor(library, live)
    publish(library, target, expected=live)
    return {"snapshot": target, "before": live}


def _predecessor(library: Library, live: str) -> str:
    """The live snapshot's parent, or, where its manifest is gone, the newest complete one before it."""
    known = library.ids()
    if live in known:
        parent = library.manifest(live).parent
        if parent in known:
            return str(parent)
    before = [each for each in known if each < live and not _refused(library, each)]
    if not before:
        raise SnapshotError(
            f"{live} has no predecessor in {library.store.url}; name one with --snapshot: {known}"
        )
    return before[-1]


def _refused(library: Library, snapshot_id: str) -> bool:
    """Did the gate refuse it, so that it was never live?"""
    manifest = library.manifest(snapshot_id)
    return not manifest.forced and bool(broken_rules(read_report(library.store, manifest)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument(
        "--snapshot", help="the snapshot to go back to; the live one's parent by default"
    )


if __name__ == "__main__":
    command.main("rollback", __doc__, run, add_arguments)
