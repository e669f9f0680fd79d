"""The snapshots that one replica holds: the live one, and the one before it for a rollback."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aisle.config import Settings
from aisle.errors import AisleError, SnapshotNotHeld
from aisle.snapshot import Library, LoadedSnapshot, Parts
from aisle.store import Store

logger = logging.getLogger(__name__)


class Residents(Mapping[str, LoadedSnapshot]):
    """Loaded snapshots by id. Loading blocks and belongs in a thread; reading never waits for it.

    The one that nobody asked for the longest makes room, so the live one stays whatever was loaded beside it.
    """

    def __init__(
        self, settings: Settings, parts: Parts, shards: Sequence[int] | None = None
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._shards = shards
        self._library = Library(Store.open(settings.store, settings.store_options))
        self._loaded: dict[str, LoadedSnapshot] = {}
        self._asked_s: dict[str, float] = {}
        self._lock = threading.Lock()
        self._on_demand: set[str] = set()

    def current_id(self) -> str:
        """What CURRENT names now."""
        return self._library.current()

    def load(self, snapshot_id: str) -> LoadedSnapshot:
        """Holds a snapshot; the one not asked for the longest goes first where there is no room for another."""
        with self._lock:
            if snapshot_id not in self._loaded:
                manifest = self._library.manifest(snapshot_id)
                self._make_room()
                loaded = LoadedSnapshot.load(
                    self._library, manifest, self._settings, self._parts, self._shards
                )
                loaded.warm_up()
                logger.info("loaded snapshot %s", snapshot_id)
                # A new dict instead of a changed one: readers in other threads see the old or the new, never half.
                self._loaded = {**self._loaded, snapshot_id: loaded}
            self._asked_s[snapshot_id] = time.monotonic()
            return self._loaded[snapshot_id]

    def held(self, snapshot_id: str) -> LoadedSnapshot:
        """A loaded snapshot. One that is not loaded is fetched in the background, so that a later try finds it.

        Raises:
            SnapshotNotHeld: it is not loaded now.
        """
        self._asked_s[snapshot_id] = time.monotonic()
        try:
            return self._loaded[snapshot_id]
        except KeyError:
            self._load_soon(snapshot_id)
            names = ", ".join(self._loaded) or "none"
            raise SnapshotNotHeld(
                f"snapshot {snapshot_id} is not loaded in this replica, loaded: {names}; it is being loaded, retry"
            ) from None

    def folder_of(self, snapshot_id: str, role: str) -> tuple[str, Path] | None:
        """Fingerprint and verified folder of a snapshot's model; none where it has none of that role."""
        manifest = self._library.manifest(snapshot_id)
        if role not in manifest.models:
            return None
        cache = Path(self._settings.serving.cache_dir)
        root = self._library.fetch(manifest, [f"models/{role}/"], cache)
        entry = manifest.models[role]
        return entry.fingerprint, root / entry.owner / "models" / role

    def _make_room(self) -> None:
        held = dict(self._loaded)
        while len(held) >= self._settings.serving.resident_snapshots:
            oldest = min(held, key=lambda each: self._asked_s.get(each, 0.0))
            logger.info("dropping snapshot %s", oldest)
            del held[oldest]
        self._loaded = held
        self._asked_s = {each: self._asked_s.get(each, 0.0) for each in held}

    def _load_soon(self, snapshot_id: str) -> None:
        if snapshot_id in self._on_demand:
            return
        self._on_demand.add(snapshot_id)

        def work() -> None:
            try:
                self.load(snapshot_id)
            except AisleError as error:
                logger.warning("cannot load snapshot %s on demand: %s", snapshot_id, error)
            finally:
                self._on_demand.discard(snapshot_id)

        threading.Thread(target=work, name=f"load-{snapshot_id}", daemon=True).start()

    def __getitem__(self, snapshot_id: str) -> LoadedSnapshot:
        return self._loaded[snapshot_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)
