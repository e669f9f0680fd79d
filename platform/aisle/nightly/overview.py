"""What snapshots there are, and what changed from one to another: products, models, measures, queries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from aisle.evaluation import paired_difference, worst_queries
from aisle.evaluation.pinned import moves
from aisle.nightly.gate import Report, paired_values
from aisle.nightly.parent import Parent
from aisle.nightly.publish import live_or_none
from aisle.nightly.report import broken_rules, read_report
from aisle.snapshot import Library, Manifest

MEASURES = ("ndcg@10", "recall@100", "page_precision", "zero_results")
SHOWN = 20
"""Products and queries named in a difference; all are counted."""


def overview(library: Library, now_s: float) -> list[dict[str, Any]]:
    """A row a complete snapshot, newest first.

    `age_s` by its manifest's time; `bytes` all that it names, `own_bytes` what it added itself, which is what its
    removal may free; `scores` of its report; `live`; `refused` names the gate's rules that it broke.
    """
    live = live_or_none(library)
    rows = []
    for snapshot_id in reversed(library.ids()):
        manifest = library.manifest(snapshot_id)
        report = read_report(library.store, manifest)
        sizes = [(entry.owner, entry.size) for entry in manifest.files.values()]
        rows.append(
            {
                "snapshot": snapshot_id,
                "live": snapshot_id == live,
                "parent": manifest.parent,
                "created_at": manifest.created_at,
                "age_s": round(now_s - datetime.fromisoformat(manifest.created_at).timestamp()),
                "bytes": sum(size for _, size in sizes),
                "own_bytes": sum(size for owner, size in sizes if owner == snapshot_id),
                "counts": manifest.counts,
                "scores": scores(report),
                "refused": [] if manifest.forced else broken_rules(report),
                "forced": list(manifest.forced),
            }
        )
    return rows


def scores(report: Report) -> dict[str, float]:
    """Means of the system as served, as far as the report has them."""
    systems = report.get("systems") or [{}]
    return {name: systems[-1][name] for name in MEASURES if name in systems[-1]}


def difference(library: Library, before_id: str, after_id: str) -> dict[str, Any]:
    """What changed from one snapshot to another.

    `products` counts those added, changed (the row that is served, text or price) and removed, and names the first ones
    by id; `models` and `counts` show both values of what differs; `measures` both means and, over the queries that both
    reports have, the change with its interval; `queries` those whose ndcg@10 fell and rose most; `results` what moved
    in the first hits of the pinned queries, see `aisle.evaluation.pinned`.
    """
    before, after = library.manifest(before_id), library.manifest(after_id)
    reports = [read_report(library.store, each) for each in (before, after)]
    products = _products(library, before, after)
    changes = {product_id: change for change, ids in products.items() for product_id in ids}
    return {
        "before": before_id,
        "after": after_id,
        "products": {
            change: {"count": len(ids), "first": sorted(ids)[:SHOWN]}
            for change, ids in products.items()
        },
        "models": _changed(
            {role: f"{each.kind} {each.fingerprint}" for role, each in before.models.items()},
            {role: f"{each.kind} {each.fingerprint}" for role, each in after.models.items()},
        ),
        "counts": _changed(before.counts, after.counts),
        "measures": {
            name: measured
            for name in MEASURES
            if (measured := _measure(name, reports[0], reports[1]))
        },
        "queries": _queries(reports[0], reports[1]),
        "results": moves(reports[0], reports[1], changes, SHOWN),
    }


def _products(library: Library, before: Manifest, after: Manifest) -> dict[str, list[str]]:
    """Ids by what became of them: row hashes compared, by shard where both deal alike; equal digests need no look."""
    views = [Parent(library.store, each, carries_segments=True) for each in (before, after)]
    numbers = [[shard.number for shard in each.shards] for each in (before, after)]
    alike = numbers[0] == numbers[1]
    groups = [([n], [n]) for n in numbers[0]] if alike else [(numbers[0], numbers[1])]
    found: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    for group in groups:
        if alike and len({view.shard_digest(group[0][0]) for view in views}) == 1:
            continue
        then, now = (
            {product_id: row[0] for n in each for product_id, row in view.live_rows(n).items()}
            for view, each in zip(views, group, strict=True)
        )
        found["added"] += now.keys() - then.keys()
        found["removed"] += then.keys() - now.keys()
        found["changed"] += [each for each in now.keys() & then.keys() if now[each] != then[each]]
    return found


def _changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        name: [before.get(name), after.get(name)]
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def _measure(name: str, before: Report, after: Report) -> dict[str, Any]:
    means = [scores(each).get(name) for each in (before, after)]
    if means == [None, None]:
        return {}
    measured: dict[str, Any] = {"before": means[0], "after": means[1]}
    queries, now, then = paired_values(after, before, name)
    if queries:
        change = paired_difference(now, then, seed=0)
        measured["change"] = [round(each, 4) for each in (change.mean, change.low, change.high)]
    return measured


def _queries(before: Report, after: Report) -> dict[str, list[dict[str, Any]]]:
    queries, now, then = paired_values(after, before, "ndcg@10")
    moved = np.flatnonzero(now != then)
    names, now, then = [queries[i] for i in moved], now[moved], then[moved]
    fell = [each for each in worst_queries(names, now, then, SHOWN) if each.difference < 0]
    rose = [each for each in worst_queries(names, -now, -then, SHOWN) if each.difference < 0]
    return {
        "fell": [{"query": e.query, "before": e.before, "after": e.after} for e in fell],
        "rose": [{"query": e.query, "before": -e.before, "after": -e.after} for e in rose],
    }
