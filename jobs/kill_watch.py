"""Looks at a store while a night writes to it: where the run stands, that CURRENT can be read, what is made twice."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path

from aisle.errors import AisleError
from aisle.snapshot import Library
from aisle.store import Retry, Store

EVERY_S = 0.03


class Watch:
    """Looks at one local store, from a thread of its own, for the length of a block."""

    def __init__(self, store: Path, parent_id: str) -> None:
        self._store = store
        self._parent_id = parent_id
        self._library = Library(Store.open(str(store), retry=Retry(budget_s=0.0)))
        self._current = parent_id
        self._markers: dict[str, tuple[int, int]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self.wrong: list[str] = []
        """When CURRENT could not be read, or named what it must not."""
        self.rows_made_twice = 0
        """Rows of embedding parts that had a marker and got another one."""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def current(self) -> str:
        """What CURRENT says now."""
        return self._library.current()

    def parts_done(self, step: str) -> int:
        """Markers of a step."""
        with suppress(FileNotFoundError):
            return len(list(self._store.glob(f"runs/*/{step}/*.done.json")))
        return 0

    def rows_embedded(self) -> int:
        """Rows of the embedding parts that have a marker."""
        return sum(_rows(each) for each in self._store.glob("runs/*/embed/*.done.json"))

    def is_assembled(self) -> bool:
        """Whether a candidate lacks nothing but its report and its manifest."""
        snapshots = self._store / "snapshots"
        return any(
            (folder / "shards" / "statistics.arrow").is_file()
            for folder in snapshots.iterdir()
            if folder.name != self._parent_id
        )

    def _look(self) -> None:
        try:
            while not self._done.wait(EVERY_S):
                self._look_at_current()
                with suppress(FileNotFoundError):  # the run ends, and its folder goes
                    self._look_at_markers()
        except Exception as error:  # nobody looked any more: that must not pass for all being well
            self.wrong.append(f"the watch ended: {error!r}")

    def _look_at_current(self) -> None:
        try:
            live = self._library.current()
            self._library.manifest(live)
        except AisleError as error:
            self.wrong.append(f"CURRENT could not be read: {error}")
            return
        if live != self._current and self._current != self._parent_id:
            self.wrong.append(f"CURRENT moved twice: {self._current}, then {live}")
        self._current = live

    def _look_at_markers(self) -> None:
        for path in self._store.glob("runs/*/embed/*.done.json"):
            stat = path.stat()
            identity = (stat.st_ino, stat.st_mtime_ns)
            if self._markers.setdefault(path.name, identity) != identity:
                self._markers[path.name] = identity
                self.rows_made_twice += _rows(path)


def _rows(marker: Path) -> int:
    return int(json.loads(marker.read_text())["result"]["rows"])
