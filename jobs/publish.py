"""Makes a complete snapshot the live one, by compare-and-swap.

    python -m jobs.publish --config configs/local.yaml --snapshot 20261120T030000-1f2e3d4c [--force]

One that the gate refused needs --force, which its manifest records.
"""

from __future__ import annotations

import argparse
from typing import Any

from aisle.config import Settings
from aisle.nightly.publish import live_or_none, publish
from aisle.nightly.report import require_passed
from aisle.snapshot import Library
from aisle.store import Store
from jobs import command


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Swaps CURRENT."""
    library = Library(Store.open(settings.store, settings.store_options))
    live = live_or_none(library)
    forced = require_passed(library, arguments.snapshot, force=arguments.force)
    before = publish(library, arguments.snapshot, expected=live)
    return {"snapshot": arguments.snapshot, "before": before, "forced": list(forced)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--snapshot", required=True, help="the snapshot to publish")
    parser.add_argument(
        "--force", action="store_true", help="publish although the gate refused it, and record that"
    )


if __name__ == "__main__":
    command.main("publish", __doc__, run, add_arguments)
