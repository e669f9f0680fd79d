"""Publishing: CURRENT moves from one complete snapshot to another, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aisle.errors import PointerMoved, SnapshotError, StoreReadOnly
from aisle.snapshot import CURRENT, Library
from aisle.store import Pointer, Store
from aisle.store.store import S3

logger = logging.getLogger(__name__)


def publish(
    library: Library,
    snapshot_id: str,
    *,
    expected: str | None,
    fence: Callable[[], None] | None = None,
) -> str | None:
    """Makes a snapshot the live one.

    Args:
        library: where it lies.
        snapshot_id: a complete snapshot.
        expected: the snapshot that the caller believes to be live, none for a first one.
        fence: called last of all; raises where the caller's lease is not its own any more. CURRENT has been read by
            then, so a run that takes the lease over and publishes after this call makes the swap fail.

    Returns:
        The snapshot that was live before.

    Raises:
        SnapshotError: the snapshot is incomplete.
        PointerMoved: another one was published since; nothing was changed.
        LeaseHeld: by `fence`; nothing was changed.
        StoreReadOnly: this kind of store cannot publish.
    """
    require_publishable(library.store)
    manifest = library.manifest(snapshot_id)
    owners = sorted({entry.owner for entry in manifest.files.values()})
    there = {path for owner in owners for path in library.store.list(f"snapshots/{owner}")}
    missing = sorted(
        path
        for path, entry in manifest.files.items()
        if f"snapshots/{entry.owner}/{path}" not in there
    )
    if missing:
        raise SnapshotError(
            f"{snapshot_id}: {len(missing)} of {len(manifest.files)} files are missing, the first is {missing[0]}; "
            "it cannot be published"
        )
    pointer = Pointer(library.store)
    before = pointer.read(CURRENT)
    live = before.value.decode().strip() if before.value else None
    if live == snapshot_id:
        return live
    if live != expected:
        raise PointerMoved(
            f"{library.store.url}/{CURRENT}: is {live}, expected {expected}; someone else published meanwhile. "
            f"{snapshot_id} is complete: look at both, then python -m jobs.publish --snapshot {snapshot_id}"
        )
    if fence is not None:
        fence()
    pointer.swap(CURRENT, before.version, snapshot_id.encode())
    logger.info("published", extra={"snapshot": snapshot_id, "before": live})
    return live


def require_publishable(store: Store) -> None:
    """Raises StoreReadOnly unless the store's protocol has compare-and-swap: better now than after a night's work."""
    if not store.is_local and store.protocol not in S3:
        raise StoreReadOnly(
            f"{store.url}: a store of protocol {store.protocol!r} has no compare-and-swap, so it can be read and "
            "batch-searched but not published to; use a local path or s3:// as store"
        )


def live_or_none(library: Library) -> str | None:
    """The live snapshot's id, none before the first publication."""
    value = library.pointer_value().value
    return value.decode().strip() if value else None
