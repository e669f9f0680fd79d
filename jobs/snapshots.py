"""Lists the snapshots of a store, or says what changed between two.

    python -m jobs.snapshots --config configs/local.yaml [--diff BEFORE AFTER]

The list has id, age, size, counts, scores and which one is live; `own` is what a snapshot added to the store, `all`
what it names, older segments included. `--diff` counts products added, changed and removed and names the first ones,
and shows models, measures with intervals, the queries whose measures moved most, and what moved in the first hits of
the pinned queries, as each snapshot's report kept them on its night. A table goes to standard error, the JSON to the
last line.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from aisle.config import Settings
from aisle.nightly.overview import MEASURES, difference, overview
from aisle.snapshot import Library
from aisle.store import Store
from jobs import command


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Reads manifests and reports; changes nothing."""
    library = Library(Store.open(settings.store, settings.store_options))
    if arguments.diff:
        changed = difference(library, *arguments.diff)
        print(changes_table(changed), file=sys.stderr)
        return changed
    rows = overview(library, time.time())
    print(text_table(rows), file=sys.stderr)
    return {"snapshots": rows}


def text_table(rows: list[dict[str, Any]]) -> str:
    """The list for a terminal: a row a snapshot, the live one with a star."""
    head = (
        f"  {'snapshot':26}{'age':>9}{'own MB':>10}{'all MB':>10}{'products':>11}{'bad rows':>10}"
    )
    lines = [head + "".join(f"{name:>16}" for name in MEASURES)]
    for row in rows:
        cells = (
            f"{'*' if row['live'] else ' '} {row['snapshot']:26}{_age(row['age_s']):>9}"
            f"{row['own_bytes'] / 1e6:10.1f}{row['bytes'] / 1e6:10.1f}"
            f"{row['counts'].get('products', 0):11}{row['counts'].get('quarantined', 0):10}"
        )
        for name in MEASURES:
            cells += f"{row['scores'][name]:16.4f}" if name in row["scores"] else f"{'-':>16}"
        if row["refused"]:
            cells += f"  refused: {', '.join(row['refused'])}"
        if row["forced"]:
            cells += f"  forced: {', '.join(row['forced'])}"
        lines.append(cells)
    return "\n".join(lines)


def changes_table(changed: dict[str, Any]) -> str:
    """A difference for a terminal."""
    lines = [f"{changed['before']} -> {changed['after']}"]
    for name, found in changed["products"].items():
        few = ", ".join(found["first"][:5]) + (", ..." if found["count"] > 5 else "")
        lines.append(f"  products {name:10}{found['count']:9}  {few}")
    for role, (before, after) in changed["models"].items():
        lines.append(f"  {role:19} {before} -> {after}")
    for name, found in changed["measures"].items():
        line = f"  {name:19} {_score(found['before'])} -> {_score(found['after'])}"
        if "change" in found:
            mean, low, high = found["change"]
            line += f"  change {mean:+.4f}, 95 % between {low:+.4f} and {high:+.4f}"
        lines.append(line)
    for way, queries in changed["queries"].items():
        for each in queries[:5]:
            lines.append(f"  {way}: {each['query']!r} {each['before']:.2f} -> {each['after']:.2f}")
    return "\n".join([*lines, *_moved_lines(changed["results"])])


def _moved_lines(results: dict[str, Any]) -> list[str]:
    """Hits that came (+rank), went (-rank) and moved (rank > rank) in the first hits of some queries."""
    if not results:
        return ["  results: no query is pinned in both reports"]
    lines = [
        f"  results: of {results['queries']} pinned queries {results['changed']} differ in their first hits, "
        f"overlap {results['overlap']:.3f}"
    ]
    for each in results["moved"][:5]:
        cells = [f"+{hit['rank']} {_named(hit)}" for hit in each["entered"]]
        cells += [f"-{hit['rank']} {_named(hit)}" for hit in each["left"]]
        cells += [f"{hit['before']}>{hit['after']} {_named(hit)}" for hit in each["stayed"]]
        lines.append(f"  moved: {each['query']!r} {', '.join(cells)}")
    return lines


def _named(hit: dict[str, Any]) -> str:
    return hit["product_id"] + (f" ({hit['product']})" if "product" in hit else "")


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.1f} {unit}"
    return f"{seconds:.0f} s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument(
        "--diff", nargs=2, metavar=("BEFORE", "AFTER"), help="what changed between two snapshots"
    )


if __name__ == "__main__":
    command.main("snapshots", __doc__, run, add_arguments)
