"""Removes old snapshots, and never a file that a kept one names.

    python -m jobs.prune --config configs/local.yaml [--dry-run] [--set nightly.keep_snapshots=3]

Kept are the live snapshot, its parent, those of runs that are not finished, the newest `nightly.keep_snapshots` and
everything younger than `nightly.keep_days`. `--dry-run` says what would go, and why the rest stays.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from aisle.config import Settings
from aisle.nightly.prune import plan_prune, prune
from aisle.snapshot import Library
from aisle.store import Store
from jobs import command


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Removes, or says what it would remove."""
    library = Library(Store.open(settings.store, settings.store_options))
    if arguments.dry_run:
        plan, gone = plan_prune(library, settings.nightly), 0
    else:
        plan, gone = prune(library, settings.nightly)
    for snapshot_id, why in plan.kept.items():
        print(f"keep    {snapshot_id}  {why}", file=sys.stderr)
    for snapshot_id in plan.removed:
        print(f"remove  {snapshot_id}", file=sys.stderr)
    return {**plan.as_dict(), "dry_run": arguments.dry_run, "files_removed": gone}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")


if __name__ == "__main__":
    command.main("prune", __doc__, run, add_arguments)
