"""The snapshots that one replica holds: the live one, and the one before it for a rollback.

Loading beside a live snapshot is meant not to be noticed. It happens in a thread of lower priority, in one replica of
a node at a time, and only for what the snapshots do not share.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from aisle.config import Settings
from aisle.errors import AisleError, SnapshotNotHeld
from aisle.snapshot import Library, LoadedSnapshot, Parts
from aisle.snapshot.opened import Opened
from aisle.store import Store

logger = logging.getLogger(__name__)

_NICER_BY = 5
"""Loading against serving: a third of its share of a core. Much more would let a loader that holds the interpreter's
lock wait for a core while a search waits for the lock."""


class Residents(Mapping[str, LoadedSnapshot]):
    """Loaded snapshots by id. `load` blocks, `load_beside` does not; reading never waits for either.

    The one that nobody asked for the longest makes room, so the live one stays whatever was loaded beside it.
    """

    def __init__(
        self, settings: Settings, parts: Parts, shards: Sequence[int] | None = None
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._shards = shards
        self._library = Library(Store.open(settings.store, settings.store_options))
        self._opened = Opened()
        self._loader = ThreadPoolExecutor(
            1, "load", _step_back if _may_step_back(settings) else None
        )
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
                with self._alone_on_node():
                    started = time.monotonic()
                    loaded = LoadedSnapshot.load(
                        self._library,
                        manifest,
                        self._settings,
                        self._parts,
                        self._shards,
                        self._opened,
                    )
                    loaded = loaded.remembering(self._settings.serving.remembered_vectors)
                    loaded.warm_up()
                took_s = time.monotonic() - started
                logger.info("loaded snapshot %s in %.2f s", snapshot_id, took_s)
                # A new dict instead of a changed one: readers in other threads see the old or the new, never half.
                self._loaded = {**self._loaded, snapshot_id: loaded}
            self._asked_s[snapshot_id] = time.monotonic()
            return self._loaded[snapshot_id]

    async def load_beside(self, snapshot_id: str) -> None:
        """`load` without blocking the loop, and giving way to the replica's searches."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._loader, self.load, snapshot_id)

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

        self._loader.submit(work)

    @contextmanager
    def _alone_on_node(self) -> Iterator[None]:
        """Waits until no other replica of this node loads, where this one has something to answer from meanwhile.

        Replicas share the node's cores and its cache: the second finds verified copies where the first had to fetch.
        """
        if not self._loaded:
            yield
            return
        folder = Path(self._settings.serving.cache_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "loading.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def __getitem__(self, snapshot_id: str) -> LoadedSnapshot:
        return self._loaded[snapshot_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)


def _may_step_back(settings: Settings) -> bool:
    """Threads that ONNX Runtime starts for a session inherit the priority of the thread that opens it."""
    return sys.platform == "linux" and settings.serving.threads == 1


def _step_back() -> None:
    """From the process's own niceness, which Ray sets (`worker_niceness`, 15): upwards needs no rights."""
    thread = threading.get_native_id()
    own = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, min(own + _NICER_BY, 19))
