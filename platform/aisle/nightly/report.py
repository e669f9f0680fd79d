"""The report of a night: what the judge measured, the catalogue's counts, and what the gate said to them.

A report that was stored with the live snapshot is compared with as it is. Where it was made with other judgments, or
with none, the live snapshot is judged again: values of two different examinations say nothing about two snapshots.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from aisle.config import GateConfig
from aisle.errors import GateBreached, SnapshotError
from aisle.nightly.gate import Breach, Report, breaches
from aisle.snapshot import Library, Manifest
from aisle.store import Store

logger = logging.getLogger(__name__)

REPORT = "report.json"

Judge = Callable[[Manifest], dict[str, Any] | None]
"""Measures a snapshot; none where the environment names no judgments."""

COUNTED = ("products", "rows", "quarantined")


def judged(
    store: Store, candidate: Manifest, live: Manifest | None, judge: Judge, rules: GateConfig
) -> tuple[Report, list[Breach]]:
    """Measures a candidate, compares it with the live snapshot and gives the report with the broken rules."""
    report = _measured(candidate, judge)
    before = _comparable(store, report, live, judge) if live is not None else None
    broken = breaches(report, before, rules)
    report["gate"] = {
        "compared_with": live.snapshot_id if live else None,
        "breaches": [each.as_dict() for each in broken],
    }
    return report, broken


def read_report(store: Store, manifest: Manifest) -> Report:
    """The report stored with a snapshot, with the counts of its manifest; SnapshotError where it is damaged."""
    report: Report = {}
    if REPORT in manifest.files:
        path = f"snapshots/{manifest.locate(REPORT)}"
        try:
            report = json.loads(store.read_bytes(path))
        except ValueError as error:
            raise SnapshotError(
                f"{store.url}/{path}: damaged ({error}); roll back with python -m jobs.rollback"
            ) from error
    return report | {"catalogue": _counts(manifest), "relevance_by": _judging(manifest)}


def refusal(candidate: Manifest, live: str | None, broken: list[Breach]) -> GateBreached:
    """The error that names every broken rule."""
    lines = "\n".join(f"  {each}" for each in broken)
    return GateBreached(
        f"{candidate.snapshot_id} breaks {len(broken)} rule{'s' * (len(broken) > 1)} of the gate against "
        f"{live or 'nothing'}; CURRENT stays as it is:\n{lines}\nLook at its report.json. To publish it all the same, "
        "run again with --force, which the manifest records; to change a rule, see the section gate",
        tuple(each.as_dict() for each in broken),
    )


def broken_rules(report: Report) -> list[str]:
    """Rules of the gate that a snapshot broke when it was judged."""
    return [each["rule"] for each in report.get("gate", {}).get("breaches", [])]


def require_passed(library: Library, snapshot_id: str, *, force: bool) -> tuple[str, ...]:
    """Keeps a snapshot that the gate refused from being published by hand.

    Args:
        library: where it lies.
        snapshot_id: a complete snapshot.
        force: record the broken rules in its manifest instead of raising.

    Returns:
        The rules that were overruled, now or when it was made.

    Raises:
        GateBreached: it broke rules, which nobody has overruled.
    """
    manifest = library.manifest(snapshot_id)
    rules = tuple(broken_rules(read_report(library.store, manifest)))
    if manifest.forced or not rules:
        return manifest.forced
    if not force:
        raise GateBreached(
            f"{snapshot_id} broke {', '.join(rules)} when it was judged; see its report.json, and publish it all the "
            "same with --force, which the manifest records"
        )
    forced = manifest.model_copy(update={"forced": rules})
    library.store.write_bytes(f"snapshots/{snapshot_id}/manifest.json", forced.to_json())
    return rules


def brief(report: Report) -> Report:
    """A report for the last line of a job: without the values of single queries."""
    return {name: value for name, value in report.items() if name not in ("per_query", "pinned")}


def _measured(manifest: Manifest, judge: Judge) -> Report:
    measured = judge(manifest) or {"skipped": "no judgments"}
    return measured | {"catalogue": _counts(manifest), "relevance_by": _judging(manifest)}


def _comparable(store: Store, report: Report, live: Manifest, judge: Judge) -> Report:
    before = read_report(store, live)
    if "judged_by" not in report or report["judged_by"] == before.get("judged_by"):
        return before
    logger.info("%s was judged otherwise or not at all; judging it now", live.snapshot_id)
    return _measured(live, judge)


def _judging(manifest: Manifest) -> dict[str, str]:
    """Fingerprints of the models that a relevance comes from: only equal ones give comparable distributions."""
    roles = ("encoder", "ranker", "relevance")
    return {role: manifest.models[role].fingerprint for role in roles if role in manifest.models}


def _counts(manifest: Manifest) -> dict[str, int]:
    return {name: manifest.counts.get(name, 0) for name in COUNTED}
