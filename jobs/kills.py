"""The kill matrix: a night killed inside every step, in every way, and started again.

    python -m jobs.kills [--config configs/benchmarks/homedepot.yaml] [--steps embed,index] [--victims driver,head]
        [--set SECTION.KEY=VALUE ...] [--prepared] [--folder DIR]

Without --config, a sample catalogue of some thousand products with hashing vectors. A cell is one step and one victim:
`jobs.reindex` on a real cluster is killed (SIGKILL) about half way through the step's parts, and for `publish` between
a complete candidate and the swap of CURRENT; `driver` is the job's process, `worker` a process of Ray doing the step's
work, `head` all of the cluster. It holds if the job, started again, ends with status 0 and a manifest equal to that of
an undisturbed night, CURRENT could be read all the time, nothing is left behind, and at most 2 % of the rows embedded
before the kill may have been embedded again.

Cells run one after another, each on a store of its own, and start from nothing; with --prepared, cells of other steps
than `embed` start from copies of what the undisturbed night made before their step, because embedding takes longest.
Judging is part of the cells of `evaluate` alone. --folder keeps the undisturbed night for the next call.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from aisle.errors import AisleError
from aisle.nightly.reindex import STEPS
from jobs.kill_cell import VICTIMS, Cell, Clusters, kill_and_restart
from jobs.kill_shop import open_shop

logger = logging.getLogger("jobs.kills")

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = (
    *("step", "victim", "parts", "first_status", "ended_after_s", "attempts"),
    *("embedded_before", "again", "again_fraction", "took_s"),
)


def main() -> None:
    """Runs the cells asked for and exits: 0 when every one held."""
    arguments = _arguments()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    for chatty in ("faiss", "aisle"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory(prefix="aisle-kills-") as passing:
            cells = _run(arguments, Path(arguments.folder or passing).resolve())
    except AisleError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print("".join(f"{name:>16}" for name in COLUMNS), file=sys.stderr)
    for cell in cells:
        print("".join(f"{getattr(cell, name)!s:>16}" for name in COLUMNS), file=sys.stderr)
        for wrong in cell.wrong:
            print(f"    WRONG: {wrong}", file=sys.stderr)
    ok = not any(cell.wrong for cell in cells)
    machine = {"cpus": os.cpu_count(), "load_1min": round(os.getloadavg()[0], 1)}
    rows = [cell.as_dict() for cell in cells]
    print(json.dumps({"job": "kills", "ok": ok, **machine, "cells": rows}), flush=True)
    sys.exit(0 if ok else 1)


def _run(arguments: argparse.Namespace, folder: Path) -> list[Cell]:
    config = arguments.config or ROOT / "configs" / "local.yaml"
    products = None if arguments.config else arguments.products
    started = time.monotonic()
    shop = open_shop(folder, Path(config), arguments.overrides, products)
    logger.info("undisturbed night ready after %.0f s", time.monotonic() - started)
    cells = []
    with closing(Clusters()) as clusters:
        for step in arguments.steps:
            for victim in arguments.victims:
                cell = kill_and_restart(shop, clusters, step, victim, prepared=arguments.prepared)
                logger.info("%s x %s: %s", step, victim, "; ".join(cell.wrong) or "holds")
                cells.append(cell)
    return cells


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", help="an environment with one local Parquet file as source")
    parser.add_argument("--products", type=int, default=1000, help="of the sample catalogue")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="SECTION.KEY=VALUE"
    )
    parser.add_argument("--steps", type=_some_of(STEPS), default=list(STEPS))
    parser.add_argument("--victims", type=_some_of(VICTIMS), default=list(VICTIMS))
    parser.add_argument("--prepared", action="store_true", help="do not embed in every cell")
    parser.add_argument("--folder", help="where stores lie; a passing folder by default")
    return parser.parse_args()


def _some_of(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads words of an allowed set, separated by commas."""

    def read(text: str) -> list[str]:
        words = text.split(",")
        if unknown := [each for each in words if each not in allowed]:
            raise argparse.ArgumentTypeError(f"{unknown}; allowed: {', '.join(allowed)}")
        return words

    return read


if __name__ == "__main__":
    main()
