"""The snapshots that one replica holds: the live one, and the one before it for a rollback."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aisle.config import Settings
from aisle.snapshot import Library, LoadedSnapshot, Parts
from aisle.store import Store

logger = logging.getLogger(__name__)


class Residents(Mapping[str, LoadedSnapshot]):
    """Loaded snapshots by id. Loading blocks and may run in a thread; reading never waits for it."""

    def __init__(self, settings: Settings, parts: Parts, shards: Sequence[int] | None = None) -> None:
        self._settings = settings
        self._parts = parts
        self._shards = shards
        self._library = Library(Store.open(settings.store, settings.store_options))
        self._loaded: dict[str, LoadedSnapshot] = {}
        self._lock = threading.Lock()

    def current_id(self) -> str:
        """What CURRENT names now."""
        return self._library.current()

    def load(self, snapshot_id: str) -> LoadedSnapshot:
        """Holds a snapshot; the oldest one goes first where there is no room for another."""
        with self._lock:
            if snapshot_id in self._loaded:
                return self._loaded[snapshot_id]
            manifest = self._library.manifest(snapshot_id)
            while len(self._loaded) >= self._settings.serving.resident_snapshots:
                oldest = next(iter(self._loaded))
                logger.info("dropping snapshot %s", oldest)
                self._loaded = {k: v for k, v in self._loaded.items() if k != oldest}
            loaded = LoadedSnapshot.load(self._library, manifest, self._settings, self._parts, self._shards)
            # A new dict instead of a changed one: readers in other threads see the old or the new, never half.
            self._loaded = {**self._loaded, snapshot_id: loaded}
            logger.info("loaded snapshot %s", snapshot_id)
            return loaded

    def rewriter_folder(self, snapshot_id: str) -> Path | None:
        """The snapshot's rewriter, verified in the cache; none where it has none."""
        manifest = self._library.manifest(snapshot_id)
        if "rewriter" not in manifest.models:
            return None
        root = self._library.fetch(manifest, ["models/rewriter/"], Path(self._settings.serving.cache_dir))
        return root / manifest.models["rewriter"].owner / "models" / "rewriter"

    def __getitem__(self, snapshot_id: str) -> LoadedSnapshot:
        return self._loaded[snapshot_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)
