"""Makes a complete snapshot the live one, by compare-and-swap.

python -m jobs.publish --config configs/local.yaml --snapshot 20261120T030000-1f2e3d4c
"""

from __future__ import annotations

import argparse
from typing import Any

from aisle.config import Settings
from aisle.nightly.publish import live_or_none, publish
from aisle.snapshot import Library
from aisle.store import Store
from jobs import command


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Swaps CURRENT."""
    library = Library(Store.open(settings.store, settings.store_options))
    before = publish(library, arguments.snapshot, expected=live_or_none(library))
    return {"snapshot": arguments.snapshot, "before": before}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--snapshot", required=True, help="the snapshot to publish")


if __name__ == "__main__":
    command.main("publish", __doc__, run, add_arguments)
