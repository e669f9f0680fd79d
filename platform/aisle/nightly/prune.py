"""Retention: which snapshots stay, and removing the files that none of them names.

A snapshot goes by its manifest, first of all its files, so that what is half removed does not exist any more. Its files
stay as long as a kept manifest names them: segments are carried by reference from night to night, and the folder of a
snapshot that is gone may hold the rows of the live one.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aisle.config import NightlyConfig
from aisle.nightly.lease import read_claim
from aisle.nightly.publish import live_or_none
from aisle.snapshot import Library, Manifest

logger = logging.getLogger(__name__)

DAY_S = 86_400.0

_FILE = re.compile(r"snapshots/([^/]+)/.+")


@dataclass(frozen=True)
class Plan:
    """What a prune removes, and why the rest stays."""

    kept: dict[str, str]
    """Snapshot -> why it stays, newest first."""
    removed: tuple[str, ...]
    """Snapshots that go, oldest first."""
    files: tuple[str, ...] = ()
    """Names in the store, manifests first."""
    referenced_files: int = 0
    """Files of removed snapshots that stay because a kept manifest names them."""
    leftovers: tuple[str, ...] = field(default=())
    """Folders without a manifest whose files go: of runs that nobody will continue, or of snapshots pruned before."""

    def as_dict(self) -> dict[str, Any]:
        """For a job's last line."""
        return {
            "kept": self.kept,
            "removed": list(self.removed),
            "leftovers": list(self.leftovers),
            "files": len(self.files),
            "referenced_files": self.referenced_files,
        }


def plan_prune(
    library: Library, config: NightlyConfig, clock: Callable[[], float] = time.time
) -> Plan:
    """Decides what goes.

    A snapshot stays if it is live, the live one's parent, made by the run that holds the lease or by one that can be
    continued, among the newest `keep_snapshots`, or younger than `keep_days`. Without a live one nothing goes.

    Raises:
        SnapshotError: a manifest cannot be read; what it names is unknown, so nothing may go.
    """
    files = library.store.list("snapshots")  # first: what is written from here on is not in it
    open_runs = set(library.store.folders("runs"))
    claim = read_claim(library.store)
    if claim is not None and not claim.released:
        open_runs.add(claim.run_id)
    manifests = {each: library.manifest(each) for each in library.ids()}
    kept = _kept(manifests, live_or_none(library), open_runs, config, clock())
    removed = tuple(sorted(manifests.keys() - kept.keys()))
    named = {
        f"snapshots/{entry.owner}/{path}"
        for each in kept
        for path, entry in manifests[each].files.items()
    }
    at_work = bool(open_runs - {""})
    going: list[str] = []
    referenced, leftovers = 0, set()
    for name in files:
        match = _FILE.fullmatch(name)
        owner = match.group(1) if match else ""
        if not owner or owner in kept:
            continue
        if owner not in manifests and (at_work or not kept):
            continue  # perhaps the parts of a run that goes on
        if name in named:
            referenced += 1
            continue
        going.append(name)
        if owner not in manifests:
            leftovers.add(owner)
    going.sort(key=lambda name: (not _is_manifest(name), name))
    return Plan(
        kept={each: kept[each] for each in sorted(kept, reverse=True)},
        removed=removed,
        files=tuple(going),
        referenced_files=referenced,
        leftovers=tuple(sorted(leftovers)),
    )


def prune(
    library: Library, config: NightlyConfig, clock: Callable[[], float] = time.time
) -> tuple[Plan, int]:
    """Removes what `plan_prune` says; gives the plan and how many files went.

    A snapshot that is published between the two is spared: CURRENT is read before and after its manifest goes, and the
    manifest put back if it moved there. An interrupted prune is finished by the next one.
    """
    plan = plan_prune(library, config, clock)
    spared: set[str] = set()
    gone = 0
    for name in plan.files:
        owner = name.split("/")[1]
        if _is_manifest(name) and owner in plan.removed:
            if not _remove_manifest(library, owner, name):
                spared |= {each.owner for each in library.manifest(owner).files.values()} | {owner}
                continue
        elif owner in spared:
            continue
        else:
            library.store.delete(name)
        gone += 1
    logger.info("pruned", extra={"snapshots": len(plan.removed), "files": gone})
    return plan, gone


def _remove_manifest(library: Library, snapshot_id: str, name: str) -> bool:
    """Removes a manifest unless its snapshot is live now; False where it stays."""
    if live_or_none(library) == snapshot_id:
        return False
    data = library.store.read_bytes(name)
    library.store.delete(name)
    if live_or_none(library) != snapshot_id:
        return True
    library.store.write_bytes(name, data)
    return False


def _kept(
    manifests: dict[str, Manifest],
    live: str | None,
    open_runs: set[str],
    config: NightlyConfig,
    now_s: float,
) -> dict[str, str]:
    if live is None:
        return dict.fromkeys(manifests, "nothing is live")
    newest = sorted(manifests, reverse=True)[: config.keep_snapshots]
    parent = manifests[live].parent if live in manifests else None
    kept = {}
    for snapshot_id, manifest in manifests.items():
        age_s = now_s - datetime.fromisoformat(manifest.created_at).timestamp()
        reasons = {
            "live": snapshot_id == live,
            "parent of the live one": snapshot_id == parent,
            "its run is not finished": manifest.run_id in open_runs,
            f"one of the newest {config.keep_snapshots}": snapshot_id in newest,
            f"younger than {config.keep_days:g} days": age_s < config.keep_days * DAY_S,
        }
        why = [reason for reason, holds in reasons.items() if holds]
        if why:
            kept[snapshot_id] = why[0]
    return kept


def _is_manifest(name: str) -> bool:
    return name.count("/") == 2 and name.endswith("/manifest.json")
